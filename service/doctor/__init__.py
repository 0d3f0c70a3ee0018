"""Check an installation and say what to do: `expunge doctor`.

Every check looks at one thing, changes nothing that lasts and never raises; what it finds is a
`Finding`. Passwords and keys of the settings are taken out of every word that is printed.
"""

from collections.abc import Callable, Iterator

from service.config import Settings
from service.doctor import connections, files, software
from service.doctor.finding import Finding, Status, secrets_of

__all__ = ["Finding", "Status", "examine"]

Check = Callable[[Settings], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    software.check_python,
    software.check_packages,
    software.check_device,
    connections.check_database,
    connections.check_broker,
    connections.check_storage,
    files.check_signing_key,
    files.check_pepper,
    files.check_data_roots,
    files.check_disk,
)


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield what every check finds, in order, without any secret of the settings."""
    secrets = secrets_of(settings)
    for check in CHECKS:
        for finding in check(settings):
            yield finding.without(secrets)
