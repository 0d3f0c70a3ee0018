"""Compare the training loop's images per second with a bare loop's and a DataLoader loop's.

    python -m benchmarks.throughput                  # writes benchmarks/results/throughput.json
    python -m benchmarks.throughput --device cuda    # the same on a GPU, with more images

All loops (`benchmarks.loops`) start from the same weights and see the same number of images. They
run in turn, round after round, so that other work on the machine hits all alike; a ratio compares
two loops of one round. CPU seconds are those of this process and of the workers it waited for. On
the CPU they decide, because seconds on the clock also count what other programs take; on a GPU the
clock decides. Exit code 1 when the goal is missed.
"""

import argparse
import copy
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.audit import NUM_CLASSES, made_images, spread, write
from benchmarks.loops import Loop, loops
from benchmarks.overhead import environment
from unlearning.data import TensorImages
from unlearning.networks import build_network
from unlearning.randomness import seeded
from unlearning.recipe import Recipe
from unlearning.training import cross_entropy, fit

Seconds = dict[str, float]

RESULTS = Path(__file__).parent / "results" / "throughput.json"
GOAL = 0.95
COMPARED = "bare"
"""The loop that the goal is about."""
DECIDES = {"cpu": "cpu", "cuda": "clock"}
"""Which seconds decide on which device."""


class Case(NamedTuple):
    """One network and how much it is given, by device."""

    architecture: str
    options: dict[str, Any]
    images: dict[str, int]
    batch_size: dict[str, int]


CASES = (
    Case(
        "expunge:small_cnn",
        {"in_channels": 3},
        {"cpu": 1280, "cuda": 51_200},
        {"cpu": 128, "cuda": 512},
    ),
    Case(
        "torchvision:resnet18",
        {"small_images": True},
        {"cpu": 64, "cuda": 25_600},
        {"cpu": 32, "cuda": 512},
    ),
)


