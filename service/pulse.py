"""A file whose age tells whether a process without a port still does its work."""

from pathlib import Path


def beat(path: Path | None) -> None:
    """Set the file's time to now, making the file if there is none; None: nobody looks at it.

    Raises:
        OSError: The file cannot be made: a setting that is wrong from the start.
    """
    if path is not None:
        path.touch()
