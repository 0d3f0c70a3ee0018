"""Early layers keep their weights where that was asked for, and only there."""

import pytest
import torch
import torchvision
from torch import nn

from unlearning.methods import DistilledRecovery, Method, Muda
from unlearning.methods.freezing import frozen_early
from unlearning.problem import Scope
from unlearning.testing import small_cnn, toy_problem


def _changed(method: Method, scope: Scope = "class") -> set[str]:
    problem = toy_problem(scope=scope)
    before, result = problem.model.state_dict(), method(problem)
    assert all(parameter.requires_grad for parameter in result.parameters())
    after = result.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize("kind", [DistilledRecovery, Muda])
def test_the_first_layers_and_their_statistics_stay_to_the_bit(
    kind: type[DistilledRecovery] | type[Muda],
) -> None:
    every = _changed(kind())
    assert {name.split(".")[1] for name in every if name.startswith("blocks")} == {"0", "1", "2"}
    early = {name for name in every if name.startswith("blocks.0")}
    assert {"blocks.0.0.weight", "blocks.0.1.running_mean"} <= early
    assert _changed(kind(frozen_share=0.5)) == every - early
    late = {name for name in every if name.startswith(("blocks.2", "head"))}
    assert _changed(kind(frozen_share=1.0)) == late


@pytest.mark.parametrize("perturb", ["shrunk", "transposed", "stages", "fresh"])
def test_every_perturbation_leaves_them(perturb: str) -> None:
    changed = _changed(DistilledRecovery(perturb=perturb, frozen_share=1.0))  # type: ignore[arg-type]
    assert not any(name.startswith("blocks.0") for name in changed)


@pytest.mark.parametrize("scope", ["instance", "mixed"])
def test_single_samples_may_be_memorised_anywhere(scope: Scope) -> None:
    assert "blocks.0.0.weight" in _changed(DistilledRecovery(frozen_share=1.0), scope)
    assert "blocks.0.0.weight" in _changed(Muda(frozen_share=1.0), scope)


def test_layers_are_counted_up_to_the_last_stage() -> None:
    network = torchvision.models.resnet18(weights=None, num_classes=10)

    def frozen(share: float) -> set[str]:
        with frozen_early(network, "fc", share):
            parameters = network.named_parameters()
            return {name.split(".")[0] for name, p in parameters if not p.requires_grad}

    assert frozen(0.0) == set()
    assert frozen(0.34) == {"conv1", "bn1", "layer1"}
    assert frozen(1.0) == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_what_was_frozen_before_stays_so_and_errors_thaw_the_rest() -> None:
    network = small_cnn()
    first = next(network.parameters())
    first.requires_grad = False
    with pytest.raises(RuntimeError, match="stop"), frozen_early(network, "head", 1.0):
        raise RuntimeError("stop")
    assert [p is first for p in network.parameters() if not p.requires_grad] == [True]


def test_without_stages_nothing_is_frozen() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with frozen_early(network, "1", 1.0):
        assert all(parameter.requires_grad for parameter in network.parameters())
