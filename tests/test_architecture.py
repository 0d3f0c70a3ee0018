"""The shape of the code: import walls at run time, file and function lengths, module docstrings."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("service", "worker", "unlearning", "migrations", "benchmarks", "deploy", "tests")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40


def _loaded_after(statement: str, *modules: str) -> set[str]:
    code = f"import sys; {statement}; print(*[m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["service.main", "service.cli", "service.ledger"])
def test_the_service_loads_neither_torch_nor_numpy(module: str) -> None:
    assert _loaded_after(f"import {module}", "torch", "numpy", "worker", "unlearning") == set()


def test_the_library_loads_no_web_queue_or_database_library() -> None:
    heavy = ("fastapi", "celery", "sqlalchemy", "pydantic_settings", "structlog", "service")
    assert _loaded_after("import unlearning", *heavy) == set()


def test_the_wall_would_be_seen_to_fall() -> None:
    assert _loaded_after("import numpy", "torch", "numpy") == {"numpy"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_FILE_LINES
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "tests"])
def test_every_module_says_what_it_is_for(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*.py")
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []
