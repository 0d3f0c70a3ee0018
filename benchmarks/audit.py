"""Measure what share of an audit's time is spent outside network passes, and where.

    OMP_NUM_THREADS=2 python -m benchmarks.audit     # writes benchmarks/results/audit.json
    python -m benchmarks.audit --images 2000 --small-images 1000 --repeats 1 --output /tmp/a.json

One class of made data (ten classes of noisy coloured patterns, 32x32 pixels) is to be forgotten;
the references are at hand. Only time matters here: original and reference are trained for one short
epoch on a few thousand images, and the references and the candidate are copies of that reference
with their weights stirred. Passes are forward passes of networks and relearning's training steps;
everything else is outside: preparing batches, moments, eigenvectors, k-means, probe, intervals,
tests, files. A second audit with the same cache must make no pass at all. A smaller size is run
several times, then the full one once; until that is through, what there is lies beside the output
in a file that ends in `.partial.json`. Exit code 1 when the goal is missed.
"""

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.overhead import environment
from benchmarks.stopwatch import PASSES, watching
from unlearning.audit import AuditedModel, AuditTask, Policy, audit
from unlearning.audit.policy import STANDARD
from unlearning.data import TensorImages
from unlearning.networks import build_network
from unlearning.randomness import generator
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe

RESULTS = Path(__file__).parent / "results" / "audit.json"
NUM_CLASSES, SIDE, FORGOTTEN = 10, 32, 3
CHANNELS = (32, 64, 64)
GOAL_SHARE = 0.30
_TRAINED_ON = 3000
_STIRRED = 0.02
_CHUNK = 5000


def made_images(number: int, seed: int, role: str) -> TensorImages:
    """Return noisy coloured patterns [n, 3, 32, 32] of ten classes in turn."""
    patterns = torch.randn(NUM_CLASSES, 3, 4, 4, generator=generator(seed, "patterns"))
    patterns = functional.interpolate(patterns, size=(SIDE, SIDE), mode="bilinear")
    labels = torch.arange(number) % NUM_CLASSES
    draws = generator(seed, role)
    pixels = torch.empty(number, 3, SIDE, SIDE, dtype=torch.uint8)
    for rows in torch.split(torch.arange(number), _CHUNK):
        noise = torch.randn(len(rows), 3, SIDE, SIDE, generator=draws)
        strength = torch.rand(len(rows), 1, 1, 1, generator=draws)
        values = 128 + 40 * strength * patterns[labels[rows]] + 45 * noise
        pixels[rows] = values.clamp_(0, 255).to(torch.uint8)
    return TensorImages(pixels, labels, NUM_CLASSES, [0.5] * 3, [0.25] * 3)


