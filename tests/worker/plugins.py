"""Packages that offer methods, installed for a test as pip would: a module and its metadata."""

import importlib
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
BROKEN = "raise ImportError('its compiled part is missing')\n"


def block(language: str) -> str:
    """Return the page's first block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def entries_of_the_page() -> dict[str, str]:
    """Return the entry points that the page's pyproject.toml declares."""
    declared = tomllib.loads(block("toml"))["project"]["entry-points"]["expunge.methods"]
    return {str(name): str(value) for name, value in declared.items()}


def install_package(folder: Path, module: str, source: str, entries: dict[str, str]) -> None:
    """Write a module and the metadata of an installed package of that name."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    head = f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n"
    (metadata / "METADATA").write_text(head, encoding="utf-8")
    lines = ["[expunge.methods]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and those that it starts find the packages in a folder."""
    for module in folder.glob("*.py"):
        monkeypatch.delitem(sys.modules, module.stem, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", path)
    importlib.invalidate_caches()
