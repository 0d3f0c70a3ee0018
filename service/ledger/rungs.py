"""Rungs of a ladder: a method's name, with hyper-parameters where they are not the defaults."""

from collections.abc import Iterable
from typing import Any, NoReturn

from service.commitment import canonical_json
from service.errors import Unprocessable
from service.ledger.orders import METHODS, RETRAIN, RequestOrder, Rung
from service.methods import BadHyperparameter, checked_hyperparameters, plugin_methods


def method_of(rung: Rung) -> str:
    """Return the name of a rung's method."""
    return rung if isinstance(rung, str) else str(rung["method"])


def hyperparameters_of(rung: Rung) -> dict[str, Any]:
    """Return the hyper-parameters in which a rung differs from its method's defaults."""
    return {} if isinstance(rung, str) else dict(rung["hyperparameters"])


def methods_of(ladder: Iterable[Rung]) -> list[str]:
    """Return the names of a ladder's methods."""
    return [method_of(rung) for rung in ladder]


def spelled(rung: Rung) -> str:
    """Return a rung as text; equal rungs are spelled alike, others never."""
    given = hyperparameters_of(rung)
    return f"{method_of(rung)} {canonical_json(given).decode()}" if given else method_of(rung)


def checked_ladder(order: RequestOrder) -> list[Rung]:
    """Return an order's ladder in its one form, so that equal ladders are equal terms.

    Raises:
        Unprocessable: `bad_ladder`, `unknown_method`, `bad_hyperparameters`, with a pointer.
    """
    ladder = order.ladder
    methods = methods_of(ladder)
    if not methods or len(set(methods)) != len(methods):
        _refuse("bad_ladder", "", "A ladder names each of its methods once.")
    if RETRAIN in methods[:-1]:
        _refuse("bad_ladder", f"/{methods.index(RETRAIN)}", "retrain can only be the last rung.")
    known = (*METHODS, *plugin_methods(order.plugins))
    for place, method in enumerate(methods):
        if method not in known:
            _refuse("unknown_method", f"/{place}", f"The methods are: {', '.join(known)}.")
    return [_checked(rung, place) for place, rung in enumerate(ladder)]


def _checked(rung: Rung, place: int) -> Rung:
    method = method_of(rung)
    try:
        given = checked_hyperparameters(method, hyperparameters_of(rung))
    except BadHyperparameter as error:
        pointer = f"/{place}/hyperparameters/{error.name.replace('~', '~0').replace('/', '~1')}"
        _refuse("bad_hyperparameters", pointer, f"{error}.")
    return {"method": method, "hyperparameters": given} if given else method


def _refuse(code: str, place: str, detail: str) -> NoReturn:
    raise Unprocessable(code, detail, [{"pointer": f"/ladder{place}", "detail": detail}])
