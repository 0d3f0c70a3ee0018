"""What MUDA steers by: the formulas of alignment and energy, on the metrics' own scale."""

import pytest
import torch

from unlearning.errors import NonFiniteLoss
from unlearning.features import extract
from unlearning.methods import Muda
from unlearning.methods.geometry import RetainGeometry
from unlearning.methods.muda import neighbour_votes
from unlearning.metrics import alignment
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale
from unlearning.testing import toy_problem


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
        Muda(keep=1, restart_last_stage=False)(problem)


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
