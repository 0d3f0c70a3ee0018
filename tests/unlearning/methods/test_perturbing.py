"""UNSIR's noise, the falling l1 penalty, and transposed kernels before fine-tuning."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from unlearning.errors import InvalidProblem
from unlearning.features import extract
from unlearning.methods import FineTune, L1Sparse, TransposedKernels, Unsir
from unlearning.methods.perturbation import transpose_kernels
from unlearning.testing import mlp, toy_problem
from unlearning.training import Batch, fit


def test_noise_is_what_the_original_finds_least_like_the_class() -> None:
    problem = toy_problem()
    method = Unsir(noise_images=8, noise_penalty=0.0)
    noise, start = method.noise(problem), replace(method, noise_steps=1).noise(problem)
    assert noise.labels.tolist() == [2] * 8

    def loss(images: torch.Tensor) -> float:
        return float(functional.cross_entropy(problem.model(images), noise.labels).detach())

    index = torch.arange(8)
    assert loss(noise.batch(index)) > loss(start.batch(index)) + 1
    assert loss(noise.batch(index)) > loss(problem.forget.batch(index))


def test_the_penalty_keeps_noise_short() -> None:
    problem = toy_problem()
    lengths = [
        float(Unsir(noise_penalty=penalty).noise(problem).values.square().sum())
        for penalty in (0.0, 1.0)
    ]
    assert lengths[1] < 0.5 * lengths[0]


def test_the_noise_loss_equals_the_sum_over_images() -> None:
    problem = toy_problem(mlp)
    noise = Unsir(noise_images=3).noise(problem)
    found = Unsir(noise_penalty=0.2).noise_loss(problem.model, noise.values, noise.labels)
    expected = 0.0
    for image, label in zip(noise.values, noise.labels.tolist(), strict=True):
        own = problem.model(image[None])[0].log_softmax(0)[label]
        expected += (0.2 * float((image**2).sum()) + float(own.detach())) / 3
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)


def test_a_part_of_the_noise_is_a_set_as_well() -> None:
    noise = Unsir(noise_images=4, noise_steps=1).noise(toy_problem())
    part = noise.subset(torch.tensor([2, 0]))
    assert len(part) == 2
    assert torch.equal(part.batch(torch.tensor([0])), noise.batch(torch.tensor([2])))


@pytest.mark.parametrize("scope", ["instance", "mixed"])
def test_unsir_says_that_it_is_for_whole_classes(scope: str) -> None:
    with pytest.raises(InvalidProblem, match=f"unsir is defined for class scope only.*{scope}"):
        Unsir()(toy_problem(scope=scope))


@pytest.mark.parametrize(("number", "factor"), [(0, 1.0), (3, 0.25)])
def test_the_penalty_is_the_sum_of_absolute_weights_and_falls(number: int, factor: float) -> None:
    problem = toy_problem(mlp)
    model = problem.copy_model()
    next(model.parameters()).requires_grad_(False)  # noqa: FBT003 - torch's signature
    method = L1Sparse(gamma=0.01, epochs=4)
    index = torch.arange(8)
    batch = Batch(problem.retain.batch(index), problem.retain.labels[index], index)
    found = float(method.penalised(problem, number)(model, batch).detach())
    supervised = float(functional.cross_entropy(model(batch.images), batch.labels).detach())
    sizes = sum(abs(w) for p in list(model.parameters())[1:] for w in p.flatten().tolist())
    assert found == pytest.approx(supervised + 0.01 * factor * sizes, rel=1e-4)


def test_without_penalty_it_is_fine_tuning_and_with_it_weights_are_smaller() -> None:
    problem = toy_problem()
    plain, tuned = L1Sparse(gamma=0.0)(problem), FineTune()(problem)
    for name, value in tuned.state_dict().items():
        torch.testing.assert_close(plain.state_dict()[name], value)
    sparse = L1Sparse(gamma=0.01)(problem)
    sizes = [sum(float(p.detach().abs().sum()) for p in m.parameters()) for m in (sparse, tuned)]
    assert sizes[0] < 0.8 * sizes[1]


def test_kernels_are_transposed_and_then_fine_tuned() -> None:
    problem = toy_problem()
    model = problem.copy_model()
    assert transpose_kernels(model)
    recipe = replace(problem.settings, epochs=3, peak_lr=problem.settings.peak_lr * 0.5)
    tuned = fit(model, problem.retain, recipe, seed=problem.seed, schedule="falling")
    result = TransposedKernels()(problem).state_dict()
    assert all(torch.equal(result[name], value) for name, value in tuned.state_dict().items())


def test_without_kernels_the_last_stage_starts_anew() -> None:
    problem = toy_problem(mlp)
    slow = replace(problem, recipe=replace(problem.settings, peak_lr=1e-9, weight_decay=0.0))
    result = TransposedKernels()(slow).state_dict()
    close = {
        name
        for name, value in problem.model.state_dict().items()
        if torch.allclose(result[name], value, atol=1e-6)
    }
    assert "layers.0.weight" in close
    assert not {"layers.2.weight", "head.weight"} & close
    before = extract(problem.model, problem.forget, problem.classifier).logits
    after = extract(TransposedKernels()(slow), problem.forget, problem.classifier).logits
    assert not torch.allclose(before, after)
