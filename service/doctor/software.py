"""Checks of what is installed: Python, packages, and the device that jobs run on."""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from service.config import Settings
from service.doctor.finding import Finding, fail, ok, warn

OLDEST_PYTHON = (3, 11)
EXTRAS = {
    "service": "This machine cannot serve.",
    "unlearning": "This machine can serve, but runs no worker.",
    "worker": "This machine can serve, but runs no worker.",
}
"""Expunge's extras, and what a machine without one cannot do."""
DEVICE_TIMEOUT_S = 120.0
_GIB = 1 << 30


def check_python(_settings: Settings) -> Iterator[Finding]:
    """Compare Python's version with the oldest that Expunge runs on."""
    detail = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield fail("python", detail, f"Install Python {oldest} or newer.")
    else:
        yield ok("python", detail)


def check_packages(_settings: Settings) -> Iterator[Finding]:
    """Compare the packages of every extra with what Expunge's own metadata asks for."""
    try:
        version = metadata.version("expunge")
        needs = [Requirement(text) for text in metadata.requires("expunge") or ()]
    except metadata.PackageNotFoundError:
        words = "Expunge runs from a folder and is not installed, so its needs are unknown"
        yield warn("packages", words, "Install it: pip install 'expunge[worker]'")
        return
    yield ok("expunge", version)
    for extra, consequence in EXTRAS.items():
        yield _check_extra(extra, needs, consequence)


def _check_extra(extra: str, needs: list[Requirement], consequence: str) -> Finding:
    name, wanted = f"extra {extra}", _wanted(extra, needs)
    wrong = [words for need in wanted if (words := _what_is_wrong(need))]
    if not wrong:
        return ok(name, f"{len(wanted)} packages are installed as required")
    action = f"Run: pip install 'expunge[{extra}]'"
    if extra == "service":
        return fail(name, "; ".join(wrong), f"{consequence} {action}")
    return warn(name, "; ".join(wrong), f"{consequence} {action}")


def _wanted(extra: str, needs: list[Requirement]) -> list[Requirement]:
    """Return the other packages that an extra names itself."""
    return [
        need
        for need in needs
        if need.marker is not None
        and need.name != "expunge"
        and need.marker.evaluate({"extra": extra})
        and not need.marker.evaluate({"extra": ""})
    ]


def _what_is_wrong(need: Requirement) -> str:
    """Say in words why a package does not do; nothing when it does."""
    try:
        present = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        return f"{need.name} is missing"
    if need.specifier.contains(present, prereleases=True):
        return ""
    return f"{need.name} {present} is installed, {need.specifier} is needed"


def check_device(settings: Settings) -> Iterator[Finding]:
    """Ask a child process, which may import torch, what jobs would run on."""
    found, trouble = ask_for_device(settings.device)
    if found is None:
        action = "Workers need torch: pip install 'expunge[worker]'. A machine without them is fine"
        yield warn("device", f"nothing is known of it: {trouble}", f"{action} without.")
        return
    words = f"{found['device']}, torch {found['torch']}"
    if found["name"]:
        words += f", {found['name']} with {found['memory_bytes'] / _GIB:.0f} GiB"
    if found["error"]:
        action = "Give the worker that device, or set EXPUNGE_DEVICE to cpu or auto."
        yield fail("device", f"{words}: {found['error']}", action)
    elif settings.device == "auto" and found["device"] == "cpu":
        yield ok("device", f"{words} (no GPU was found)")
    else:
        yield ok("device", words)


def ask_for_device(asked: str) -> tuple[dict[str, Any] | None, str]:
    """Return the child's answer, or None and why there is none."""
    command = [sys.executable, "-m", "worker.doctor", "--device", asked, "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEVICE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"the child process did not answer within {DEVICE_TIMEOUT_S:.0f} s"
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return None, last
    return answer, ""
