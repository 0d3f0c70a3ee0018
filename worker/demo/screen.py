"""What the demo shows a person: lines, progress bars and tables."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Json = dict[str, Any]

_COLOURS = {"PASS": "green", "RETRAINED": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}


class Screen:
    """The terminal."""

    def __init__(self) -> None:
        self._console = Console()

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(f"[bold]▸[/bold] {line}", highlight=False)

    @contextmanager
    def progress(self, names: list[str]) -> Iterator[Callable[[str, Json], None]]:
        """Show a bar for each name; yield the function that updates one from its state."""
        columns = (
            TextColumn("  {task.description:<14}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[phase]}"),
        )
        with Progress(*columns, console=self._console) as bars:
            tasks = {name: bars.add_task(name, total=100, phase="waiting") for name in names}

            def show(name: str, state: Json) -> None:
                closed = state["status"] == "completed"
                percent = 100 if closed else state.get("percent") or 0
                phase = state["verdict"] if closed else state.get("phase") or state["status"]
                bars.update(tasks[name], completed=percent, phase=phase)
                if closed:
                    bars.stop_task(tasks[name])

            yield show

    def controls(self, controls: Json) -> None:
        """Print how the known controls fared."""
        table = Table(title="Controls audited before any request (POST /v1/audits)")
        for column in ("candidate", "verdict", "remaining influence λ", "95 % bounds"):
            table.add_column(column)
        rows = {name: control for name, control in controls.items() if name != "retrained"}
        retrains = enumerate(controls["retrained"], start=1)
        rows |= {f"genuine retrain {number}": control for number, control in retrains}
        for name, row in rows.items():
            table.add_row(name.replace("_", " "), *_verdict_cells(row))
        self._console.print(table)

    def requests(self, requests: list[Json]) -> None:
        """Print each request's rungs and how it closed."""
        table = Table(title="Deletion requests")
        columns = ("request", "scope", "rung", "verdict", "λ", "95 % bounds", "seconds")
        for column in (*columns, "of one retraining", "references counted"):
            table.add_column(column)
        for request in requests:
            for rung in request["rungs"]:
                ratios = (rung["retrain_ratio"], rung["retrain_ratio_with_references"])
                table.add_row(
                    *(request["name"], request["scope"], rung["method"]),
                    *_verdict_cells(rung),
                    f"{rung['seconds']:.1f}",
                    *("–" if ratio is None else f"{ratio:.2f} ×" for ratio in ratios),
                )
            closed = _coloured(request["verdict"])
            table.add_row(request["name"], "", "closed", closed, end_section=True)
        self._console.print(table)
        for request in requests:
            self.say(f"{request['name']}: {' '.join(request['reasons'])}")


def _coloured(verdict: str) -> str:
    colour = _COLOURS.get(verdict, "cyan")
    return f"[{colour}]{verdict}[/{colour}]"


def _verdict_cells(row: Json) -> tuple[str, str, str]:
    if row["influence"] is None:
        return _coloured(row["verdict"]), "not computable", "–"
    bounds = f"{row['influence_low']:+.2f} … {row['influence_high']:+.2f}"
    return _coloured(row["verdict"]), f"{row['influence']:+.2f}", bounds
