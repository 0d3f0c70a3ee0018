"""Curves and clouds for the report's figures; nothing here decides."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unlearning.audit.measurement import Measurement
from unlearning.audit.result import Json
from unlearning.metrics.relearning import RelearningRecipe
from unlearning.metrics.roc import rates

_DIGITS = 4


def spectra(models: Mapping[str, Measurement]) -> Json:
    """Return, for each set, each model's mean square along its own retain axes, largest first."""
    return {
        part: {
            name: _numbers(measured.tensors[f"spectrum.{part}"])
            for name, measured in models.items()
            if f"spectrum.{part}" in measured.tensors
        }
        for part in ("retain", "forget")
    }


def sweep(models: Mapping[str, Measurement], num_retained_classes: int) -> Json:
    """Return da of the forget set for every k from 1 on, by model; ``k`` is the one reported."""
    curves: Json = {
        name: _numbers(measured.tensors["sweep"])
        for name, measured in models.items()
        if "sweep" in measured.tensors
    }
    return {"k": num_retained_classes - 1, **curves}


def projection(models: Mapping[str, Measurement]) -> Json | None:
    """Return every model's points on the two principal axes of the original's retain features.

    Retrainings find the same shape in another orientation, so each model's cloud is turned first
    onto the original's by the rotation that fits their common retain samples best (orthogonal
    Procrustes, Schönemann 1966): distances stay, the forget set has no say. None without features.
    """
    original = models["original"].tensors.get("points.retain")
    if original is None:
        return None
    base = original.double()
    centred = base - base.mean(dim=0)
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    shares = (singular.square() / singular.square().sum())[:2].tolist()
    document: Json = {"explained": [*shares, 0.0, 0.0][:2]}
    for name, measured in models.items():
        cloud = measured.tensors.get("points.retain")
        if cloud is None or cloud.shape != original.shape:
            continue
        rotation = _rotation(cloud.double(), base)
        document[name] = {
            part: [
                _numbers(row)
                for row in measured.tensors[f"points.{part}"].double() @ rotation @ axes[:2].T
            ]
            for part in ("retain", "forget")
        }
    return document


def relearning(models: Sequence[Measurement]) -> Json | None:
    """Return the share of H_F recognised against optimiser steps; None without an experiment.

    ``models`` are original, candidate and references. A curve ends where its model reached the
    target, so it may be shorter than ``steps``.
    """
    if len(models) < 2 or any("curve" not in entry.tensors for entry in models):
        return None
    longest = max((entry.tensors["curve"] for entry in models), key=len)
    original, candidate, *references = (_numbers(e.tensors["curve"][:, 1]) for e in models)
    return {
        "steps": [int(step) for step in longest[:, 0]],
        "original": original,
        "candidate": candidate,
        "references": references,
        "target": RelearningRecipe().target,
    }


def attack(
    original: Measurement, candidate: Measurement, references: Sequence[Measurement]
) -> Json | None:
    """Return the loss attack's true positives at each rate of false alarms; None without them.

    ``low`` and ``high`` are the references' extremes at each rate.
    """
    models = (original, candidate, *references)
    if any("roc" not in entry.tensors for entry in models):
        return None
    document: Json = {
        "rates": [float(f"{rate:.4g}") for rate in rates()],
        "original": _numbers(original.tensors["roc"]),
        "candidate": _numbers(candidate.tensors["roc"]),
        "num_references": len(references),
    }
    if references:
        known = torch.stack([entry.tensors["roc"] for entry in references])
        document |= {"low": _numbers(known.amin(dim=0)), "high": _numbers(known.amax(dim=0))}
    return document


def _rotation(cloud: Tensor, target: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(cloud.T @ target)
    rotation: Tensor = left @ right
    return rotation


def _numbers(values: Tensor) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
