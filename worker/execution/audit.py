"""Audit a candidate against its references, for every request of the run, and draw the figures."""

import hashlib
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from unlearning.audit import AuditedModel, AuditResult, AuditTask, Policy, audit
from unlearning.audit.reference_free import ReferenceFreeResult, check_without_references
from worker.execution import copies
from worker.execution.context import Execution
from worker.figures import Figure, draw_all

SVG = "image/svg+xml"


def run(execution: Execution) -> dict[str, Any]:
    """Measure every model once, decide for every forget set, and look for copies of its samples.

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
    found = copies.search(execution)
    seconds = time.perf_counter() - start
    gone = len(execution.spec["erased"]) - len(execution.erased)
    outcome = {"audits": results, "figures": figures, "seconds": seconds, "erased_gone": gone}
    return outcome | found


def _conclude(task: AuditTask, level: str) -> Mapping[str, AuditResult | ReferenceFreeResult]:
    return audit(task) if level == "references" else check_without_references(task)


def _task(execution: Execution) -> AuditTask:
    spec = execution.spec
    cache = spec.get("cache_dir")
    places = {position: place for place, position in enumerate(execution.erased)}
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
        erased=execution.images.subset(execution.rows_at(execution.erased)),
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


def data_digest(execution: Execution) -> str:
    """Return a SHA-256 over all that a measurement depends on besides the weights."""
    samples = execution.samples
    labels = samples.labels.tolist()
    roles = ["erased" if role == "forget" else role for role in samples.roles]
    digest = hashlib.sha256(json.dumps(execution.spec["model"], sort_keys=True).encode())
    digest.update(json.dumps(execution.erased).encode())
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
