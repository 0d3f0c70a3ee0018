"""Say where an audit's time goes, by wrapping the library's functions from outside.

Time is counted for the innermost phase that runs, so the phases add up to the whole. The wrappers
are in place only within `watching`; the library itself knows nothing of them.
"""

import functools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from unlearning import controls, features
from unlearning.audit import joint, overlap
from unlearning.audit.laboratory import Laboratory
from unlearning.audit.measurement import Measurement
from unlearning.metrics import (
    alignment,
    attack,
    clustering,
    confidence,
    intervals,
    moments,
    ncc,
    probe,
    relearning,
    rmia,
    standardise,
)

PASSES = "passes"
OTHER = "other"
FUNCTIONS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "extract": (features.extract,),
    "moments_and_eigh": (
        alignment.retain_space,
        alignment.forget_spectrum,
        alignment.sample_spread,
        standardise.channel_scale,
        standardise.standardise,
        standardise.level_,
    ),
    "k_means": (clustering.cluster,),
    "probe": (probe.fit_probe,),
    "ncc": (ncc.fit_centres,),
    "confidence_and_attacks": (
        confidence.rank,
        confidence.temperature,
        confidence.label_probability,
        attack.population_attack,
        attack.match_labels,
    ),
    "joint_test": (joint.exact_test,),
    "intervals": (intervals.bootstrap_ratio, intervals.mean_interval, intervals.wilson),
    "rmia": (rmia.rmia_scores, rmia.likelihood_ratios),
    "relearning": (relearning.relearn,),
    "controls": (controls.head_masked, controls.head_refitted, controls.channels_rescaled),
    "overlap": (overlap.overlapping,),
}
"""Functions of each phase; a network's forward pass or training step within them is a pass."""


class Stopwatch:
    """Seconds of each phase, exclusive of the phases within it, and how often each was entered."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._open = [OTHER]
        self._since = time.perf_counter()

    @property
    def phase(self) -> str:
        """The innermost phase that runs."""
        return self._open[-1]

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """Count the time of the block for a phase."""
        self._settle()
        self.calls[phase] += 1
        self._open.append(phase)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def stop(self) -> dict[str, float]:
        """Return the seconds of every phase so far, longest first."""
        self._settle()
        return dict(sorted(self.seconds.items(), key=lambda item: -item[1]))

    def _settle(self) -> None:
        now = time.perf_counter()
        self.seconds[self.phase] += now - self._since
        self._since = now

    def wrap(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time counted for a phase."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the function takes them
            with self.within(phase):
                return function(*args, **kwargs)

        return timed

    def wrap_call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `nn.Module.__call__` with the outermost calls of networks counted as passes.

        A bare linear layer is no network: the controls fit one as a probe.
        """

        @functools.wraps(call)
        def timed(module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any module
            if self.phase == PASSES or isinstance(module, nn.Linear):
                return call(module, *args, **kwargs)
            with self.within(PASSES):
                return call(module, *args, **kwargs)

        return timed


@contextmanager
def watching() -> Iterator[Stopwatch]:
    """Wrap networks and the library's functions, and yield the stopwatch; unwrap at the end.

    Passes are the forward passes of networks and relearning's training steps (forward, backward,
    optimiser). Everything else, the fit of the probes included, is outside.
    """
    watch = Stopwatch()
    undo: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, new: Any) -> None:  # noqa: ANN401 - a class or a module
        undo.append((owner, name, vars(owner)[name]))
        setattr(owner, name, new)

    replace(nn.Module, "__call__", watch.wrap_call(nn.Module.__call__))
    replace(relearning, "_take_step", watch.wrap(PASSES, relearning._take_step))  # noqa: SLF001 - the step has no other door
    replace(moments.Moments, "of", watch.wrap("moments_and_eigh", moments.Moments.of))
    replace(Measurement, "save", watch.wrap("cache", Measurement.save))
    replace(Measurement, "load", watch.wrap("cache", Measurement.load))
    replace(Laboratory, "load", watch.wrap("load", Laboratory.load))
    for phase, functions in FUNCTIONS.items():
        for function in functions:
            timed = watch.wrap(phase, function)
            for owner, name in _holders(function):
                replace(owner, name, timed)
    try:
        yield watch
    finally:
        for owner, name, old in reversed(undo):
            setattr(owner, name, old)


def _holders(function: Callable[..., Any]) -> list[tuple[Any, str]]:
    """List the library's modules that know a function, with the name they know it by."""
    return [
        (module, name)
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("unlearning")
        for name, value in vars(module).items()
        if value is function
    ]
