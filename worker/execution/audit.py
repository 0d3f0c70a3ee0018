"""Audit a candidate against its references, for every request of the run, and draw the figures."""

import hashlib
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unlearning.audit import AuditedModel, AuditResult, AuditTask, Policy, audit
from unlearning.audit.reference_free import ReferenceFreeResult, check_without_references
from worker.errors import FatalFailure
from worker.execution.context import Execution
from worker.figures import Figure, draw_all

SVG = "image/svg+xml"


def run(execution: Execution) -> dict[str, Any]:
    """Measure every model once and decide for every forget set.

    At the levels `none` and `qualified` there are no references: the reference-free checks are made
    instead, which never say PASS.

    Measurements are kept in the job's cache folder under the model's digest and that of the data,
    so that references and the original are measured once for all rungs and looks.

    Raises:
        InvalidProblem: A set is empty, or the forget sets make no sense.
        WeightsRejected: One of the models cannot be loaded.
    """
    start = time.perf_counter()
    task = _task(execution)
    results = {
        key: result.to_json() for key, result in _conclude(task, execution.spec["level"]).items()
    }
    figures = {
        key: [_keep(execution, key, figure) for figure in draw_all(result, task.policy.limit)]
        for key, result in results.items()
    }
    seconds = time.perf_counter() - start
    return {"audits": results, "figures": figures, "seconds": seconds}


def _conclude(task: AuditTask, level: str) -> Mapping[str, AuditResult | ReferenceFreeResult]:
    return audit(task) if level == "references" else check_without_references(task)


def _task(execution: Execution) -> AuditTask:
    spec = execution.spec
    cache = spec.get("cache_dir")
    rows = _rows_of_erased(execution)
    places = {position: place for place, position in enumerate(spec["erased"])}
    forget_sets = {
        key: [places[position] for position in positions]
        for key, positions in spec["forget_sets"].items()
    }
    return AuditTask(
        original=_model(execution, spec["original"], spec["original_sha256"]),
        candidate=_model(execution, spec["candidate"], spec["candidate_sha256"]),
        references=[_model(execution, r["path"], r["sha256"]) for r in spec["references"]],
        retain=execution.role("retain"),
        holdout=execution.role("holdout"),
        erased=execution.images.subset(rows),
        forget_sets=forget_sets,
        classifier=execution.classifier,
        num_classes=execution.num_classes,
        policy=Policy.from_dict(spec["policy"]),
        look=int(spec["look"]),
        device=execution.device,
        cache_dir=None if cache is None else Path(cache),
        data_digest=data_digest(execution),
        progress=execution.progress,
        cancel=execution.cancel,
    )


def _model(execution: Execution, path: str, sha256: str) -> AuditedModel:
    return AuditedModel(load=partial(execution.load, path), digest=sha256)


def _rows_of_erased(execution: Execution) -> torch.Tensor:
    """Return the rows (int64) of all of E, in the order in which the specification lists them."""
    rows = {position: row for row, position in enumerate(execution.samples.positions)}
    try:
        return torch.tensor([rows[position] for position in execution.spec["erased"]]).long()
    except KeyError as error:
        raise FatalFailure(
            "positions_unknown", "The job names samples it was not given."
        ) from error


def data_digest(execution: Execution) -> str:
    """Return a SHA-256 over all that a measurement depends on besides the weights."""
    samples = execution.samples
    labels = samples.labels.tolist()
    roles = ["erased" if role == "forget" else role for role in samples.roles]
    digest = hashlib.sha256(json.dumps(execution.spec["model"], sort_keys=True).encode())
    digest.update(json.dumps(execution.spec["erased"]).encode())
    for row in zip(samples.positions, samples.digests, labels, roles, strict=True):
        digest.update(repr(row).encode())
    return digest.hexdigest()


def _keep(execution: Execution, key: str, figure: Figure) -> dict[str, Any]:
    """Save a figure as an artifact and return its entry."""
    name = f"figure-{key}-{figure.name}"
    path = execution.workdir / f"{name}.svg"
    path.write_bytes(figure.svg)
    execution.add_artifact(name, path, SVG)
    return {
        "name": figure.name,
        "artifact": name,
        "title": figure.title,
        "alt": figure.alt,
        "table": {"columns": figure.columns, "rows": figure.rows},
    }
