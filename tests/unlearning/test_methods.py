"""Every registered method keeps the contract; its pieces equal slow, obvious computations."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearning.errors import InvalidProblem, NonFiniteLoss
from unlearning.features import extract
from unlearning.methods import METHODS, DistilledRecovery, Muda, Retrain, get_method
from unlearning.methods.distillation import divergence_from, masked_target
from unlearning.methods.geometry import RetainGeometry
from unlearning.methods.muda import neighbour_votes
from unlearning.methods.perturbation import (
    reinitialise,
    shrink_towards_fresh,
    transpose_kernels,
)
from unlearning.metrics import alignment
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale
from unlearning.networks import build_network
from unlearning.randomness import seeded
from unlearning.testing import check_method, check_result, mlp, toy_problem


@pytest.mark.parametrize("name", sorted(METHODS))
def test_method_keeps_the_contract(name: str) -> None:
    check_method(
        lambda: get_method(name),
        forgets_classes=name != "finetune",
        keeps_frozen_layers=name != "retrain",
    )


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"retrain"}))
def test_method_runs_on_a_vision_transformer(name: str) -> None:
    def build() -> torch.nn.Module:
        return _tiny_transformer()

    problem = toy_problem(build, channels=3, side=32, num_train=16)
    shorter = {f.name: 1 for f in fields(METHODS[name]) if "epochs" in f.name}
    check_result(get_method(name, **shorter), problem)


def _tiny_transformer() -> torch.nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 16, 2, 2, 16, 32, num_classes=4)  # type: ignore[no-any-return]


def test_unknown_method_names_the_known_ones() -> None:
    known = "known are distilled_recovery, finetune, muda, random_labels, retrain"
    with pytest.raises(ValueError, match=known):
        get_method("magic")


def test_unknown_hyperparameter_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="muda: unknown gamma; known are alpha, "):
        get_method("muda", gamma=1.0)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("muda", {"alpha": -1.0}, "alpha = -1.0"),
        ("muda", {"beta": float("nan")}, "beta = nan"),
        ("muda", {"rho_star": 0}, "rho_star = 0.0"),
        ("muda", {"epochs": 2.5}, "epochs must be of type int"),
        ("muda", {"epochs": True}, "epochs must be of type int"),
        ("muda", {"alternate": "never"}, "'epoch' or 'batch'"),
        ("distilled_recovery", {"perturb": "melted"}, "'shrunk' or 'transposed' or "),
        ("distilled_recovery", {"keep": 1.5}, "keep = 1.5"),
        ("distilled_recovery", {"temperature": 0.0}, "temperature = 0.0"),
        ("finetune", {"epochs": 0}, "epochs = 0"),
        ("retrain", {"epochs": 3}, "known are none"),
    ],
)
def test_hyperparameters_are_checked(
    name: str, hyperparameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        get_method(name, **hyperparameters)


def test_hyperparameters_come_back_as_json_values() -> None:
    method = get_method("muda", alpha=5)
    assert method.hyperparameters["alpha"] == 5.0
    assert get_method("muda", **method.hyperparameters) == method


def test_retrain_asks_for_recipe_and_network() -> None:
    problem = toy_problem()
    for lacking in (replace(problem, recipe=None), replace(problem, build=None)):
        with pytest.raises(InvalidProblem, match="needs the model's recipe"):
            Retrain()(lacking)


def test_retrain_does_not_depend_on_the_forget_set_or_the_original() -> None:
    problem = toy_problem()
    other = replace(
        problem, forget=problem.forget.subset(torch.arange(3)), model=toy_problem(seed=7).model
    )
    first, second = Retrain()(problem).state_dict(), Retrain()(other).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@given(
    logits=st.lists(
        st.lists(st.floats(-50, 50, width=32), min_size=5, max_size=5), min_size=1, max_size=4
    ),
    forgotten=st.sets(st.integers(0, 4), max_size=4),
    temperature=st.floats(0.5, 8),
)
def test_masked_target_sums_to_one_and_is_zero_on_forgotten_classes(
    logits: list[list[float]], forgotten: set[int], temperature: float
) -> None:
    target = masked_target(torch.tensor(logits), sorted(forgotten), temperature)
    torch.testing.assert_close(target.sum(1), torch.ones(len(logits)))
    assert not target[:, sorted(forgotten)].any()


def test_divergence_equals_the_sum_over_samples_and_classes() -> None:
    draws = torch.Generator().manual_seed(0)
    target = masked_target(torch.randn(6, 4, generator=draws), [1])
    logits = torch.randn(6, 4, generator=draws)
    expected = 0.0
    for t, s in zip(target, (logits / 2).softmax(1), strict=True):
        expected += sum(float(a * (a / b).log()) for a, b in zip(t, s, strict=True) if a > 0)
    assert float(divergence_from(target, logits, 2.0)) == pytest.approx(expected / 6, rel=1e-5)


def test_alignment_and_energy_equal_the_formulas_sample_by_sample() -> None:
    draws = torch.Generator().manual_seed(3)
    retain = torch.randn(50, 6, generator=draws) * torch.tensor([3.0, 1, 1, 0.5, 2, 0])
    forget = torch.randn(9, 6, generator=draws) + 1
    weights = torch.tensor([1.0, 1, 0, 1, 1, 1, 0, 1, 1])
    da, log_rho = RetainGeometry.of(retain, forget, 2).measure(forget, weights)

    sd = retain.double().std(0, correction=0)
    reach = (forget.double() - retain.double().mean(0)).square().mean(0).sqrt()
    assert sd[-1] < 0.1 * reach[-1]  # the last channel, silent on R, is the one that is bounded
    sd = torch.maximum(sd, 0.1 * reach)
    standard = retain.double() / sd
    mean = standard.mean(0)
    covariance = sum(torch.outer(z - mean, z - mean) for z in standard) / len(standard)
    assert isinstance(covariance, torch.Tensor)
    leading = torch.linalg.eigh(covariance).eigenvectors[:, -2:]
    inside = outside = count = 0.0
    for z, w in zip(forget.double() / sd, weights, strict=True):
        if w:
            inside += float(((z - mean) @ leading).square().sum())
            outside += float((z - mean).square().sum())
            count += 1
    energy = float(sum((z - mean).square().sum() for z in standard)) / len(standard)
    assert float(da) == pytest.approx(inside / outside, rel=1e-4)
    assert float(log_rho.exp()) == pytest.approx(outside / count / energy, rel=1e-4)


def test_measures_ignore_a_rescaling_of_channels() -> None:
    draws = torch.Generator().manual_seed(4)
    retain, forget = torch.randn(40, 5, generator=draws), torch.randn(7, 5, generator=draws)
    factors = torch.tensor([0.25, 4, 1, 2, 0.5])
    plain = RetainGeometry.of(retain, forget, 2).measure(forget, torch.ones(7))
    scaled = RetainGeometry.of(retain * factors, forget * factors, 2).measure(
        forget * factors, torch.ones(7)
    )
    torch.testing.assert_close(plain, scaled)


def test_one_inflated_channel_leaves_the_others_as_they_were() -> None:
    """The bound is in a channel's own units: a largest channel decides nothing about another."""
    draws = torch.Generator().manual_seed(4)
    retain, forget = torch.randn(40, 5, generator=draws), torch.randn(7, 5, generator=draws)
    factors = torch.tensor([1e6, 1, 1, 1, 1])
    plain = RetainGeometry.of(retain, forget, 2).measure(forget, torch.ones(7))
    scaled = RetainGeometry.of(retain * factors, forget * factors, 2)
    torch.testing.assert_close(plain, scaled.measure(forget * factors, torch.ones(7)))
    votes = neighbour_votes(retain, torch.arange(40) % 3, forget, 3)
    same = neighbour_votes(retain * factors, torch.arange(40) % 3, forget * factors, 3)
    assert torch.equal(votes, same)


