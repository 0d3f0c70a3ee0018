"""Pixels stay in memory where they take a quarter of what is free, in a container too."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from worker import memory

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB available and a process in the control group /outer/inner."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GIB))
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "OWN_CGROUP", tmp_path / "own")
    (tmp_path / "own").write_text("0::/outer/inner\n")
    (tmp_path / "cgroup" / "outer" / "inner").mkdir(parents=True)
    return tmp_path / "cgroup"


def limit(group: Path, most: int | str, used: int, cached: int = 0) -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon {used - cached}\ninactive_file {cached}\n")


def test_without_limits_the_machine_counts(machine: Path) -> None:
    limit(machine / "outer" / "inner", "max", 3 * GIB)
    assert memory.free_host_bytes() == 8 * GIB


def test_a_quarter_of_what_is_free_may_stay(machine: Path) -> None:
    assert machine.exists()
    assert memory.stays_resident(2 * GIB, "cpu")
    assert not memory.stays_resident(2 * GIB + 1, "cpu")


@pytest.mark.parametrize("group", ["outer", "outer/inner", "."])
def test_the_tightest_group_above_the_process_counts(machine: Path, group: str) -> None:
    limit(machine / group, 4 * GIB, 3 * GIB)
    assert memory.free_host_bytes() == 1 * GIB


def test_page_cache_of_a_group_is_free(machine: Path) -> None:
    limit(machine / "outer", 4 * GIB, 3 * GIB, cached=2 * GIB)
    assert memory.free_host_bytes() == 3 * GIB


def test_a_full_group_leaves_nothing(machine: Path) -> None:
    limit(machine / "outer", GIB, 2 * GIB)
    assert not memory.stays_resident(1, "cpu")


@pytest.mark.parametrize("text", [None, "12:memory:/old\n"])
def test_systems_without_such_groups_have_the_machine_s_memory(
    machine: Path, text: str | None
) -> None:
    limit(machine, GIB, GIB)
    own = machine.parent / "own"
    if text is None:
        own.unlink()
    else:
        own.write_text(text)
    assert memory.free_host_bytes() == 8 * GIB


def test_a_gpu_with_less_memory_decides(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.exists()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (4 * GIB, 80 * GIB))
    assert memory.stays_resident(GIB, "cuda")
    assert not memory.stays_resident(GIB + 1, "cuda")
