"""`/metrics` for Prometheus, open to the operator's own networks alone."""

from ipaddress import ip_address

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from service.dependencies import PartsDep
from service.ledger.figures import ledger_figures
from service.metrics import exposition

router = APIRouter(include_in_schema=False)  # of the operator, not of the API's callers
_PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip")


@router.get("/metrics")
def metrics(request: Request, parts: PartsDep) -> Response:
    """Return the metrics; anybody else's call finds nothing here, and so does a proxy's.

    A proxy on this machine has a local address whoever stands behind it, so what was passed on is
    refused.
    """
    passed_on = any(name in request.headers for name in _PROXIED)
    host = request.client.host if request.client else ""
    if passed_on or not _is_inside(host, parts.settings.metrics_networks):
        raise HTTPException(404)
    with parts.database.read() as session:
        figures = ledger_figures(session)
    return Response(exposition(figures), media_type=CONTENT_TYPE_LATEST)


def _is_inside(host: str, networks: tuple[object, ...]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)  # type: ignore[operator]
