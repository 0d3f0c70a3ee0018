"""Purge the world as the sweeper does, and say what was given up."""

from pathlib import Path

from service import ledger
from service.config import Settings
from service.erased import Eraser
from service.tables import Purge
from tests.service.ledger.world import World

ERASER = Eraser(b"p" * 32)


def purge(world: World, home: Path, *, eraser: Eraser | None = None, **values: float) -> list[str]:
    """Return the artifacts that were given up now."""
    rows = purge_rows(world, home, eraser=eraser, **values)
    return [row.uri for row in rows if row.uri is not None]


def purge_rows(
    world: World, home: Path, *, eraser: Eraser | None = None, **values: float
) -> list[Purge]:
    """Return the records of what was given up now."""
    settings = Settings.model_validate({"home": home, **values})
    with world.database.write() as session:
        found = ledger.purge(session, settings, world.caller.tenant_id, eraser)
    with world.database.read() as session:
        ledger.purge_caches(session, settings.cache_root)
    return found
