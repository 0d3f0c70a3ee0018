"""Networks to audit: genuine retrains, and impostors that hide, disguise or half-heartedly forget.

Each impostor is made from an original and knows what its operator would know. All but those marked
`gated=False` must never PASS.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from unlearning import controls
from unlearning.calibration.disguises import (
    ascended,
    cooled,
    forgotten_logit_lowered,
    masked_with_noise,
    rescaled_against_audit,
)
from unlearning.calibration.draws import Draw
from unlearning.methods import FineTune, RandomLabels

RETRAINED = "retrained"
"""Name of the genuine retrains among the suspects."""

Make = Callable[[Draw, int], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A way to make a candidate from a draw and the number of one of its originals."""

    name: str
    make: Make
    scopes: tuple[str, ...] = ("class", "instance")
    gated: bool = True
    """Whether a single PASS means that the audit is fooled."""
    gated_in_instances: bool = True
    """The same in instance scope."""

    def must_fail(self, scope: str) -> bool:
        """Tell whether the audit may never let it pass in a scope."""
        return self.gated and (scope == "class" or self.gated_in_instances)


def _of_problem(build: Callable[..., nn.Module]) -> Make:
    def make(draw: Draw, original: int) -> nn.Module:
        return build(draw.problem(original))

    return make


def _untouched(draw: Draw, original: int) -> nn.Module:
    return draw.problem(original).copy_model().eval()


def _rescaled(draw: Draw, original: int) -> nn.Module:
    references = draw.measured_references(original)
    return rescaled_against_audit(
        draw.problem(original), references, lambda model: draw.measure(model, original)
    )


SUSPECTS: tuple[Suspect, ...] = (
    Suspect(name="untouched", make=_untouched),
    Suspect(name="head_masked", make=_of_problem(controls.head_masked), scopes=("class",)),
    Suspect(name="head_masked_noise", make=_of_problem(masked_with_noise), scopes=("class",)),
    Suspect(
        name="head_refitted",
        make=_of_problem(controls.head_refitted),
        gated_in_instances=False,  # its new head was fitted without the forget set
    ),
    Suspect(name="channels_rescaled", make=_rescaled),
    Suspect(name="finetuned", make=_of_problem(FineTune())),
    Suspect(name="random_labels", make=_of_problem(RandomLabels())),
    Suspect(name="gradient_ascent", make=_of_problem(ascended)),
    Suspect(name="temperature", make=_of_problem(cooled)),
    Suspect(name="logit_lowered", make=_of_problem(forgotten_logit_lowered), scopes=("class",)),
)
"""Every impostor, by the order in which a draw audits them."""
