"""The linear probe against scikit-learn's, and nearest class centres against a loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from unlearning.errors import NotComputable
from unlearning.metrics.accuracy import accuracy
from unlearning.metrics.ncc import fit_centres
from unlearning.metrics.probe import fit_probe

CLASSES, DIMS = 4, 6


def labelled(seed: int = 0, n: int = 120, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, DIMS, generator=generator) * 1.5
    labels = torch.arange(n) % CLASSES
    return centres[labels] + noise * torch.randn(n, DIMS, generator=generator) + 3, labels


def test_the_probe_is_the_convex_optimum_that_scikit_learn_finds() -> None:
    features, labels = labelled()
    probe = fit_probe(features, labels, CLASSES, l2=1e-2)
    slow = LogisticRegression(C=1 / (1e-2 * len(labels)), tol=1e-8, max_iter=5000)
    slow.fit(features.double().numpy(), labels.numpy())
    expected = torch.from_numpy(slow.predict_proba(features.double().numpy()))
    assert torch.allclose(torch.softmax(probe(features), dim=1), expected, atol=1e-3)


@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_the_probe_is_a_stationary_point_by_automatic_differentiation(l2: float) -> None:
    features, labels = labelled()
    probe = fit_probe(features, labels, CLASSES, l2=l2)
    weight, bias = (part.clone().requires_grad_() for part in (probe.weight, probe.bias))
    logits = features.double() @ weight.T + bias
    loss = functional.cross_entropy(logits, labels) + 0.5 * l2 * weight.square().sum()
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert gradient.abs().max() < 1e-4  # the tolerance of the fit, features off centre by 3


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_order_and_duplication_of_samples_do_not_matter(seed: int) -> None:
    features, labels = labelled(seed)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    probe = fit_probe(features, labels, CLASSES)
    other = fit_probe(features[order].repeat(2, 1), labels[order].repeat(2), CLASSES)
    assert torch.allclose(probe(features), other(features), atol=0.05)


def test_a_class_without_training_samples_is_never_predicted() -> None:
    features, labels = labelled()
    kept = labels != 2
    for fitted in (fit_probe, fit_centres):
        logits = fitted(features[kept], labels[kept], CLASSES)(features)
        assert not bool((logits.argmax(dim=1) == 2).any())
        assert accuracy(logits[labels == 2], labels[labels == 2]).value == 0


def test_a_single_class_is_always_predicted() -> None:
    features, labels = labelled()
    own = labels == 1
    for fitted in (fit_probe, fit_centres):
        logits = fitted(features[own], labels[own], CLASSES)(features)
        assert bool((logits.argmax(dim=1) == 1).all())


def test_constant_features_still_give_a_probe_of_the_class_shares() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    probe = fit_probe(torch.ones(4, 3), labels, 2)
    shares = torch.softmax(probe(torch.ones(1, 3)), dim=1)
    assert shares[0].tolist() == pytest.approx([0.75, 0.25], abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_scores_of_centres_order_classes_as_distances_do(seed: int) -> None:
    features, labels = labelled(seed)
    scores = fit_centres(features, labels, CLASSES)(features)
    means = [features[labels == c].double().mean(0) for c in range(CLASSES)]
    for z, row in zip(features.double(), scores, strict=True):
        distances = [float((z - mean).square().sum()) for mean in means]
        assert int(row.argmax()) == distances.index(min(distances))


@pytest.mark.parametrize("fit", [fit_probe, fit_centres])
def test_malformed_training_sets_are_refused(fit: object) -> None:
    assert callable(fit)
    features, labels = labelled()
    with pytest.raises(NotComputable, match="no sample"):
        fit(features[:0], labels[:0], CLASSES)
    with pytest.raises(ValueError, match="labels must lie"):
        fit(features, labels, CLASSES - 1)
    with pytest.raises(ValueError, match="expected"):
        fit(features, labels[:5], CLASSES)
    features[0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        fit(features, labels, CLASSES)


def test_the_penalty_must_be_positive() -> None:
    with pytest.raises(ValueError, match="l2"):
        fit_probe(*labelled(), CLASSES, l2=0)