def compare(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all loops in turn, as often as asked, and set ours against the others."""
    device = torch.device(arguments.device)
    recipe = Recipe(
        epochs=arguments.epochs, batch_size=case.batch_size[device.type], shift=4, flip=True
    )
    images = given_images(case.images[device.type] // arguments.smaller, recipe, device)
    with seeded(0, device):
        start = build_network(case.architecture, NUM_CLASSES, **case.options).to(device)
    contenders = dict(loops())
    if arguments.compiled:
        contenders["ours_compiled"] = ours_compiled
    rounds: list[dict[str, Seconds]] = []
    for seed in range(arguments.repeats + 1):
        rounds.append(
            {name: measured(loop, start, images, recipe, seed) for name, loop in contenders.items()}
        )
        show_round(case, seed, rounds[-1], len(images) * recipe.epochs)
    return {
        "architecture": case.architecture,
        "options": case.options,
        "parameters": sum(weight.numel() for weight in start.parameters()),
        "images": len(images),
        "shape": list(images.images.shape[1:]),
        "recipe": recipe.to_dict(),
        "seeds": list(range(1, len(rounds))),
        **figures(rounds[1:], len(images) * recipe.epochs),  # the first round warms up
    }


def figures(rounds: Sequence[dict[str, Seconds]], images: int) -> dict[str, Any]:
    """Return each loop's images per second, and ours over those of the others."""
    rates = [
        {
            name: {clock: images / value for clock, value in seconds.items()}
            for name, seconds in round_.items()
        }
        for round_ in rounds
    ]
    names = list(rates[0])
    return {
        "images_per_second": {name: spreads(rate[name] for rate in rates) for name in names},
        "ours_relative_to": {
            name: spreads(relative(round_, name) for round_ in rounds)
            for name in names
            if name != "ours"
        },
    }


def given_images(number: int, recipe: Recipe, device: torch.device) -> TensorImages:
    """Return made images on the device, as many as fill whole batches."""
    whole = max(1, number // recipe.batch_size) * recipe.batch_size
    made = made_images(whole, 0, "throughput")
    return TensorImages(
        made.images, made.labels, made.num_classes, made.mean, made.std, device=device
    )


def ours_compiled(model: nn.Module, images: TensorImages, recipe: Recipe, seed: int) -> None:
    """Train by the library's loop with a compiled pass."""
    fit(model, images, recipe, seed=seed, loss=cross_entropy(compile_pass=True))


def measured(
    loop: Loop, start: nn.Module, images: TensorImages, recipe: Recipe, seed: int
) -> Seconds:
    """Train a copy by one loop; return its seconds on the clock and of the CPU."""
    model = copy.deepcopy(start)
    wait(images.device)
    clock, used = time.perf_counter(), cpu_seconds()
    loop(model, images, recipe, seed)
    wait(images.device)
    return {"clock": time.perf_counter() - clock, "cpu": cpu_seconds() - used}


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def wait(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def relative(round_: dict[str, Seconds], other: str) -> Seconds:
    """Return our images per second over another loop's, in one round, by both clocks."""
    return {clock: round_[other][clock] / ours for clock, ours in round_["ours"].items()}


def spreads(values: Iterable[Seconds]) -> dict[str, Any]:
    """Return mean, standard deviation, range and the single values of each clock's figures."""
    rows = list(values)
    return {
        clock: spread(column) | {"values": column}
        for clock in ("clock", "cpu")
        if (column := [round(row[clock], 4) for row in rows])
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare on all networks and judge by the mean ratio of each."""
    before = environment()["load_average"]
    networks = [compare(case, arguments) for case in CASES]
    decides = DECIDES[torch.device(arguments.device).type]
    reached = {
        entry["architecture"]: entry["ours_relative_to"][COMPARED][decides]["mean"] >= GOAL
        for entry in networks
    }
    return {
        "benchmark": "throughput",
        "device": arguments.device,
        "gpu": torch.cuda.get_device_name() if arguments.device == "cuda" else None,
        "threads": torch.get_num_threads(),
        "repeats": arguments.repeats,
        "smaller": arguments.smaller,
        "goal": {"relative_to": COMPARED, "seconds": decides, "mean_at_least": GOAL},
        "reached": all(reached.values()),
        "reached_by": reached,
        "networks": networks,
        "load_average_before": before,
        **environment(),
    }


def show_round(case: Case, seed: int, seconds: dict[str, Seconds], images: int) -> None:
    """Print one round in images per second."""
    rates = ", ".join(
        f"{name} {images / value['clock']:.0f} ({images / value['cpu']:.0f})"
        for name, value in seconds.items()
    )
    what = f"round {seed}" if seed else "warm-up"
    print(f"{case.architecture} {what}: images/s on the clock (of the CPU): {rates}", flush=True)


def show(report: dict[str, Any]) -> None:
    """Print the ratios."""
    for entry in report["networks"]:
        print(f"{entry['architecture']}: our images per second relative to")
        for name, clocks in entry["ours_relative_to"].items():
            for clock, figures in clocks.items():
                sd = "" if figures["sd"] is None else f" ± {figures['sd']:.3f}"
                print(
                    f"  {name:<22}{clock:<6}{figures['mean']:.3f}{sd}"
                    f" ({figures['min']:.3f} to {figures['max']:.3f})"
                )
    goal = report["goal"]
    print(
        f"goal: at least {goal['mean_at_least']} of {goal['relative_to']} by {goal['seconds']}"
        f" seconds: {'reached' if report['reached'] else 'missed'}"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--device", choices=sorted(DECIDES), default="cpu")
    parser.add_argument("--repeats", type=int, default=7, help="counted rounds")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--smaller", type=int, default=1, help="divide the number of images by")
    parser.add_argument("--compiled", action="store_true", help="compile our pass as well")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parsed = parser.parse_args(arguments)
    if min(parsed.repeats, parsed.epochs, parsed.smaller, parsed.threads) < 1:
        parser.error("repeats, epochs, smaller and threads must be at least 1")
    return parsed


def main() -> int:
    """Measure, print, write and judge."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    report = run(arguments)
    show(report)
    write(arguments.output, report)
    return 0 if report["reached"] else 1


if __name__ == "__main__":
    sys.exit(main())
