"""`make chaos`: faults on a real installation, then a table and whether every promise was kept."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.suite import run


def main() -> int:
    """Run the suite as told; return 0 if nothing was lost and nothing done twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="faults that hit a running job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=1800, help="seconds for the faults")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="expunge-chaos-"))
    outcome = run(folder / "home", options.faults, options.seed, options.limit)
    sys.stdout.write(f"{outcome.table()}\n")
    if options.output is not None:
        options.output.write_text(outcome.as_json())
    if outcome.broken:
        sys.stdout.write(f"Logs and storage are kept in {folder}.\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
