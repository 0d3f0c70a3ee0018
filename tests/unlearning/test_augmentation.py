"""Random moves equal a pixel-by-pixel loop, and are the same however they are drawn."""

import pytest
import torch

from unlearning.augmentation import augment, draw_moves


@pytest.mark.parametrize("flip", [False, True])
def test_augmentation_equals_shifting_pixel_by_pixel(flip: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.rand((5, 2, 4, 6), generator=draws)
    [moves] = draw_moves([5], 2, flip, torch.Generator().manual_seed(1), x.device)
    result = augment(x, moves)
    again = torch.Generator().manual_seed(1)
    offsets = torch.randint(-2, 3, (2, 5, 1), generator=again)
    mirrored = torch.rand((5, 1), generator=again) < 0.5
    for b in range(5):
        for c in range(2):
            for row in range(4):
                for column in range(6):
                    i, j = row + int(offsets[0, b]), column + int(offsets[1, b])
                    inside = 0 <= i < 4 and 0 <= j < 6
                    j = min(max(j, 0), 5)
                    j = 5 - j if flip and mirrored[b] else j
                    expected = x[b, c, i, j] if inside else x[:, c].min()
                    assert result[b, c, row, column] == expected


def test_no_augmentation_returns_the_same_images() -> None:
    x = torch.rand(2, 1, 3, 3)
    [moves] = draw_moves([2], 0, flip=False, draws=torch.Generator(), device=x.device)
    assert augment(x, moves) is x


@pytest.mark.parametrize("flip", [False, True])
def test_moves_drawn_at_once_are_those_drawn_batch_by_batch(flip: bool) -> None:
    sizes, device = [5, 5, 2], torch.device("cpu")
    together = draw_moves(sizes, 2, flip, torch.Generator().manual_seed(1), device)
    draws = torch.Generator().manual_seed(1)
    for size, moves in zip(sizes, together, strict=True):
        [single] = draw_moves([size], 2, flip, draws, device)
        assert moves is not None
        assert single is not None
        assert (moves.mirrored is not None) == flip
        for a, b in zip(moves, single, strict=True):
            assert (a is None) == (b is None)
            assert a is None or b is None or torch.equal(a, b)
