"""Clustering scores against pair counting and scikit-learn."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.clustering import cluster, matched_f1, nmi, pairwise_f1
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale, standardise

ASSIGNMENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=40)


def blobs(seed: int = 0, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(100) % 5
    centres = torch.randn(5, 16, generator=generator) * 2
    return centres[labels] + noise * torch.randn(100, 16, generator=generator), labels


def split(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    columns = torch.tensor(pairs)
    return columns[:, 0], columns[:, 1]


@settings(deadline=None)
@given(pairs=ASSIGNMENTS)
def test_nmi_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    clusters, labels = split(pairs)
    if len(torch.unique(labels)) < 2:
        with pytest.raises(NotComputable, match="two classes"):
            nmi(clusters, labels)
        return
    expected = normalized_mutual_info_score(labels.numpy(), clusters.numpy())
    assert nmi(clusters, labels) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(pairs=ASSIGNMENTS)
def test_pairwise_f1_is_a_count_over_all_pairs(pairs: list[tuple[int, int]]) -> None:
    clusters, labels = split(pairs)
    tp = fp = fn = 0
    for (c1, l1), (c2, l2) in itertools.combinations(pairs, 2):
        tp += c1 == c2 and l1 == l2
        fp += c1 == c2 and l1 != l2
        fn += c1 != c2 and l1 == l2
    if tp + fn == 0:
        with pytest.raises(NotComputable, match="share a class"):
            pairwise_f1(clusters, labels)
        return
    assert pairwise_f1(clusters, labels) == pytest.approx(2 * tp / (2 * tp + fp + fn))


@settings(deadline=None)
@given(pairs=ASSIGNMENTS)
def test_matched_f1_is_the_best_of_all_one_to_one_matches(pairs: list[tuple[int, int]]) -> None:
    clusters, labels = split(pairs)
    names = torch.unique(labels).tolist()
    groups: list[int] = torch.unique(clusters).tolist()
    padded = groups + [-1] * len(names)

    def f1(group: int, name: int) -> float:
        both = int(((clusters == group) & (labels == name)).sum())
        return 2 * both / int((clusters == group).sum() + (labels == name).sum())

    best = max(
        sum(f1(g, name) for g, name in zip(choice, names, strict=True))
        for choice in itertools.permutations(padded[: max(len(groups), len(names))], len(names))
    )
    assert matched_f1(clusters, labels, names) == pytest.approx(best / len(names))


def test_pairwise_and_matched_f1_are_different_figures() -> None:
    clusters, labels = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1])
    assert pairwise_f1(clusters, labels) == pytest.approx(0.4)
    assert matched_f1(clusters, labels, [0, 1]) == pytest.approx((0.8 + 2 / 3) / 2)


@given(pairs=ASSIGNMENTS, names=st.permutations(range(5)))
def test_names_of_clusters_do_not_matter(pairs: list[tuple[int, int]], names: list[int]) -> None:
    clusters, labels = split([(0, 0), (0, 0), (1, 1), *pairs])
    renamed = torch.tensor(names)[clusters]
    assert nmi(renamed, labels) == pytest.approx(nmi(clusters, labels), abs=1e-12)
    assert pairwise_f1(renamed, labels) == pairwise_f1(clusters, labels)


def test_separate_classes_are_found_and_repeated_calls_agree() -> None:
    features, labels = blobs()
    clusters = cluster(features, 5)
    assert torch.equal(clusters, cluster(features, 5))
    assert nmi(clusters, labels) == pytest.approx(1)
    assert pairwise_f1(clusters, labels) == pytest.approx(1)
    assert matched_f1(clusters, labels, [3]) == pytest.approx(1)


def test_every_sample_is_nearest_to_the_mean_of_its_own_cluster() -> None:
    features, _ = blobs(noise=1.0)
    clusters = cluster(features, 5)
    points = torch.nn.functional.normalize(features, dim=1)
    means = torch.stack([points[clusters == c].mean(0) for c in range(5)])
    for point, own in zip(points, clusters, strict=True):
        distances = (means - point).square().sum(1)
        assert float(distances[own]) <= float(distances.min()) + 1e-5


def test_lengths_do_not_matter_but_directions_do() -> None:
    features, _ = blobs()
    lengths = torch.rand(len(features), 1) * 9 + 1
    assert torch.equal(cluster(features, 5), cluster(features * lengths, 5))


def test_rescaled_channels_cluster_alike_once_standardised() -> None:
    features, labels = blobs(noise=1.5)
    factors = torch.logspace(-2, 2, 16)
    plain = standardise(features, channel_scale(Moments.of(features)))
    rescaled = standardise(features * factors, channel_scale(Moments.of(features * factors)))
    assert nmi(cluster(plain, 5), labels) == pytest.approx(nmi(cluster(rescaled, 5), labels))
    assert nmi(cluster(features, 5), labels) != pytest.approx(
        nmi(cluster(features * factors, 5), labels)
    )


def test_duplicated_samples_leave_clusters_empty_without_a_warning() -> None:
    features = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4)
    clusters = cluster(features, 5)
    assert nmi(clusters, torch.tensor([0] * 4 + [1] * 4)) == pytest.approx(1)


def test_constant_features_carry_no_information() -> None:
    clusters = cluster(torch.zeros(10, 3), 2)
    assert nmi(clusters, torch.arange(10) % 2) == 0


def test_classes_absent_from_the_holdout_and_empty_holdouts_are_not_computable() -> None:
    features, labels = blobs()
    with pytest.raises(NotComputable, match="no hold-out sample"):
        matched_f1(labels, labels, [9])
    with pytest.raises(NotComputable, match="cannot form"):
        cluster(features[:3], 5)
    with pytest.raises(NotComputable, match="empty"):
        pairwise_f1(labels[:0], labels[:0])
    with pytest.raises(ValueError, match="expected"):
        nmi(labels, labels[:5])


def test_nan_features_are_refused() -> None:
    features, _ = blobs()
    features[0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        cluster(features, 5)
