"""Copies of forget samples: what is found, what is not, and that order never matters."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from unlearning import duplicates, pictures
from unlearning.data import TensorImages
from unlearning.duplicates import (
    Copies,
    CopyRule,
    Thresholds,
    calibrate,
    find_copies,
)
from unlearning.features import extract
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale, standardise
from unlearning.networks import SmallCNN
from unlearning.pictures import Pictures, agreement, describe, most_alike, nearest
from unlearning.randomness import generator
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe

NUM_FORGET, NUM_COPIED = 200, 20


def as_images(pixels: Tensor, labels: Tensor) -> TensorImages:
    return TensorImages(pixels, labels, 10, [0.3] * pixels.shape[1], [0.38] * pixels.shape[1])


def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    pixels = torch.from_numpy((data.images * (255 / 16)).astype(np.uint8))[:, None]
    return pixels[:1297], torch.from_numpy(data.target)[:1297]


def shifted(pixels: Tensor, up: int, left: int) -> Tensor:
    wide = functional.pad(pixels.float(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    side = pixels.shape[-1]
    return wide[..., 1 + up : 1 + up + side, 1 + left : 1 + left + side]


def noisy(pixels: Tensor) -> Tensor:
    noise = torch.randint(-2, 3, pixels.shape, generator=generator(0, "noise"))
    return (pixels.int() + noise).clamp(0, 255).to(torch.uint8)


PLANTED: dict[str, Callable[[Tensor], Tensor]] = {
    "exact": torch.clone,
    "noisy": noisy,
    "shifted right": lambda pixels: shifted(pixels, 0, 1),
    "shifted down": lambda pixels: shifted(pixels, 1, 0),
    "brighter": lambda pixels: (pixels * 0.8 + 20).to(torch.uint8),
    "mirrored": lambda pixels: pixels.flip(-1),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_copies_of_digits_are_all_found_with_few_false_alarms(kind: str) -> None:
    pixels, labels = digits()
    order = torch.randperm(len(pixels), generator=generator(0, "digits"))
    chosen, rest = order[:NUM_FORGET], order[NUM_FORGET:]
    copied = chosen[:NUM_COPIED]
    forget = as_images(pixels[chosen], labels[chosen])
    retain = as_images(
        torch.cat([pixels[rest], PLANTED[kind](pixels[copied])]),
        torch.cat([labels[rest], labels[copied]]),
    )
    whole = as_images(
        torch.cat([retain.images, forget.images]), torch.cat([retain.labels, forget.labels])
    )
    recipe = Recipe(epochs=12, batch_size=128, shift=1)
    model = train_from_recipe(lambda: SmallCNN(10), whole, recipe, seed=1)
    known, asked = (extract(model, images, "head").features for images in (retain, forget))
    scale = channel_scale(Moments.of(known))
    searched = describe(retain, standardise(known, scale))
    copies = find_copies(describe(forget, standardise(asked, scale)), searched, calibrate(searched))
    found = [copies.of([member]) for member in range(NUM_FORGET)]
    planted = [
        len(rest) + member in set(itertools.chain(*found[member])) for member in range(NUM_COPIED)
    ]
    alarms = [any(position < len(rest) for position in equal + near) for equal, near in found]
    assert all(planted), f"{sum(planted)} of {NUM_COPIED} copies found"
    assert sum(alarms) <= 0.03 * NUM_FORGET, f"{sum(alarms)} false alarms of {NUM_FORGET}"
    if kind == "exact":
        assert [len(equal) for equal, _ in found] == [1] * NUM_COPIED + [0] * (
            NUM_FORGET - NUM_COPIED
        )


def random_pictures(seed: int, number: int, side: int = 6) -> TensorImages:
    """Draw random images, some of them equal to others, noisy or shifted ones among them."""
    draws = generator(seed, "pictures")
    pixels = torch.randint(0, 256, (number, 1, side, side), generator=draws).to(torch.uint8)
    pixels[1::4] = pixels[0::4][: len(pixels[1::4])]
    pixels[2::4] = shifted(pixels[0::4][: len(pixels[2::4])], 0, 1)
    pixels[-1] = 7  # a constant one
    labels = torch.randint(0, 3, (number,), generator=draws)
    return as_images(pixels, labels)


def described(images: TensorImages) -> Pictures:
    """Describe images; their own pixels stand for features."""
    return describe(images, images.images.flatten(1).float())


def slow_agreement(a: np.ndarray, b: np.ndarray, shift: int) -> float:
    """Compare two grey images in all positions, one after the other."""
    side, best = len(a), 0.0
    for other in (b, b[:, ::-1]):
        for up, left in itertools.product(range(-shift, shift + 1), repeat=2):
            pairs = [
                (a[row, column], other[row - up, column - left])
                for row in range(side)
                for column in range(side)
                if 0 <= row - up < side and 0 <= column - left < side
            ]
            ours, theirs = np.array(pairs).T
            if ours.std() and theirs.std():
                best = max(best, float(np.corrcoef(ours, theirs)[0, 1]))
    return best


def slow_copies(
    forget: TensorImages, searched: TensorImages, threshold: float, shift: int
) -> list[tuple[list[int], list[int]]]:
    """Compare every forget sample with every searched one."""
    found = []
    for ours in forget.images[:, 0].double().numpy():
        equal, near = [], []
        for position, theirs in enumerate(searched.images[:, 0].double().numpy()):
            if (ours == theirs).all():
                equal.append(position)
            elif slow_agreement(ours, theirs, shift) >= threshold:
                near.append(position)
        found.append((equal, near))
    return found


def test_agreement_is_the_best_correlation_over_shifts_and_mirroring() -> None:
    draws = generator(0, "pairs")
    a, b = torch.rand((2, 30, 5, 5), generator=draws)
    b[0] = a[0].flip(-1)
    b[1, :, 1:] = a[1, :, :-1]
    b[2] = 0.5
    for shift in (0, 1, 2):
        fast = agreement(a, b, shift)
        slow = [slow_agreement(x.numpy(), y.numpy(), shift) for x, y in zip(a, b, strict=True)]
        assert fast.tolist() == pytest.approx(slow, abs=1e-5)
    assert fast[:3].tolist() == pytest.approx([1, 1, 0], abs=1e-5)


def test_nearest_is_what_sorting_all_distances_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "QUERIES", 7)
    monkeypatch.setattr(pictures, "KEYS", 5)
    draws = generator(0, "vectors")
    queries, keys = torch.rand((30, 4), generator=draws), torch.rand((23, 4), generator=draws)
    expected = torch.cdist(queries, keys).argsort(dim=1)[:, :6]
    assert torch.equal(nearest(queries, keys, 6), expected)
    assert nearest(queries, keys, 50).shape == (30, 23)


def test_most_alike_is_what_sorting_all_agreements_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "QUERIES", 3)
    monkeypatch.setattr(pictures, "KEYS", 4)
    draws = generator(0, "thumbnails")
    queries, keys = torch.rand((7, 4, 4), generator=draws), torch.rand((11, 4, 4), generator=draws)
    each = [agreement(query.expand(11, -1, -1), keys, 1) for query in queries]
    expected = torch.stack(each).argsort(dim=1, descending=True)[:, :5]
    assert torch.equal(most_alike(queries, keys, 5, 1), expected)


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_those_that_comparing_everything_finds(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "PAIRS", 11)
    images = random_pictures(seed, 40)
    forget, searched = images.subset(torch.arange(0, 40, 4)), images.subset(torch.arange(40))
    copies = find_copies(
        described(forget), described(searched), Thresholds({}, 0.95), CopyRule(neighbours=40)
    )
    slow = slow_copies(forget, searched, 0.95, 1)
    assert [copies.of([member]) for member in range(len(forget))] == slow
    assert any(near for _, near in slow)


def split(copies: Copies, number: int) -> list[tuple[list[int], list[int]]]:
    return [copies.of([member]) for member in range(number)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_nothing(seed: int, random: object) -> None:
    images = random_pictures(seed, 24)
    forget, retain = images.subset(torch.arange(0, 24, 4)), images.subset(torch.arange(1, 24))
    rule = CopyRule(neighbours=24, least_of_class=5, calibrated_on=20)
    orders = [list(range(len(one))) for one in (forget, retain)]
    for order in orders:
        random.shuffle(order)  # type: ignore[attr-defined]
    found = []
    for ours, theirs in (
        (forget, retain),
        (forget.subset(torch.tensor(orders[0])), retain.subset(torch.tensor(orders[1]))),
    ):
        searched = described(theirs)
        thresholds = calibrate(searched, rule)
        found.append((thresholds, find_copies(described(ours), searched, thresholds, rule)))
    (first, straight), (second, mixed) = found
    assert first.of_class.keys() == second.of_class.keys()
    assert first.pooled == pytest.approx(second.pooled)
    for place, member in enumerate(orders[0]):
        equal, near = straight.of([member])
        assert (
            equal,
            near,
        ) == tuple(sorted(orders[1][p] for p in part) for part in mixed.of([place]))


def test_a_pixels_shift_of_larger_images_is_found_by_thumbnails_alone() -> None:
    draws = generator(0, "larger")
    smooth = functional.interpolate(torch.rand((300, 3, 7, 7), generator=draws), size=(48, 48))
    pixels = (smooth * 200 + torch.rand((300, 3, 48, 48), generator=draws) * 30).to(torch.uint8)
    planted = torch.cat([pixels[20:], shifted(pixels[:20], 1, 1)])
    searched = describe(as_images(planted, torch.arange(300) % 10), None)
    forget = describe(as_images(pixels[:20], torch.arange(20) % 10), None)
    copies = find_copies(forget, searched, calibrate(searched))
    assert split(copies, 20) == [([], [280 + member]) for member in range(20)]


def test_many_equal_copies_do_not_crowd_out_a_shifted_one() -> None:
    images = random_pictures(3, 40, side=8)
    decoys = images.images[:1].expand(30, -1, -1, -1)
    pixels = torch.cat([images.images[4:], decoys, shifted(images.images[:1], 1, 0)])
    searched = as_images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
    forget = as_images(images.images[:1], images.labels[:1])
    rule = CopyRule(neighbours=2)
    copies = find_copies(described(forget), described(searched), Thresholds({}, 0.95), rule)
    assert copies.of([0]) == (list(range(36, 66)), [66])


def test_a_retain_set_full_of_copies_does_not_hide_one_more() -> None:
    pixels, labels = digits()
    kept = as_images(pixels[:200].repeat(2, 1, 1, 1), labels[:200].repeat(2))
    kept.images[200:] = noisy(kept.images[200:])
    thresholds = calibrate(describe(kept, None))
    assert thresholds.pooled == CopyRule().most
    forget = as_images(noisy(pixels[:1]).flip(-1), labels[:1])
    copies = find_copies(describe(forget, None), describe(kept, None), thresholds)
    assert copies.of([0]) == ([], [0, 200])


def test_a_class_that_r_lacks_gets_the_pooled_threshold_and_too_few_samples_the_strictest() -> None:
    thresholds = Thresholds({1: 0.97}, 0.93)
    assert thresholds.at(torch.tensor([1, 9])).tolist() == pytest.approx([0.97, 0.93])
    lonely = as_images(torch.zeros((1, 1, 4, 4), dtype=torch.uint8), torch.tensor([0]))
    assert calibrate(describe(lonely, None)) == Thresholds({}, CopyRule().most)


def test_constant_images_are_copies_only_when_equal() -> None:
    grey = torch.tensor([10, 10, 200], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 6, 6)
    images = as_images(grey.contiguous(), torch.zeros(3, dtype=torch.int64))
    rule = CopyRule()
    copies = find_copies(
        describe(images.subset(torch.tensor([0])), None),
        describe(images, None),
        Thresholds({}, rule.least),
    )
    assert copies.of([0]) == ([0, 1], [])
