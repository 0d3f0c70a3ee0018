"""What may be tuned of each method, and within which bounds: one table, ours and peers alike.

Every space holds its method's defaults, which are the first trial. Learning rates span a factor of
30 or more and walks are bounded by the cost cap rather than by the space; options that make another
method of it (no distillation, SCRUB+R, expand) are not tuned.
"""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution


def _rate(low: float, high: float) -> FloatDistribution:
    return FloatDistribution(low, high, log=True)


SPACES: dict[str, dict[str, BaseDistribution]] = {
    "muda": {
        "alpha": _rate(0.1, 10),
        "beta": _rate(0.3, 10),
        "rho_star": FloatDistribution(0.1, 0.6),
        "epochs": IntDistribution(1, 4),
        "relative_tail_epochs": FloatDistribution(0.04, 0.4),
        "keep": FloatDistribution(0.1, 1),
        "relative_lr": _rate(0.05, 1.5),
    },
    "distilled_recovery": {
        "keep": FloatDistribution(0.1, 0.9),
        "relative_epochs": FloatDistribution(0.1, 0.8),
        "relative_lr": _rate(0.05, 2),
    },
    "finetune": {"epochs": IntDistribution(1, 12), "relative_lr": _rate(0.02, 2)},
    "random_labels": {"epochs": IntDistribution(1, 12), "relative_lr": _rate(0.02, 2)},
    "gradient_ascent": {
        "beta": _rate(0.001, 1),
        "epochs": IntDistribution(1, 8),
        "relative_lr": _rate(0.01, 1),
    },
    "salun": {
        "salient_share": FloatDistribution(0.1, 1),
        "epochs": IntDistribution(1, 12),
        "relative_lr": _rate(0.02, 2),
    },
    "scrub": {
        "epochs": IntDistribution(3, 10),
        "max_epochs": IntDistribution(1, 3),
        "alpha": _rate(0.05, 2),
        "relative_lr": _rate(0.02, 2),
        "relative_max_lr": _rate(0.3, 10),
    },
    "ssd": {"alpha": _rate(1, 20), "dampening": _rate(0.05, 2), "group": IntDistribution(4, 64)},
    "bad_teacher": {
        "epochs": IntDistribution(1, 12),
        "retain_fraction": FloatDistribution(0.1, 1),
        "temperature": _rate(0.5, 8),
        "relative_lr": _rate(0.02, 2),
    },
    "unsir": {
        "noise_repeats": IntDistribution(1, 8),
        "repair_epochs": IntDistribution(1, 10),
        "relative_lr": _rate(0.1, 5),
        "relative_repair_lr": _rate(0.1, 1),
    },
    "l1_sparse": {
        "gamma": _rate(1e-5, 1e-2),
        "epochs": IntDistribution(1, 12),
        "relative_lr": _rate(0.02, 2),
    },
    "boundary": {
        "epsilon": _rate(0.03, 3),
        "epochs": IntDistribution(1, 20),
        "relative_lr": _rate(0.005, 0.5),
    },
    "delete": {"epochs": IntDistribution(1, 30), "relative_lr": _rate(0.005, 0.5)},
    "transposed_kernels": {"epochs": IntDistribution(1, 12), "relative_lr": _rate(0.05, 2)},
}
