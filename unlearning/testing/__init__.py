"""The contract that every unlearning method keeps, as checks for anybody's own method.

`check_method` raises AssertionError with a plain sentence at the first breach. It needs no test
framework and, with the small networks here, a few seconds.
"""

from collections.abc import Callable, Sequence

from unlearning.testing.bad_input import check_bad_input
from unlearning.testing.contract import (
    UnlearningMethod,
    check_cancellable,
    check_deterministic,
    check_forgets,
    check_frozen_layers,
    check_input_untouched,
    check_refused,
    check_result,
    check_scopes,
    check_silent_with_progress,
)
from unlearning.testing.toys import (
    FORGOTTEN_CLASS,
    NUM_CLASSES,
    SIDE,
    NetworkBuilder,
    mlp,
    small_cnn,
    toy_images,
    toy_problem,
    transformer,
)

__all__ = [
    "FORGOTTEN_CLASS",
    "NUM_CLASSES",
    "SIDE",
    "NetworkBuilder",
    "UnlearningMethod",
    "check_bad_input",
    "check_cancellable",
    "check_deterministic",
    "check_forgets",
    "check_frozen_layers",
    "check_input_untouched",
    "check_method",
    "check_refused",
    "check_result",
    "check_scopes",
    "check_silent_with_progress",
    "mlp",
    "small_cnn",
    "toy_images",
    "toy_problem",
    "transformer",
]


def check_method(
    make: Callable[[], UnlearningMethod],
    *,
    forgets_classes: bool = True,
    keeps_frozen_layers: bool = True,
    networks: Sequence[NetworkBuilder] = (small_cnn, mlp),
) -> None:
    """Check a method against the contract on small problems.

    Args:
        make: Makes the method, with hyper-parameters fit for the toy problems.
        forgets_classes: Whether the method promises that a class is forgotten; fine-tuning
            for example does not.
        keeps_frozen_layers: Whether parameters that need no gradients stay; retraining, which
            builds its own network, does not keep them.
        networks: Architectures to run it on.

    Raises:
        AssertionError: telling which promise was broken.
    """
    for build in networks:
        problem = toy_problem(build)
        check_result(make(), problem)
        check_input_untouched(make(), problem)
        if forgets_classes:
            check_forgets(make(), problem)
    problem = toy_problem()
    check_deterministic(make, problem)
    check_silent_with_progress(make(), problem)
    check_cancellable(make(), problem)
    check_scopes(make)
    if keeps_frozen_layers:
        check_frozen_layers(make(), problem)
    check_bad_input(make, trains_given_weights=keeps_frozen_layers)