def test_methods_and_metrics_standardise_alike() -> None:
    draws = torch.Generator().manual_seed(5)
    retain, forget = torch.randn(60, 6, generator=draws), 2 * torch.randn(9, 6, generator=draws)
    retain[:, 5] *= 1e-4
    geometry = RetainGeometry.of(retain, forget, 2)
    space = alignment.retain_space(Moments.of(retain), channel_scale(Moments.of(retain), forget))
    aligned, log_rho = geometry.measure(forget, torch.ones(9))
    assert float(aligned) == pytest.approx(alignment.da(space, Moments.of(forget), 3), rel=1e-4)
    assert float(log_rho) == pytest.approx(alignment.energy(space, Moments.of(forget)), rel=1e-4)


def test_the_bound_touches_silent_channels_alone() -> None:
    problem = toy_problem()
    model = problem.copy_model()
    seen, asked = (
        extract(model, images, problem.classifier, stages=False).features
        for images in (problem.retain, problem.forget)
    )
    live = seen.std(0, correction=0) > 0.1 * (asked - seen.mean(0)).square().mean(0).sqrt()
    geometry = RetainGeometry.of(seen, asked, 2)
    assert live.float().mean() > 0.5
    deviation = seen.std(0, correction=0)
    torch.testing.assert_close(geometry.scale[live], deviation[live])
    assert (geometry.scale[~live] > deviation[~live]).all()


def test_a_student_without_features_stops_muda() -> None:
    problem = toy_problem()
    for name, weights in problem.model.named_parameters():
        if not name.startswith(problem.classifier):
            weights.data.zero_()
    with pytest.raises(NonFiniteLoss, match="constant"):
        Muda(restart_last_stage=False)(problem)


