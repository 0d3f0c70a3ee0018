"""How often an audit errs: genuine retrains that it rejects, and impostors that it lets pass.

A *draw* chooses a class (or mislabelled samples) of a data set and trains references and originals
anew; every suspect is then audited against them as any candidate would be.
"""

from unlearning.calibration.benches import Bench, digits
from unlearning.calibration.draws import Draw, DrawPlan
from unlearning.calibration.rates import Rate, clustered_rate
from unlearning.calibration.suspects import SUSPECTS, Suspect
from unlearning.calibration.trial import Outcome, run_draw

__all__ = [
    "SUSPECTS",
    "Bench",
    "Draw",
    "DrawPlan",
    "Outcome",
    "Rate",
    "Suspect",
    "clustered_rate",
    "digits",
    "run_draw",
]
