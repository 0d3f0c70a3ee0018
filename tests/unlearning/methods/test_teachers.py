"""Bad teacher, DELETE and boundary: what the forget samples are taught."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from unlearning.features import extract
from unlearning.methods import BadTeacher, Boundary, Delete
from unlearning.methods.bad_teacher import incompetent_teacher
from unlearning.methods.boundary import narrow_classifier, nearest_classes, widen_classifier
from unlearning.methods.delete import erased_target
from unlearning.networks import build_network
from unlearning.problem import Problem
from unlearning.testing import mlp, small_cnn, toy_problem


def _predictions(model: nn.Module, problem: Problem) -> Tensor:
    logits = extract(model, problem.forget, problem.classifier, stages=False).logits
    return logits.softmax(1)


def test_the_incompetent_teacher_is_fresh_in_every_layer_frozen_or_not() -> None:
    problem = toy_problem()
    next(problem.model.parameters()).requires_grad_(False)  # noqa: FBT003 - torch's signature
    teacher, again = incompetent_teacher(problem), incompetent_teacher(problem)
    for name, parameter in teacher.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        if parameter.dim() > 1:
            assert not torch.equal(parameter, problem.model.get_parameter(name))
        assert not parameter.requires_grad


def test_on_forget_samples_the_student_agrees_with_the_bad_teacher() -> None:
    problem = toy_problem(mlp)
    student = BadTeacher(epochs=20, relative_lr=1.0)(problem)
    bad = _predictions(incompetent_teacher(problem), problem)
    after = (_predictions(student, problem) - bad).abs().mean()
    before = (_predictions(problem.model, problem) - bad).abs().mean()
    assert after < 0.3 * before


def test_each_teacher_is_met_by_its_divergence() -> None:
    problem = toy_problem(mlp)
    student, teacher = toy_problem(mlp, seed=5).model, problem.model
    index = torch.arange(len(problem.forget))
    from unlearning.training import Batch

    batch = Batch(problem.forget.batch(index), problem.forget.labels, index)
    found = float(BadTeacher(temperature=3.0).taught_by(teacher)(student, batch).detach())
    expected = 0.0
    for x in batch.images:
        p, q = ((net(x[None])[0].detach() / 3).softmax(0) for net in (teacher, student))
        expected += sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True) if a > 0)
    assert found == pytest.approx(expected / len(index), rel=1e-3)


@given(
    logits=st.lists(
        st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), min_size=1, max_size=4
    ),
    labels=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    forgotten=st.sets(st.integers(0, 3), max_size=3),
)
def test_the_erased_target_is_the_softmax_over_what_is_left(
    logits: list[list[float]], labels: list[int], forgotten: set[int]
) -> None:
    rows, own = torch.tensor(logits), torch.tensor(labels[: len(logits)])
    targets = erased_target(rows, own, tuple(sorted(forgotten)))
    for row, label, target in zip(rows.double(), own.tolist(), targets, strict=True):
        masked = forgotten if label in forgotten else {label}
        left = [c for c in range(4) if c not in masked]
        weights = {c: float((row[c] - row[left].max()).exp()) for c in left}
        for c in range(4):
            expected = weights.get(c, 0.0) / sum(weights.values())
            assert float(target[c]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_delete_and_boundary_never_look_at_the_retain_set() -> None:
    problem = toy_problem()
    other = replace(problem, retain=problem.retain.subset(torch.arange(30)))
    assert other.retained_classes == problem.retained_classes
    for method in (Delete(epochs=2), Boundary(epochs=2)):
        first, second = method(problem).state_dict(), method(other).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_nearest_class_is_the_likeliest_other_one_after_a_step() -> None:
    problem = toy_problem(mlp, scope="mixed")
    found = nearest_classes(problem, 0.5)
    model = problem.copy_model().eval()
    for number, label in enumerate(problem.forget.labels.tolist()):
        x = problem.forget.batch(torch.tensor([number])).requires_grad_()
        functional.cross_entropy(model(x), torch.tensor([label])).backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        logits = model(x + 0.5 * x.grad.sign())[0]
        allowed = [c for c in range(4) if c not in {label, 2}]
        assert int(found[number]) == max(allowed, key=lambda c: float(logits[c].detach()))


def test_where_all_others_are_forgotten_only_the_own_class_is_ruled_out() -> None:
    problem = toy_problem(mlp, scope="class")
    ones = (problem.retain.labels == 1).nonzero()[:, 0]
    last = replace(problem, retain=problem.retain.subset(ones))
    from unlearning.data import concatenate

    rest = problem.retain.subset((problem.retain.labels != 1).nonzero()[:, 0])
    one = problem.retain.subset(ones[:1])
    last = replace(last, forget=concatenate(concatenate(problem.forget, rest), one))
    assert last.forgotten_classes == (0, 2, 3)
    found = nearest_classes(last, 0.1)
    assert (found[:-1] == 1).all()
    assert int(found[-1]) != 1


@pytest.mark.parametrize("convolution", [False, True])
def test_a_shadow_class_comes_and_goes_without_touching_the_others(convolution: bool) -> None:
    if convolution:
        problem = toy_problem(
            lambda: build_network("torchvision:squeezenet1_1", 4), channels=3, side=32, num_train=8
        )
    else:
        problem = toy_problem(small_cnn)
    model = problem.copy_model().eval()
    x = problem.forget.batch(torch.arange(2))
    before, names = model(x), list(model.state_dict())
    own = widen_classifier(model, problem)
    assert model(x).shape == (2, 5)
    torch.testing.assert_close(model(x)[:, :4], before)
    narrow_classifier(model, own, problem)
    torch.testing.assert_close(model(x), before)
    assert list(model.state_dict()) == names


def test_expanding_sends_forget_samples_beyond_their_class() -> None:
    problem = toy_problem()
    before = _predictions(problem.model, problem)[:, 2].mean()
    after = _predictions(Boundary(form="expand")(problem), problem)[:, 2].mean()
    assert after < 0.5 * before