def test_measures_of_no_whole_class_have_no_gradient_and_stay_finite() -> None:
    forget = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
    da, log_rho = RetainGeometry.of(torch.eye(5), forget.detach(), 2).measure(
        forget, torch.zeros(4)
    )
    (1 - da + torch.relu(log_rho)).backward()  # type: ignore[no-untyped-call]
    assert forget.grad is not None
    assert not forget.grad.any()


def test_neighbour_votes_are_label_shares_of_the_nearest() -> None:
    known = torch.cat([torch.zeros(10, 2), torch.full((10, 2), 5.0)])
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 5)
    votes = neighbour_votes(known, labels, torch.tensor([[0.1, 0.0], [5.1, 5.0]]), 3)
    torch.testing.assert_close(votes, torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]]))


def test_muda_brings_forget_features_nearer_to_those_of_a_retrain() -> None:
    problem = toy_problem()

    def log_energy(model: torch.nn.Module) -> float:
        seen = extract(model, problem.retain, problem.classifier, stages=False).features
        asked = extract(model, problem.forget, problem.classifier, stages=False).features
        geometry = RetainGeometry.of(seen, asked, len(problem.retained_classes) - 1)
        return float(geometry.measure(asked, torch.ones(len(asked)))[1])

    assert log_energy(Muda()(problem)) < log_energy(Muda(beta=0)(problem))


def test_muda_uses_given_predictions_for_single_samples() -> None:
    problem = toy_problem(scope="instance")
    given = torch.zeros(len(problem.forget), problem.num_classes)
    given[:, 3] = 1
    result = Muda(retain_fraction=0.3, forget_share=4)(replace(problem, forget_predictions=given))
    logits = extract(result, problem.forget, problem.classifier).logits
    neighbours = extract(Muda()(problem), problem.forget, problem.classifier).logits
    assert logits.softmax(1)[:, 3].mean() > neighbours.softmax(1)[:, 3].mean()


def test_transposing_swaps_the_spatial_axes_of_every_kernel() -> None:
    with seeded(0):
        model = build_network("expunge:small_cnn", 4, channels=(4, 4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert transpose_kernels(model)
    for name, value in model.state_dict().items():
        expected = before[name].transpose(2, 3) if value.dim() == 4 else before[name]
        assert torch.equal(value, expected)


def test_networks_without_kernels_are_not_transposed() -> None:
    model = mlp()
    before = [p.clone() for p in model.parameters()]
    assert not transpose_kernels(model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_reinitialising_leaves_frozen_layers_and_resets_statistics() -> None:
    model = build_network("expunge:small_cnn", 4, channels=(4, 4))
    model.state_dict()["blocks.1.1.running_mean"].fill_(3)
    model.get_submodule("blocks.0").requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reinitialise(model)
    after = model.state_dict()
    assert torch.equal(before["blocks.0.0.weight"], after["blocks.0.0.weight"])
    assert not torch.equal(before["blocks.1.0.weight"], after["blocks.1.0.weight"])
    assert not after["blocks.1.1.running_mean"].any()


def test_shrinking_keeps_a_share_of_every_trainable_weight_and_none_of_the_last_stage() -> None:
    model = build_network("expunge:small_cnn", 4, channels=(4, 4, 4))
    model.get_submodule("blocks.1.0").requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with seeded(5):
        drawn = build_network("expunge:small_cnn", 4, channels=(4, 4, 4)).state_dict()
    with seeded(5):
        shrink_towards_fresh(model, 0.75)
    after, name = model.state_dict(), "blocks.0.0.weight"
    torch.testing.assert_close(after[name], 0.75 * before[name] + 0.25 * drawn[name])
    assert torch.equal(after["blocks.1.0.weight"], before["blocks.1.0.weight"])
    kept = DistilledRecovery(keep=1.0)._perturbed(toy_problem()).state_dict()
    original = toy_problem().model.state_dict()
    same = {name for name in kept if torch.equal(kept[name], original[name])}
    assert "blocks.1.0.weight" in same
    assert not {"blocks.2.0.weight", "head.weight"} & same


@pytest.mark.parametrize("perturb", ["shrunk", "transposed", "stages", "fresh"])
@pytest.mark.parametrize("distillation", [True, False])
def test_every_control_of_distilled_recovery_runs(perturb: str, distillation: bool) -> None:
    method = get_method("distilled_recovery", perturb=perturb, distillation=distillation, epochs=1)
    check_result(method, toy_problem())


def test_the_original_does_not_teach_when_single_samples_are_forgotten() -> None:
    problem = toy_problem(scope="instance")
    taught = DistilledRecovery(distillation=True, instance_epochs=1)(problem).state_dict()
    alone = DistilledRecovery(distillation=False, instance_epochs=1)(problem).state_dict()
    assert all(torch.equal(taught[name], alone[name]) for name in taught)
