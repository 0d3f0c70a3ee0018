"""What an audit is given: models to load, samples to measure them on, and the rules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from unlearning.audit.policy import Policy
from unlearning.data import Images
from unlearning.errors import InvalidProblem
from unlearning.progress import CancelToken, ProgressCallback, ignore_progress


@dataclass(frozen=True, kw_only=True)
class AuditedModel:
    """A model that is loaded only while it is measured.

    ``digest`` names its weights (a SHA-256 say) in the cache; without it nothing is cached.
    """

    load: Callable[[], nn.Module]
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditTask:
    """One candidate against its references, for one or several forget sets of the same run.

    ``erased`` holds all that the candidate is to be without; every forget set is a list of
    positions in it, so that each model is measured in one pass. ``retain`` is R = D without E, on
    which every reference was trained; E may hold samples that are in neither, for they are kept
    from training and not erased yet.
    ``classifier`` is the name of the module whose input are the penultimate features. ``look``
    counts from 1. Without ``relearn`` relearning is left out where no gate needs it: it costs most
    and the report alone shows it. ``data_digest`` names R, H and E together, in their order, as
    the cache's key.
    """

    original: AuditedModel
    candidate: AuditedModel
    references: Sequence[AuditedModel]
    retain: Images
    holdout: Images
    erased: Images
    forget_sets: Mapping[str, Sequence[int]]
    classifier: str
    num_classes: int
    policy: Policy = field(default_factory=Policy.standard)
    look: int = 1
    relearn: bool = True
    seed: int = 0
    device: str = "cpu"
    cache_dir: Path | None = None
    data_digest: str | None = None
    progress: ProgressCallback = ignore_progress
    cancel: CancelToken = field(default_factory=CancelToken)

    def __post_init__(self) -> None:
        for name in ("retain", "holdout", "erased"):
            if len(getattr(self, name)) == 0:
                raise InvalidProblem(f"the {name} set is empty: there is nothing to measure on")
        if not self.forget_sets:
            raise InvalidProblem("an audit needs a forget set at least")
        for key, positions in self.forget_sets.items():
            inside = all(0 <= position < len(self.erased) for position in positions)
            if not positions or not inside or len(set(positions)) != len(positions):
                raise InvalidProblem(
                    f"forget set {key}: give distinct positions in the erased samples, at least one"
                )
        if not 1 <= self.look <= len(self.policy.looks):
            raise InvalidProblem(f"the policy has {len(self.policy.looks)} looks, not {self.look}")
