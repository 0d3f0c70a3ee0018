"""Checks of files and folders: signing key, pepper, data roots, room on the disk."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from service.config import Settings
from service.doctor.finding import Finding, fail, first_line, ok, warn
from service.sealing import PEPPER_BYTES
from service.signing import SigningKeyError, load_signer, published_keys_file

ROOM_WARN_BYTES, ROOM_FAIL_BYTES = 10 << 30, 1 << 30
_OTHERS_MASK = 0o077
_GIB = 1 << 30


def check_signing_key(settings: Settings) -> Iterator[Finding]:
    """Load the key as the service does, and sign with it."""
    path = settings.signing_key_file
    if settings.mode == "embedded" and not path.exists():
        yield warn("signing key", f"{path} is not there yet", "The first start makes it.")
        return
    try:
        signer = load_signer(path, create=False)
        signer.sign(secrets.token_bytes(PEPPER_BYTES))
    except SigningKeyError as error:
        yield fail("signing key", str(error), "Put it right: no report can be signed without it.")
        return
    published = published_keys_file(path)
    if not published.exists():
        action = "Restore it from a backup: retired keys and the date of this one are in it."
        yield warn("signing key", f"{signer.keyid} signs, but {published} is missing", action)
    else:
        yield ok("signing key", f"{signer.keyid} in {path}")


def check_pepper(settings: Settings) -> Iterator[Finding]:
    """Look whether the pepper is there, long enough, and closed to others."""
    path = settings.pepper_file
    fill = f"head -c {PEPPER_BYTES} /dev/urandom > {path}"
    make = f"Make one: (umask 077; mkdir -p {path.parent}; {fill})"
    try:
        mode, size = stat.S_IMODE(path.stat().st_mode), len(path.read_bytes())
    except FileNotFoundError:
        yield warn("pepper", f"{path} is not there: no webhooks", make)
        return
    except OSError as error:
        yield fail("pepper", f"{path} cannot be read: {error.strerror}", "Give it to this user.")
        return
    if mode & _OTHERS_MASK:
        yield fail("pepper", f"{path} is open to others ({mode:04o})", f"Run: chmod 600 {path}")
    elif size < PEPPER_BYTES:
        yield fail("pepper", f"{path} holds {size} bytes, {PEPPER_BYTES} are needed", make)
    else:
        yield ok("pepper", f"{size} bytes in {path}")


def check_data_roots(settings: Settings) -> Iterator[Finding]:
    """Look into every folder that manifests may name files in."""
    for root in settings.data_roots:
        try:
            with os.scandir(root) as entries:
                empty = next(entries, None) is None
        except FileNotFoundError:
            action = f"Make it and put data sets into it: mkdir -p {root}"
            if root == settings.home / "data":
                yield warn("data root", f"{root} is not there", action)
            else:
                yield fail("data root", f"{root} is not there", action)
        except OSError as error:
            action = "Make it a folder that this user can read."
            yield fail("data root", f"{root} cannot be read: {first_line(error)}", action)
        else:
            yield ok("data root", f"{root}{' (empty)' if empty else ''}")


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Compare the room on the disks of `home` and of a storage that is a folder."""
    folders = {settings.home}
    scheme, mark, path = settings.storage_url.rpartition("://")
    if not mark or scheme == "file":
        folders.add(Path(path).absolute())
    for folder in sorted(folders):
        place = next(path for path in (folder, *folder.parents) if path.exists())
        yield judge_room(folder, shutil.disk_usage(place).free)


def judge_room(folder: Path, free: int) -> Finding:
    """Judge the free bytes of the disk that a folder is on."""
    words = f"{free / _GIB:.1f} GiB free for {folder}"
    action = "Make room: weights, references and caches need a few times the size of the data."
    if free < ROOM_FAIL_BYTES:
        return fail("disk", words, action)
    if free < ROOM_WARN_BYTES:
        return warn("disk", words, action)
    return ok("disk", words)
