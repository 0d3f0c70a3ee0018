"""Unlearning methods by name; one paper or idea, one file, one frozen dataclass."""

from unlearning.methods.bad_teacher import BadTeacher
from unlearning.methods.boundary import Boundary
from unlearning.methods.contract import Method
from unlearning.methods.delete import Delete
from unlearning.methods.distilled_recovery import DistilledRecovery
from unlearning.methods.finetune import FineTune
from unlearning.methods.gradient_ascent import GradientAscent
from unlearning.methods.l1_sparse import L1Sparse
from unlearning.methods.muda import Muda
from unlearning.methods.random_labels import RandomLabels
from unlearning.methods.retrain import Retrain
from unlearning.methods.salun import SalUn
from unlearning.methods.scrub import Scrub
from unlearning.methods.ssd import SelectiveSynapticDampening
from unlearning.methods.transposed_kernels import TransposedKernels
from unlearning.methods.unsir import Unsir
from unlearning.settings import check_names

__all__ = [
    "METHODS",
    "BadTeacher",
    "Boundary",
    "Delete",
    "DistilledRecovery",
    "FineTune",
    "GradientAscent",
    "L1Sparse",
    "Method",
    "Muda",
    "RandomLabels",
    "Retrain",
    "SalUn",
    "Scrub",
    "SelectiveSynapticDampening",
    "TransposedKernels",
    "Unsir",
    "get_method",
]

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Muda,
        DistilledRecovery,
        Retrain,
        FineTune,
        RandomLabels,
        GradientAscent,
        SalUn,
        Scrub,
        SelectiveSynapticDampening,
        BadTeacher,
        Unsir,
        L1Sparse,
        Boundary,
        Delete,
        TransposedKernels,
    )
}


def get_method(name: str, **hyperparameters: object) -> Method:
    """Make the method called `name`; hyper-parameters not given keep their defaults.

    Raises:
        ValueError: for an unknown method or hyper-parameter, naming the known ones, and for
            values of another type or out of range.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; known are {', '.join(sorted(METHODS))}")
    check_names(METHODS[name], hyperparameters)
    return METHODS[name](**hyperparameters)
