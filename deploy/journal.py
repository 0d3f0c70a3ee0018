"""The check's table: every step with its time and what was seen."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_LOG_LINES = 60


class Journal:
    """Run steps one by one and remember how each went."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._rows: list[tuple[str, float, bool, str]] = []

    def step(self, name: str, do: Callable[[], str]) -> None:
        """Do it, print and keep what it returns; an exception is noted and goes on its way."""
        start = time.monotonic()
        kept, seen = False, "failed"
        try:
            seen = do()
            kept = True
        finally:
            self._rows.append((name, time.monotonic() - start, kept, seen))
            mark = "[green]✓[/green]" if kept else "[red]✗[/red]"
            self._console.print(f"{mark} {name}: {escape(seen)}")

    def explain(self, failure: Exception, logs: Sequence[str]) -> None:
        """Print what went wrong and the end of the containers' logs."""
        for line in logs[-_LOG_LINES:]:
            self._console.print(escape(line))
        self._console.print(f"[red]{type(failure).__name__}: {escape(str(failure))}[/red]")

    def show(self) -> None:
        """Print the table."""
        table = Table(title=f"compose-check, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
        for column in ("step", "seconds", "", "seen"):
            table.add_column(column, overflow="fold")
        for name, seconds, kept, seen in self._rows:
            table.add_row(name, f"{seconds:.1f}", "ok" if kept else "LOST", escape(seen))
        self._console.print(table)

    @property
    def all_kept(self) -> bool:
        """Say whether there were steps and none failed."""
        return bool(self._rows) and all(kept for _, _, kept, _ in self._rows)
