"""The rows of the tables of methods: what is run, with which hyper-parameters."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from unlearning.methods import METHODS as METHOD_TYPES

TUNED: Final = Path(__file__).parent / "results" / "tuned.json"
"""Hyper-parameters found by `benchmarks.tuning` under one budget for all methods."""
CLASS: Final = ("class",)
INSTANCE: Final = ("instance",)
BOTH: Final = ("class", "instance")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: a method, or a control that is no method."""

    name: str
    """A method's name, or `control:` and a control's."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[str, ...] = BOTH
    pool: bool = False
    """Whether a K-fold pool supplies the targets of single samples."""


def tuned_rows(path: Path = TUNED) -> dict[str, Row]:
    """Return a row for each method that was tuned; none where no tuning was done."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    return {
        f"{name}, tuned": Row(
            name=name,
            hyperparameters=entry["hyperparameters"],
            scopes=CLASS if METHOD_TYPES[name].scopes == CLASS else BOTH,
        )
        for name, entry in found.items()
    }


_DR: Final = "distilled_recovery"
_CHEAP: Final = {
    "keep": 0.6,
    "schedule": "one_cycle",
    "relative_epochs": 0.32,
    "instance_relative_epochs": 0.32,
}
_FRESH: Final = {"perturb": "fresh", "schedule": "one_cycle"}

METHODS: Final[dict[str, Row]] = {
    "retrain": Row(name="retrain"),
    "muda": Row(name="muda"),
    "muda, an epoch less": Row(
        name="muda", hyperparameters={"alpha": 6.0, "relative_tail_epochs": 0.28}
    ),
    "muda, two epochs less": Row(
        name="muda", hyperparameters={"alpha": 6.0, "relative_tail_epochs": 0.24}, scopes=CLASS
    ),
    "muda, three epochs less": Row(
        name="muda", hyperparameters={"alpha": 6.0, "relative_tail_epochs": 0.2}, scopes=CLASS
    ),
    "muda, pool targets": Row(name="muda", scopes=INSTANCE, pool=True),
    "muda, plain": Row(
        name="muda",
        hyperparameters={
            "beta": 0.0,
            "keep": 1.0,
            "restart_last_stage": False,
            "schedule": "falling",
            "epochs": 2,
            "relative_tail_epochs": 0.16,
            "distillation": True,
        },
    ),
    "distilled_recovery": Row(name=_DR),
    "distilled_recovery, all fresh": Row(name=_DR, hyperparameters=_FRESH),
    "distilled_recovery, short": Row(name=_DR, hyperparameters=_CHEAP),
    "distilled_recovery, short, all fresh + teacher": Row(
        name=_DR,
        hyperparameters={**_CHEAP, "perturb": "fresh", "distillation": True},
        scopes=CLASS,
    ),
    "finetune": Row(name="finetune"),
    "random_labels": Row(name="random_labels"),
    "control: hidden head": Row(name="control:hidden_head", scopes=CLASS),
    "control: head masked": Row(name="control:head_masked", scopes=CLASS),
    **tuned_rows(),
}

ABLATION: Final[dict[str, Row]] = {
    "retrain": Row(name="retrain"),
    "muda": Row(name="muda"),
    "without alignment": Row(name="muda", hyperparameters={"alpha": 0.0}),
    "without energy": Row(name="muda", hyperparameters={"beta": 0.0}),
    "without both": Row(name="muda", hyperparameters={"alpha": 0.0, "beta": 0.0}),
    "recovery alone": Row(
        name=_DR,
        hyperparameters={**_CHEAP, "keep": 0.5},
    ),
    "with distillation": Row(name="muda", hyperparameters={"distillation": True}, scopes=CLASS),
    "alternating by batch": Row(name="muda", hyperparameters={"alternate": "batch"}),
    "forgetting to the end": Row(
        name="muda", hyperparameters={"epochs": 6, "relative_tail_epochs": 0.0}
    ),
    "rate only falling": Row(name="muda", hyperparameters={"schedule": "falling"}),
    "old weights kept": Row(name="muda", hyperparameters={"keep": 1.0}),
    "old last stage kept": Row(name="muda", hyperparameters={"restart_last_stage": False}),
}


def _chosen(*labels: str) -> dict[str, Row]:
    return {label: METHODS[label] for label in labels}


_FROZEN: Final = {
    f"distilled_recovery, first stage frozen, {told}": Row(
        name=_DR,
        hyperparameters={
            "keep": 0.5,
            "schedule": "one_cycle",
            "frozen_share": 0.5,
            "relative_epochs": share,
        },
    )
    for told, share in ((".36", 0.36), (".48", 0.48))
}
CONFIRMATION: Final[dict[str, Row]] = {
    **_chosen(
        "retrain",
        "muda",
        "muda, an epoch less",
        "muda, two epochs less",
        "distilled_recovery, short",
    ),
    "muda, first stage frozen": Row(name="muda", hyperparameters={"frozen_share": 0.5}),
    "muda, forgetting half-way": Row(
        name="muda", hyperparameters={"relative_lead_epochs": 0.16, "relative_tail_epochs": 0.16}
    ),
    "muda, no forgetting": Row(
        name=_DR, hyperparameters=_CHEAP | {"keep": 0.5, "relative_epochs": 0.36}
    ),
    "muda, three forget epochs": Row(
        name="muda", hyperparameters={"epochs": 3, "relative_tail_epochs": 0.24}
    ),
    "the same with validation and roll-back": Row(
        name="muda",
        hyperparameters={"epochs": 3, "relative_tail_epochs": 0.24, "validation_share": 0.05},
    ),
    **_FROZEN,
}
"""For seeds on which none of it was looked at before: what the shorter forms, forgetting itself and
frozen early layers are worth."""

_SHORTEST: Final = {
    "distilled_recovery, shortest": Row(
        name=_DR, hyperparameters={"keep": 0.7, "schedule": "one_cycle", "relative_epochs": 0.1}
    )
}
SECOND_RUNG: Final[dict[str, Row]] = {
    **_chosen(
        "retrain",
        "distilled_recovery, short",
        "distilled_recovery, short, all fresh + teacher",
    ),
    "distilled_recovery, short, all fresh": Row(
        name=_DR, hyperparameters=_CHEAP | {"perturb": "fresh"}
    ),
    **_FROZEN,
    "distilled_recovery, shortest, all fresh + teacher": Row(
        name=_DR,
        hyperparameters=_CHEAP | {"perturb": "fresh", "distillation": True, "relative_epochs": 0.1},
        scopes=CLASS,
    ),
    **_SHORTEST,
}

_DIGITS_ALONE: Final = {
    "finetune",
    "random_labels",
    "muda, two epochs less",
    "muda, three epochs less",
}
LARGER: Final[dict[str, Row]] = {
    **{label: row for label, row in METHODS.items() if label not in _DIGITS_ALONE},
    **_SHORTEST,
    "muda, cheap": Row(
        name="muda",
        hyperparameters={"alpha": 6.0, "relative_tail_epochs": 0.08, "retain_fraction": 0.8},
    ),
}

TABLES: Final = {
    "methods": METHODS,
    "ablation": ABLATION,
    "confirmation": CONFIRMATION,
    "second-rung": SECOND_RUNG,
    "larger": LARGER,
}
"""Rows by name: `larger` for data sets whose recipes have few epochs."""
