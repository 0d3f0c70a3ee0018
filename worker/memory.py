"""How much memory is free, and whether a job's pixels may stay in it."""

from pathlib import Path

import psutil
import torch

RESIDENT_SHARE = 0.25
"""Largest share of the free memory that a job's pixels may take, on the host and on the device.

Its retain set, forget set and hold-out are copies of them, so twice that is held; the rest is left
to networks, features and whatever else runs.
"""
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def stays_resident(size: int, device: str) -> bool:
    """Tell whether so many bytes of pixels are to be held whole, on a GPU by way of the host."""
    return size <= RESIDENT_SHARE * min(free_host_bytes(), free_device_bytes(device))


def free_host_bytes() -> int:
    """Return the bytes that this process can still take, of the machine and its control groups."""
    return min([psutil.virtual_memory().available, *_free_in_cgroups()])


def free_device_bytes(device: str) -> int:
    """Return the free bytes of a GPU; the CPU's memory is the host's."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_bytes()


def _free_in_cgroups() -> list[int]:
    """Return what every limited group of this process (cgroup v2) has left, page cache not counted.

    A container's limit is no limit of the machine, and only these files know it.
    """
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:  # no Linux
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    inside = CGROUPS / own.lstrip("/")
    groups = [inside, *inside.parents]
    return [
        free
        for group in groups
        if group.is_relative_to(CGROUPS) and (free := _free_in(group)) is not None
    ]


def _free_in(group: Path) -> int | None:
    """Return the bytes left in one group; None where it has no limit."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # the root group has no such files
        return None
    if limit == "max":
        return None
    return max(0, int(limit) - used + int(stat.get("inactive_file", 0)))
