"""A courier's round, one call after another, so that a test knows their order."""

from concurrent.futures import ThreadPoolExecutor

from service.webhooks import Courier


def deliver_due(courier: Courier) -> int:
    """Deliver what is due and return how many messages that were."""
    with ThreadPoolExecutor(1) as pool:
        return courier.start_due(pool)
