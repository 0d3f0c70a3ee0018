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
from unlearning.methods.plugins import find_plugin, load_plugin, plugin_names, refuse_clash
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
    "method_class",
    "plugin_names",
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
        ValueError: for an unknown method or hyper-parameter, naming the known ones, for
            values of another type or out of range, and for a plug-in that cannot be used.
    """
    method = method_class(name)
    check_names(method, hyperparameters)
    return method(**hyperparameters)


def method_class(name: str) -> type[Method]:
    """Return the class of one of Expunge's methods or of an installed plug-in.

    Raises:
        ValueError: for an unknown name, for one that an installed plug-in shares with a method of
            Expunge or with another plug-in, and for a plug-in that cannot be loaded.
    """
    plugin = find_plugin(name)
    if name in METHODS:
        refuse_clash(name, plugin)
        return METHODS[name]
    if plugin is None:
        known = ", ".join(sorted({*METHODS, *plugin_names()}))
        raise ValueError(f"unknown method {name!r}; known are {known}")
    return load_plugin(plugin)
