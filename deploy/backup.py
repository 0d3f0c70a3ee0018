"""Backup and restore as docs/operations.md tells them: database first, then the storage."""

from pathlib import Path

from deploy.evidence import STORAGE
from deploy.stack import ComposeStack

DUMP, ARCHIVE = "expunge.dump", "storage.tar"


def back_up(stack: ComposeStack, folder: Path) -> str:
    """Write database and storage of a running stack into a folder.

    The sweep rests meanwhile: it alone removes artifacts, so whatever the dump names is still there
    when the storage is copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stack.compose("stop", "sweep")
    try:
        dump = ("pg_dump", "--username", "expunge", "--format", "custom", "expunge")
        (folder / DUMP).write_bytes(stack.execute("postgres", *dump))
        archive = ("tar", "--create", "--directory", STORAGE, ".")
        (folder / ARCHIVE).write_bytes(stack.execute("api", *archive))
    finally:
        stack.start("sweep")
    sizes = [f"{name} {(folder / name).stat().st_size / 1e6:.1f} MB" for name in (DUMP, ARCHIVE)]
    return ", ".join(sizes)


def restore(stack: ComposeStack, folder: Path) -> str:
    """Fill the empty volumes of a fresh stack from a backup, then start everything."""
    stack.compose("up", "--detach", "--wait", "postgres")
    fill = ("pg_restore", "--username", "expunge", "--dbname", "expunge", "--exit-on-error")
    plain = ("--no-owner", "--no-privileges")  # the role is made, and given its rights, by `up`
    stack.execute("postgres", *fill, *plain, stdin=(folder / DUMP).read_bytes())
    unpack = ("tar", "--extract", "--directory", STORAGE)
    content = (folder / ARCHIVE).read_bytes()
    stack.compose("run", "--rm", "--no-deps", "--no-TTY", "api", *unpack, stdin=content)
    stack.up()
    return "fresh volumes filled, everything healthy"
