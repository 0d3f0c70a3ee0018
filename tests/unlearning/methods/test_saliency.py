"""SalUn's mask and SSD's dampening, weight by weight against the papers' formulas."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from unlearning.data import Images, concatenate
from unlearning.errors import NonFiniteLoss
from unlearning.methods import SalUn, SelectiveSynapticDampening
from unlearning.methods.saliency import mean_gradient
from unlearning.methods.salun import salient_weights
from unlearning.problem import Problem
from unlearning.testing import mlp, toy_problem


def _per_sample(model: nn.Module, images: Images) -> list[dict[str, Tensor]]:
    """Return each sample's own gradient, one after the other."""
    found = []
    for number in range(len(images)):
        model.zero_grad()
        index = torch.tensor([number])
        loss = functional.cross_entropy(model(images.batch(index)), images.labels[index])
        loss.backward()  # type: ignore[no-untyped-call]
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    return found


def _salient(problem: Problem, share: float) -> dict[str, Tensor]:
    """Sort all weights by the absolute mean gradient and mark the first ones."""
    samples = _per_sample(problem.copy_model().eval(), problem.forget)
    sizes = {
        name: torch.stack([sample[name] for sample in samples]).mean(0).abs() for name in samples[0]
    }
    ranking = sorted(
        (
            (float(size), name, place)
            for name, t in sizes.items()
            for place, size in enumerate(t.flatten())
        ),
        reverse=True,
    )
    marked = {name: torch.zeros(t.numel()) for name, t in sizes.items()}
    for size, name, place in ranking[: round(share * len(ranking))]:
        if size > 0:
            marked[name][place] = 1
    return {name: flags.view_as(sizes[name]) for name, flags in marked.items()}


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_mask_marks_the_largest_gradients_of_the_forget_loss(share: float) -> None:
    problem = toy_problem(mlp)
    gradients = mean_gradient(problem.copy_model(), problem.forget, problem, "saliency")
    masks, expected = salient_weights(gradients, share), _salient(problem, share)
    differing = sum(float((masks[name] - expected[name]).abs().sum()) for name in masks)
    total = sum(mask.numel() for mask in masks.values())
    assert differing <= 0.002 * total  # ties and rounding at the threshold
    assert sum(float(mask.sum()) for mask in masks.values()) > 0


def test_weights_outside_the_mask_stay_to_the_bit_and_others_move() -> None:
    problem = toy_problem(mlp)
    gradients = mean_gradient(problem.copy_model(), problem.forget, problem, "saliency")
    masks = salient_weights(gradients, 0.2)
    result = SalUn(salient_share=0.2)(problem).state_dict()
    moved = 0
    for name, before in problem.model.state_dict().items():
        outside = masks[name] == 0
        assert torch.equal(result[name][outside], before[outside])
        moved += int((result[name] != before).sum())
    assert moved > 0


def test_all_weights_may_be_salient() -> None:
    masks = salient_weights({"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([-2.0])}, 1.0)
    assert all(mask.all() for mask in masks.values())


@pytest.mark.parametrize(("alpha", "dampening"), [(2.0, 1.0), (1.2, 0.3)])
def test_dampening_equals_the_formula_weight_by_weight(alpha: float, dampening: float) -> None:
    problem = toy_problem(mlp, num_train=32)
    method = SelectiveSynapticDampening(alpha=alpha, dampening=dampening, group=1)
    result = method(problem).state_dict()

    def fisher(images: Images) -> dict[str, Tensor]:
        samples = _per_sample(problem.copy_model().eval(), images)
        return {n: torch.stack([s[n] for s in samples]).square().mean(0) for n in samples[0]}

    on_forget = fisher(problem.forget)
    on_all = fisher(concatenate(problem.retain, problem.forget))
    dampened = 0
    for name, before in problem.model.state_dict().items():
        rows = zip(
            before.flatten(),
            on_forget[name].flatten(),
            on_all[name].flatten(),
            result[name].flatten(),
            strict=True,
        )
        for weight, forget, everything, after in rows:
            expected = float(weight)
            if float(forget) > alpha * float(everything):
                expected *= min(dampening * float(everything) / float(forget), 1.0)
                dampened += 1
            assert float(after) == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert dampened > 0


@given(
    on_forget=st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=8),
    ratio=st.floats(0.05, 20),
)
def test_dampening_never_grows_a_weight_or_turns_its_sign(
    on_forget: list[float], ratio: float
) -> None:
    forget = torch.tensor(on_forget)
    factors = SelectiveSynapticDampening().factors(forget, forget / ratio)
    assert bool(((factors >= 0) & (factors <= 1)).all())
    if ratio <= 1.9:
        assert bool((factors == 1).all())


def test_an_original_that_is_broken_is_an_error() -> None:
    problem = toy_problem(mlp)
    broken = problem.copy_model()
    with torch.no_grad():
        next(broken.parameters()).fill_(1e38)
    with pytest.raises(NonFiniteLoss, match="not finite"):
        SelectiveSynapticDampening()(replace(problem, model=broken))
