"""What commands print, and how they end.

Exit codes: 0 done; 1 refused or failed, the problem is printed; 2 wrong usage; 3 the service cannot
be reached; 4 a request ended without a verdict that closes it. `expunge verify` has the codes of
`service.verify`.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from rich.console import Console
from rich.table import Table


class Exit(IntEnum):
    """The documented exit codes."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_CLOSED = 4


class CommandFailed(Exception):
    """End the command with a code and words.

    Args:
        detail: What happened and what to do.
        code: The exit code.
        problem: The service's own problem document, for ``--json``.
    """

    def __init__(
        self, detail: str, code: Exit = Exit.FAILED, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.problem = dict(problem or {"detail": detail})


class Output:
    """Print for a person, or one JSON document for a program.

    Args:
        as_json: Standard output then holds nothing but the document.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line for a person."""
        self.console.print(text, markup=False)

    def document(self, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Print the command's result where JSON was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")

    def fields(self, title: str, values: Mapping[str, Any]) -> None:
        """Print names and values below each other, leaving out what is empty."""
        table = Table(title=title, show_header=False, title_justify="left", box=None)
        table.add_column()
        table.add_column(overflow="fold")  # an id that is cut off cannot be used
        for name, value in values.items():
            if value not in (None, "", [], {}):
                table.add_row(name.replace("_", " "), str(value))
        self.console.print(table)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print rows under headings."""
        table = Table(box=None, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        self.console.print(table)


def print_failure(failure: CommandFailed, *, as_json: bool) -> None:
    """Print why a command failed: words to standard error, or the problem document."""
    if as_json:
        sys.stdout.write(json.dumps(failure.problem, indent=2, default=str) + "\n")
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(failure.detail, markup=False, style="red")
    for error in failure.problem.get("errors", []):
        console.print(f"  {error.get('pointer', '')}: {error.get('detail', '')}", markup=False)