@torch.no_grad()
def stirred(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy whose weights are moved by 2 % of their own spread."""
    draws = generator(seed, "stirred")
    copied = copy.deepcopy(model)
    for weight in copied.parameters():
        if weight.numel() > 1:
            weight.add_(torch.randn(weight.shape, generator=draws) * (_STIRRED * weight.std()))
    return copied


def make_task(images: int, references: int, seed: int, cap: int, cache: Path) -> AuditTask:
    """Make data and networks, and the audit of a candidate from which a class was erased.

    Relearning stops after `cap` steps and is left out where that is 0.
    """
    train = made_images(images, seed, "training set")
    gone = train.labels == FORGOTTEN
    retain, forget = (train.subset(mask.nonzero()[:, 0]) for mask in (~gone, gone))
    build = partial(
        build_network, "expunge:small_cnn", NUM_CLASSES, in_channels=3, channels=CHANNELS
    )

    def fit(samples: TensorImages, role: int) -> nn.Module:
        some = samples.subset(torch.arange(min(len(samples), _TRAINED_ON)))
        return train_from_recipe(build, some, Recipe(epochs=1), seed=seed + role)

    original, reference = fit(train, 0), fit(retain, 1)

    def audited(model: nn.Module, name: str) -> AuditedModel:
        return AuditedModel(load=lambda: model, digest=name)

    looks = [references, 2 * references + 1]
    relearning = {**STANDARD["relearning"], "cap": cap}
    return AuditTask(
        original=audited(original, "original"),
        candidate=audited(stirred(reference, seed - 1), "candidate"),
        references=[audited(stirred(reference, seed + i), str(i)) for i in range(references)],
        retain=retain,
        holdout=made_images(max(NUM_CLASSES, images // 5), seed, "hold-out"),
        erased=forget,
        forget_sets={"request": range(len(forget))},
        classifier="head",
        num_classes=NUM_CLASSES,
        policy=Policy.from_dict({**STANDARD, "looks": looks, "relearning": relearning}),
        cache_dir=cache,
        data_digest=f"{images}/{seed}",
        seed=seed,
    )


def timed(task: AuditTask) -> dict[str, Any]:
    """Audit once; return seconds in all and by phase, the share outside passes and the verdict."""
    start = time.perf_counter()
    with watching() as watch:
        result = audit(task)["request"]
        seconds = watch.stop()
    total = sum(seconds.values())
    return {
        "seconds": round(total, 3),
        "clock_seconds": round(time.perf_counter() - start, 3),
        "share_outside": round(1 - seconds.get(PASSES, 0.0) / total, 4),
        "passes": watch.calls[PASSES],
        "phases": {name: round(value, 3) for name, value in seconds.items()},
        "verdict": result.verdict,
    }


def measured(images: int, references: int, seed: int, cap: int) -> dict[str, Any]:
    """Audit twice with one cache: the first measures everything, the second nothing.

    Raises:
        RuntimeError: the second audit ran a network or came to another verdict.
    """
    with tempfile.TemporaryDirectory(prefix="expunge-audit-") as folder:
        task = make_task(images, references, seed, cap, Path(folder))
        first, again = timed(task), timed(task)
    if again["passes"] or again["verdict"] != first["verdict"]:
        raise RuntimeError(f"The second audit measured again: {again}")
    sizes = {"images": images, "holdout": len(task.holdout), "forget": len(task.erased)}
    sizes |= {"references": references, "relearning_cap": cap}
    return {**sizes, "seed": seed, **first, "again": again}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the small size several times and the full size once; keep each at once."""
    references, cap = arguments.references, arguments.relearning_cap
    before = environment()["load_average"]
    small: list[dict[str, Any]] = []

    def described(full: dict[str, Any] | None) -> dict[str, Any]:
        return describe(arguments.note, small, full) | {"load_average_before": before}

    unfinished = arguments.output.with_suffix(".partial.json")
    for seed in range(1, arguments.repeats + 1):
        small.append(measured(arguments.small_images, references, seed, cap))
        show(small[-1])
        write(unfinished, described(None))
    full = measured(arguments.images, references, 0, cap)
    show(full)
    report = described(full)
    write(arguments.output, report)
    unfinished.unlink(missing_ok=True)
    return report


def describe(
    note: str, small: Sequence[dict[str, Any]], full: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the report on the runs so far; the load is that after the latest of them."""
    return {
        "benchmark": "audit",
        "network": {"architecture": "expunge:small_cnn", "channels": list(CHANNELS)},
        "threads": torch.get_num_threads(),
        "note": note,
        "goal_share": GOAL_SHARE,
        "reached": full is not None and full["share_outside"] <= GOAL_SHARE,
        "full": full,
        "small": {
            "n": len(small),
            "share_outside": spread([entry["share_outside"] for entry in small]),
            "seconds": spread([entry["seconds"] for entry in small]),
            "runs": small,
        },
        **environment(),
    }


def write(output: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n")


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean, standard deviation (none for one value) and range."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": round(statistics.mean(values), 4),
        "sd": None if sd is None else round(sd, 4),
        "min": min(values),
        "max": max(values),
    }


def show(entry: dict[str, Any]) -> None:
    """Print one run."""
    print(
        f"{entry['images']} images, {entry['references']} references, seed {entry['seed']}:"
        f" {entry['seconds']:.1f} s, {entry['share_outside']:.1%} outside passes"
        f" (goal {GOAL_SHARE:.0%}); again {entry['again']['seconds']:.2f} s and"
        f" {entry['again']['passes']} passes"
    )
    for name, seconds in entry["phases"].items():
        print(f"  {name:<24}{seconds:>10.2f} s{seconds / entry['seconds']:>8.1%}", flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--references", type=int, default=19)
    parser.add_argument("--repeats", type=int, default=3, help="runs of the small size")
    parser.add_argument("--small-images", type=int, default=10_000)
    parser.add_argument(
        "--relearning-cap",
        type=int,
        default=STANDARD["relearning"]["cap"],
        help="steps; nearly all passes, so without relearning (0) the share is an upper bound",
    )
    parser.add_argument(
        "--note",
        default="References and candidate are stirred copies of one network: only time matters."
        " What else ran on the machine shows in load_average_before and load_average.",
        help="words to be kept with the figures",
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, print and write."""
    arguments = parse()
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    report = run(arguments)
    sys.exit(0 if report["reached"] else 1)


if __name__ == "__main__":
    main()
