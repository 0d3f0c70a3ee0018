"""The zero-downtime rule: while a migration runs, processes of the release before go on working.

docs/operations.md tells it to people. Migrations are read, not run: what counts is in the calls of
`upgrade` and the functions it calls, on whatever receiver (`op` or a batch). A module may say
`contracts: str` (which release stopped using what goes) or `locks: str` (why a lock does no harm).
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FIRST = "202611280000"
"""Older migrations make a schema that nobody had before them."""
CONTRACTING = frozenset({"drop_table", "drop_column", "drop_constraint", "rename_table"})
VALIDATING = frozenset(
    {
        "create_unique_constraint",
        "create_foreign_key",
        "create_check_constraint",
        "create_primary_key",
        "create_exclude_constraint",
    }
)
BIG = frozenset({"samples", "audit_events", "jobs", "job_needs", "outbox", "webhook_attempts"})
"""Tables with a row for every sample, event or piece of work."""
_SQL = re.compile(
    r"\b(drop|rename|lock\s+table|set\s+not\s+null|vacuum\s+full)\b|^\s*truncate\b", re.IGNORECASE
)


def violations(path: Path) -> list[str]:
    """Return what a migration does that the rule refuses, with the line."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    if str(_constant(names.get("revision"))) < FIRST:
        return []
    contracts, locks = (bool(_constant(names.get(name))) for name in ("contracts", "locks"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    nodes = list(_reached(functions, "upgrade", set()))
    calls = [c for c in nodes if isinstance(c, ast.Call) and isinstance(c.func, ast.Attribute)]
    made = {_constant(c.args[0]) for c in calls if _verb(c) == "create_table" and c.args}
    return [
        f"line {call.lineno}: {_verb(call)}: {why}"
        for call in calls
        for why in _reasons(call, made | (BIG if locks else set()), contracts=contracts)
    ]


def _reached(functions: dict[str, ast.FunctionDef], name: str, seen: set[str]) -> Iterator[ast.AST]:
    """Yield what a function does, and those of the module that it calls."""
    seen.add(name)
    for node in ast.walk(functions[name]):
        yield node
        if isinstance(node, ast.Name) and node.id in functions.keys() - seen:
            yield from _reached(functions, node.id, seen)


def _reasons(call: ast.Call, made: set[object], *, contracts: bool) -> Iterator[str]:
    verb, words = _verb(call), {word.arg: word.value for word in call.keywords}
    old = not _tables(call) & made
    if verb in CONTRACTING and old and not contracts:
        yield "only a migration whose `contracts` says which release stopped using it may do so"
    elif verb == "alter_column":
        yield from _of_change(words)
    elif verb == "add_column":
        yield from _of_column(call)
    elif verb in VALIDATING and _tables(call) & BIG and old:
        yield "scans a big table under a lock"
    elif verb == "create_index" and _tables(call) & BIG and old:
        if _constant(words.get("postgresql_concurrently")) is not True:
            yield "on a big table needs postgresql_concurrently=True in an autocommit block"
    elif verb == "execute" and not contracts:
        texts = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]
        if any(isinstance(text, str) and _SQL.search(text) for text in texts):
            yield "this SQL drops, renames, locks or validates"


def _of_change(words: dict[str | None, ast.expr]) -> Iterator[str]:
    if "new_column_name" in words:
        yield "a renamed column is gone for the release before: add one, copy, drop later"
    if "type_" in words or _constant(words.get("nullable")) is False:
        yield "rewrites or scans the table under a lock: add a column instead"


def _of_column(call: ast.Call) -> Iterator[str]:
    for column in ast.walk(call):
        if isinstance(column, ast.Call) and _verb(column) == "Column":
            words = {word.arg: word.value for word in column.keywords}
            needed = _constant(words.get("nullable")) is False
            if needed and "server_default" not in words:
                yield "the release before inserts no value for it: nullable, or a server_default"


def _verb(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _tables(call: ast.Call) -> set[object]:
    """Return the constants among the first two arguments: one of them names the table."""
    return {_constant(argument) for argument in call.args[:2]} - {None}


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None
