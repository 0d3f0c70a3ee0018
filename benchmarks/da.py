"""Measure what da and energy cost: time relative to one Gram product, and extra memory.

    python -m benchmarks.da                      # 200,000 x 512, writes benchmarks/results/da.json
    python -m benchmarks.da --rows 2000 --dims 64 --output /tmp/da.json

The work is everything from features in memory to the two figures: moments of R (nine tenths of the
rows) and of F, the decomposition, da and log ρ. The unit is one fp32 XᵀX over the same rows.
"""

import argparse
import datetime as dt
import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unlearning.metrics.alignment import da, energy, retain_space
from unlearning.metrics.moments import CHUNK_ROWS, Moments

NUM_CLASSES = 10
GOAL = 1.5
RESULTS = Path(__file__).parent / "results" / "da.json"


def make_features(rows: int, dims: int, seed: int) -> Tensor:
    """Draw [rows, dims] float32 features with an offset, without temporary copies."""
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(rows, dims).normal_(mean=3.0, generator=generator)


def gram(features: Tensor) -> Tensor:
    """Multiply XᵀX once: the unit of the comparison."""
    return features.T @ features


def measure(features: Tensor) -> tuple[float, float]:
    """Compute da and energy of the last tenth of the rows against the others."""
    split = len(features) - max(1, len(features) // NUM_CLASSES)
    retain, forget = Moments.of(features[:split]), Moments.of(features[split:])
    space = retain_space(retain)
    return da(space, forget, NUM_CLASSES - 1), energy(space, forget)


def seconds(function: Callable[[Tensor], object], features: Tensor) -> float:
    """Time one call."""
    start = time.perf_counter()
    function(features)
    return time.perf_counter() - start


def peak_bytes() -> int:
    """Return this process's peak resident memory since it was started."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def extra_memory(rows: int, dims: int, seed: int) -> int:
    """Return by how much `measure` raises the peak above the features and a warmed-up library."""
    measure(make_features(64, dims, seed))
    features = make_features(rows, dims, seed)
    before = peak_bytes()
    measure(features)
    return peak_bytes() - before


def extra_memory_in_child(arguments: argparse.Namespace) -> int:
    """Measure the memory in a fresh process, whose peak holds nothing else."""
    command = [sys.executable, "-m", "benchmarks.da", "--memory-only"]
    for name in ("rows", "dims", "seed", "threads"):
        command += [f"--{name}", str(getattr(arguments, name))]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    return int(done.stdout)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Interleave both measurements and collect the report."""
    extra = extra_memory_in_child(arguments)
    features = make_features(arguments.rows, arguments.dims, arguments.seed)
    figures = measure(features)
    gram(features)
    pairs = [
        (seconds(gram, features), seconds(measure, features)) for _ in range(arguments.repeats)
    ]
    ratios = sorted(measured / unit for unit, measured in pairs)
    return {
        "benchmark": "da",
        "rows": arguments.rows,
        "dims": arguments.dims,
        "chunk_rows": CHUNK_ROWS,
        "repeats": arguments.repeats,
        "seed": arguments.seed,
        "threads": arguments.threads,
        "gram_seconds": [round(unit, 5) for unit, _ in pairs],
        "da_energy_seconds": [round(measured, 5) for _, measured in pairs],
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "min": round(ratios[0], 3),
            "max": round(ratios[-1], 3),
            "goal": GOAL,
        },
        "extra_memory_bytes": extra,
        "features_bytes": features.nbytes,
        "da": figures[0],
        "energy": figures[1],
        "rows_per_second": round(arguments.rows / statistics.median(m for _, m in pairs)),
        **environment(),
    }


def environment() -> dict[str, object]:
    """Describe when and where the figures were taken."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
    }


def processor() -> str:
    """Name the processor, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def show(report: dict[str, object]) -> None:
    """Print the table."""
    ratio, extra = report["ratio"], report["extra_memory_bytes"]
    assert isinstance(ratio, dict)  # noqa: S101 - built above
    assert isinstance(extra, int)  # noqa: S101 - built above
    print(f"da + energy over {report['rows']:,} x {report['dims']} fp32 ", end="")
    print(f"(n = {report['repeats']}, seed {report['seed']}, {report['threads']} threads)")
    print(f"  time / one Gram product  {ratio['median']:.2f}", end="")
    print(f"  ({ratio['min']:.2f} to {ratio['max']:.2f}; goal <= {ratio['goal']})")
    print(f"  rows per second          {report['rows_per_second']:,}")
    print(f"  extra memory             {extra / 2**20:.1f} MiB")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.rows < NUM_CLASSES * 2 or parsed.dims < 1 or parsed.repeats < 1:
        parser.error(f"needs rows >= {NUM_CLASSES * 2}, dims >= 1 and repeats >= 1")
    return parsed


def main() -> None:
    """Run the benchmark, print its table and store its JSON."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_only:
        print(extra_memory(arguments.rows, arguments.dims, arguments.seed))
        return
    report = run(arguments)
    if not all(math.isfinite(float(str(report[name]))) for name in ("da", "energy")):
        raise RuntimeError("da and energy are not finite: the benchmark measured nothing")
    show(report)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
