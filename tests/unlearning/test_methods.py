"""Methods are made by name and checked; the pieces of ours equal slow, obvious computations."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearning.errors import InvalidProblem
from unlearning.features import extract
from unlearning.methods import METHODS, DistilledRecovery, Muda, Retrain, get_method
from unlearning.methods.distillation import divergence_from, masked_target
from unlearning.methods.geometry import RetainGeometry
from unlearning.methods.perturbation import (
    reinitialise,
    shrink_towards_fresh,
    transpose_kernels,
)
from unlearning.networks import build_network
from unlearning.randomness import seeded
from unlearning.testing import check_result, mlp, toy_problem


def test_unknown_method_names_the_known_ones() -> None:
    known = f"known are {', '.join(sorted(METHODS))}"
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
        ("gradient_ascent", {"beta": -0.1}, "beta = -0.1"),
        ("salun", {"salient_share": 0.0}, "salient_share = 0.0"),
        ("scrub", {"epochs": 2, "max_epochs": 3}, "max_epochs = 3"),
        ("ssd", {"group": 0}, "group = 0"),
        ("bad_teacher", {"retain_fraction": 1.5}, "retain_fraction = 1.5"),
        ("unsir", {"noise_steps": 0}, "noise_steps = 0"),
        ("l1_sparse", {"gamma": 2.0}, "gamma = 2.0"),
        ("boundary", {"form": "bend"}, "'shrink' or 'expand'"),
        ("delete", {"relative_lr": 0.0}, "relative_lr = 0.0"),
        ("transposed_kernels", {"epochs": 0}, "epochs = 0"),
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


def test_mudas_energy_term_bounds_what_alignment_alone_leaves_long() -> None:
    """Below 0 the forget features are shorter, about the retain mean, than the retain set's own."""
    problem = toy_problem(seed=4)

    def log_energy(model: torch.nn.Module) -> float:
        seen = extract(model, problem.retain, problem.classifier, stages=False).features
        asked = extract(model, problem.forget, problem.classifier, stages=False).features
        geometry = RetainGeometry.of(seen, asked, len(problem.retained_classes) - 1)
        return float(geometry.measure(asked, torch.ones(len(asked)))[1])

    old = Muda(
        alpha=1,
        keep=1,
        restart_last_stage=False,
        epochs=2,
        relative_tail_epochs=2 / 3,
        relative_lr=0.75,
        schedule="falling",
        distillation=True,
    )
    bounded, plain = log_energy(old(problem)), log_energy(replace(old, beta=0)(problem))
    assert bounded < 0 < plain < log_energy(problem.model)


def test_weights_of_terms_that_do_not_apply_to_single_samples_never_matter() -> None:
    problem = toy_problem(scope="instance")
    light, heavy = (Muda(alpha=a, beta=a)(problem).state_dict() for a in (0.0, 1000.0))
    assert all(torch.equal(light[name], heavy[name]) for name in light)


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
    problem = toy_problem()
    perturbed, original = problem.copy_model(), problem.model.state_dict()
    DistilledRecovery(keep=1.0)._perturb(perturbed, problem.classifier)
    kept = perturbed.state_dict()
    same = {name for name in kept if torch.equal(kept[name], original[name])}
    assert "blocks.1.0.weight" in same
    assert not {"blocks.2.0.weight", "head.weight"} & same


@pytest.mark.parametrize("perturb", ["shrunk", "transposed", "stages", "fresh"])
@pytest.mark.parametrize("distillation", [True, False])
def test_every_control_of_distilled_recovery_runs(perturb: str, distillation: bool) -> None:
    method = get_method(
        "distilled_recovery", perturb=perturb, distillation=distillation, relative_epochs=0.1
    )
    check_result(method, toy_problem())


def test_the_original_does_not_teach_when_single_samples_are_forgotten() -> None:
    problem = toy_problem(scope="instance")
    taught = DistilledRecovery(distillation=True, instance_relative_epochs=0.1)(
        problem
    ).state_dict()
    alone = DistilledRecovery(distillation=False, instance_relative_epochs=0.1)(
        problem
    ).state_dict()
    assert all(torch.equal(taught[name], alone[name]) for name in taught)
