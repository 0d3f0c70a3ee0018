"""`python -m worker.demo --seed 0 --output demo`: exit 0 when every promise was kept, else 1."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from service.client import ExpungeClient
from worker.demo.actors import RETRAIN_SEEDS, Actors
from worker.demo.digits import write_digits
from worker.demo.evidence import Evidence, save_report
from worker.demo.screen import Screen
from worker.demo.stack import free_port, running_stack
from worker.demo.story import Story, Told
from worker.demo.summary import HIDING_CONTROLS, broken_promises, control_entry, request_entry


def main() -> int:
    """Run the demo in a fresh output folder and judge it."""
    arguments = _parse()
    start, screen = time.monotonic(), Screen()
    output: Path = arguments.output.resolve()
    _clear(output)
    digits = write_digits(output / "data", arguments.seed)
    actors = Actors(digits, arguments.digit, arguments.seed)
    screen.say(f"Starting the embedded stack (API, worker, sweeper); log in {output}/home")
    with running_stack(output / "home", output / "data", free_port()) as url:
        key = (output / "home" / "admin.key").read_text().strip()
        with ExpungeClient(url, key) as client:
            story = Story(client, digits, actors, screen, arguments.digit, arguments.seed)
            told = story.tell()
            evidence = _save(client, told, output / "reports")
    summary = _summarise(output / "reports") | {"seconds": round(time.monotonic() - start, 1)}
    (output / "summary.json").write_text(json.dumps(summary, indent=2))
    screen.controls(summary["controls"])
    screen.requests(summary["requests"])
    complaints = [*broken_promises(summary), *_broken_evidence(evidence)]
    _close(screen, output, evidence, complaints, summary["seconds"])
    return 1 if complaints else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="expunge demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of data, networks and choices")
    parser.add_argument("--digit", type=int, default=8, choices=range(10), help="to forget whole")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder, made anew")
    return parser.parse_args()


def _clear(output: Path) -> None:
    """Remove what an earlier demo left, and nothing that only looks like it."""
    if output.exists():
        if not (output / "data" / "manifest.parquet").exists() and any(output.iterdir()):
            raise SystemExit(
                f"{output} is not empty and no earlier demo's: choose another --output"
            )
        shutil.rmtree(output)
    output.mkdir(parents=True)


def _save(client: ExpungeClient, told: Told, folder: Path) -> dict[str, Evidence]:
    saved = {}
    for kind, keys in (("audit", told.audits), ("request", told.requests)):
        for name, key in keys.items():
            saved[f"{kind}/{name}"] = save_report(client, key, kind, folder / kind / name)
    return saved


def _summarise(folder: Path) -> dict[str, Any]:
    def predicate(kind: str, name: str) -> dict[str, Any]:
        statement = json.loads((folder / kind / name / "statement.json").read_text())
        return dict(statement["predicate"])

    controls: dict[str, Any] = {
        name: control_entry(predicate("audit", name)) for name in HIDING_CONTROLS
    }
    controls["retrained"] = [
        control_entry(predicate("audit", f"retrained_{seed}")) for seed in RETRAIN_SEEDS
    ]
    names = ("class", "mislabelled", "random")
    return {
        "requests": [request_entry(name, predicate("request", name)) for name in names],
        "controls": controls,
    }


def _broken_evidence(evidence: dict[str, Evidence]) -> list[str]:
    refused = [name for name, one in evidence.items() if not one.accepted]
    fooled = [name for name, one in evidence.items() if not one.altered_refused]
    return [f"The verifier refused the report of {name}." for name in refused] + [
        f"The verifier accepted an altered report of {name}." for name in fooled
    ]


def _close(
    screen: Screen,
    output: Path,
    evidence: dict[str, Evidence],
    complaints: list[str],
    seconds: float,
) -> None:
    one = evidence["request/class"]
    screen.say(f"Report      {one.page}")
    screen.say(f"Envelope    {one.envelope}")
    screen.say(f"Verifier    {one.verification}")
    screen.say(f"Summary     {output / 'summary.json'}   ({seconds:.0f} s)")
    for complaint in complaints:
        screen.say(f"[red]Promise broken:[/red] {complaint}")


if __name__ == "__main__":
    sys.exit(main())
