"""Search R and the hold-out for copies of the samples that each request wants forgotten."""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from unlearning.data import Images
from unlearning.duplicates import calibrate, find_copies
from unlearning.errors import NotComputable
from unlearning.features import extract
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale, standardise
from unlearning.pictures import Pictures, describe
from unlearning.progress import Progress
from worker.execution.context import Execution

KEY = "near_duplicates"
VERSION = "copies/1"
_SEARCHED = ("retain", "holdout")
Found = dict[str, dict[str, list[int]]]


def search(execution: Execution) -> dict[str, Found]:
    """Return the positions of copies by forget set: `byte_equal` (same pixels) and `near`.

    Positions are those of the job's samples in the roles `retain` and `holdout`. The original's
    features nominate. The answer is kept in the job's cache folder.
    """
    path = _cached(execution, execution.spec["original_sha256"])
    if path is not None and path.exists():
        known: Found = json.loads(path.read_text())
        return {KEY: known}
    execution.progress(Progress("copies", 0, 1, "looking for copies of the samples"))
    found = _search(execution, execution.load(execution.spec["original"]))
    if path is not None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(found))
        fresh.replace(path)
    return {KEY: found}


def _search(execution: Execution, model: nn.Module) -> Found:
    sets: dict[str, list[int]] = execution.spec["forget_sets"]
    asked = sorted({position for positions in sets.values() for position in positions})
    place = {position: number for number, position in enumerate(asked)}
    forget = execution.images.subset(execution.rows_at(asked))
    searched = [execution.role(role) for role in _SEARCHED]
    ours, *theirs = _described(execution, model, [forget, *searched])
    thresholds = calibrate(theirs[0])
    copies = [find_copies(ours, pictures, thresholds) for pictures in theirs]
    found: Found = {}
    for key, positions in sets.items():
        members = [place[position] for position in positions]
        kinds = [each.of(members) for each in copies]
        found[key] = {
            kind: sorted(
                position
                for role, each in zip(_SEARCHED, kinds, strict=True)
                for position in _positions(execution, role, each[number])
            )
            for number, kind in enumerate(("byte_equal", "near"))
        }
    return found


def _described(execution: Execution, model: nn.Module, sets: list[Images]) -> list[Pictures]:
    """Describe sets, the second being R, with standardised features where these are usable."""
    features: list[Tensor] = [
        extract(model, images, execution.classifier, stages=False).features for images in sets
    ]
    if not all(bool(torch.isfinite(part).all()) for part in features):
        return [describe(images, None) for images in sets]
    try:
        others = torch.cat([features[0], *features[2:]])
        scale = channel_scale(Moments.of(features[1]), others)
    except NotComputable:
        return [describe(images, None) for images in sets]
    return [
        describe(images, standardise(part, scale))
        for images, part in zip(sets, features, strict=True)
    ]


def _positions(execution: Execution, role: str, members: list[int]) -> list[int]:
    """Return the job's positions of members of a role."""
    rows = execution.samples.rows(role)[members].tolist()
    return [execution.samples.positions[row] for row in rows]


def _cached(execution: Execution, digest: str) -> Path | None:
    """Return where this search's answer is kept: it depends on weights, samples and forget sets."""
    if (folder := execution.spec.get("cache_dir")) is None:
        return None
    samples, spec = execution.samples, execution.spec
    rows = [samples.positions, samples.digests, samples.labels.tolist(), samples.roles]
    key = [VERSION, digest, spec["model"], spec["forget_sets"], rows]
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return Path(folder) / f"copies-{name}.json"
