"""The rules of an audit as one frozen value with a digest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

SCOPES: Final = ("class", "instance")
RELEARNING: Final = "relearn.steps"
CENSORED: Final = "relearn.censored"
"""1 where an experiment stopped at the cap, so its steps are only a lower bound."""
STANDARD: Final[dict[str, Any]] = {
    "name": "standard",
    "version": 2,
    "looks": [19, 39],
    "gates": {
        "class": [
            "da",
            "log_rho",
            "nmi",
            "ncc.forgotten",
            "stage.da",
            "stage.log_rho",
            "log_divergence.forget",
            "log_divergence.holdout_forgotten",
        ],
        "instance": ["rank", "normalised_margin", "log_divergence.forget", "attack.rmia"],
    },
    "influence": {
        "class": ["da", "log_rho", "nmi"],
        "instance": ["rank", "normalised_margin"],
        "limit": 0.33,
        "confidence": 0.95,
    },
    "drift_limit": 0.5,
    "utility_margin": 0.02,
    "fidelity_margin": 0.02,
    "scale_floor": 0.1,
    "max_approximate_chain": 5,
    "relearning": {"cap": 100, "references": 3, "uncensored": 0.75},
}
STRICT: Final[dict[str, Any]] = {
    **STANDARD,
    "name": "strict",
    "version": 1,
    "gates": {
        "class": [*STANDARD["gates"]["class"], "attack.rmia", "relearn.steps"],
        "instance": STANDARD["gates"]["instance"],
    },
    "influence": {**STANDARD["influence"], "limit": 0.25},
    "drift_limit": 0.4,
    "relearning": {"cap": 200, "references": 19, "uncensored": 0.75},
}
"""All of the standard policy and more: an attack and relearning gate classes, λ ≤ .25."""


@dataclass(frozen=True, kw_only=True)
class ScopedNames:
    """Names of metrics for each scope that an audit can have."""

    class_: tuple[str, ...]
    instance: tuple[str, ...]

    def of(self, scope: str) -> tuple[str, ...]:
        """Return the names for ``"class"`` or ``"instance"``; any other scope is a ValueError."""
        if scope not in SCOPES:
            raise ValueError(f"scope is one of {', '.join(SCOPES)}, not {scope!r}")
        return self.class_ if scope == "class" else self.instance


@dataclass(frozen=True, kw_only=True)
class RelearningRule:
    """How long relearning may last (optimiser steps) and for how many references it is drawn.

    ``uncensored`` is the share of the references that must reach the target before the cap, or
    ``relearn.steps`` is no gate: below it most of the band would be the cap.
    """

    cap: int
    references: int
    uncensored: float


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The thresholds, gates and looks by which an audit decides; equal policies, equal digests.

    ``looks`` are numbers of references in rising order: the joint test is made at the first alone.
    ``limit`` bounds the remaining influence, ``confidence`` is that of its one-sided bounds;
    ``drift_limit`` bounds the same for all of E where a run's forget set is only part of it. The
    margins are differences of accuracy. ``scale_floor`` is the smallest channel scale that features
    are divided by, as a share of that channel's own deviation over hold-out and erased samples.
    """

    name: str
    version: int
    looks: tuple[int, ...]
    gates: ScopedNames
    influence: ScopedNames
    limit: float
    confidence: float
    drift_limit: float
    utility_margin: float
    fidelity_margin: float
    scale_floor: float
    max_approximate_chain: int
    relearning: RelearningRule

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.looks, self.looks[1:], strict=False))
        if not self.looks or self.looks[0] < 2 or not rising:
            raise ValueError("looks must be rising numbers of references, two at least")
        if not 0 < self.limit < 1 or not 0.5 < self.confidence < 1:
            raise ValueError("limit must lie in (0, 1) and confidence in (0.5, 1)")
        if not self.limit <= self.drift_limit < 1:
            raise ValueError("drift_limit must lie between influence.limit and 1")
        if min(self.utility_margin, self.fidelity_margin) < 0 or not 0 < self.scale_floor < 1:
            raise ValueError("margins must not be negative, and scale_floor must lie in (0, 1)")
        if self.max_approximate_chain < 0 or min(asdict(self.relearning).values()) < 0:
            raise ValueError("max_approximate_chain and relearning must not be negative")
        if self.relearning.uncensored > 1:
            raise ValueError("relearning.uncensored is a share of the references, at most 1")
        few = self.relearning.references < self.looks[0] or not self.relearning.cap
        if few and RELEARNING in self.gates.class_:
            raise ValueError(
                f"{RELEARNING} gates, so every reference of the first look is relearnt"
            )
        for names in (self.gates, self.influence):
            for scope in SCOPES:
                _check_names(names.of(scope))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build from the JSON form; missing or unknown keys and bad values raise ValueError."""
        values = dict(data)
        _check_keys(values, set(STANDARD), "policy")
        _check_keys(values["gates"], set(SCOPES), "gates")
        _check_keys(values["influence"], set(STANDARD["influence"]), "influence")
        _check_keys(values["relearning"], {f.name for f in fields(RelearningRule)}, "relearning")
        influence = dict(values.pop("influence"))
        return cls(
            looks=tuple(int(look) for look in values.pop("looks")),
            gates=_scoped(values.pop("gates")),
            influence=_scoped(influence),
            limit=float(influence["limit"]),
            confidence=float(influence["confidence"]),
            relearning=RelearningRule(**values.pop("relearning")),
            **values,
        )

    @classmethod
    def standard(cls) -> Self:
        """Return the newest ``policy/standard``."""
        return cls.from_dict(STANDARD)

    @classmethod
    def strict(cls) -> Self:
        """Return the newest ``policy/strict``."""
        return cls.from_dict(STRICT)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, equal to what ``from_dict`` was given."""
        return {
            "name": self.name,
            "version": self.version,
            "looks": list(self.looks),
            "gates": {scope: list(self.gates.of(scope)) for scope in SCOPES},
            "influence": {
                **{scope: list(self.influence.of(scope)) for scope in SCOPES},
                "limit": self.limit,
                "confidence": self.confidence,
            },
            "drift_limit": self.drift_limit,
            "utility_margin": self.utility_margin,
            "fidelity_margin": self.fidelity_margin,
            "scale_floor": self.scale_floor,
            "max_approximate_chain": self.max_approximate_chain,
            "relearning": asdict(self.relearning),
        }

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the canonical JSON: keys sorted, no spaces."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def _scoped(names: Mapping[str, Any]) -> ScopedNames:
    return ScopedNames(class_=tuple(names["class"]), instance=tuple(names["instance"]))


def _check_names(names: tuple[str, ...]) -> None:
    if not names or len(set(names)) != len(names):
        raise ValueError("every scope needs metrics, each named once")


def _check_keys(data: Mapping[str, Any], expected: set[str], where: str) -> None:
    if wrong := set(data) ^ expected:
        raise ValueError(f"{where}: missing or unknown keys: {', '.join(sorted(wrong))}")
