"""Random shifts and reflections, on the device and reproducible on all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Moves(NamedTuple):
    """How each image of a batch is moved, on the device."""

    rows: Tensor
    """Rows by which an image moves up, int64 [b, 1]."""
    columns: Tensor
    """Columns by which it moves left before it is mirrored, int64 [b, 1]."""
    mirrored: Tensor | None
    """Whether it is mirrored left to right, bool [b, 1]; None where none is."""


def draw_moves(
    sizes: Sequence[int], shift: int, flip: bool, draws: torch.Generator, device: torch.device
) -> list[Moves | None]:
    """Draw the moves of batches of these sizes; None for each where nothing is to be moved.

    Random numbers are drawn on the CPU, batch by batch, so every device sees the same ones. All of
    them go to the device in one copy that is not waited for.
    """
    if not shift and not flip:
        return [None] * len(sizes)
    drawn = []
    for size in sizes:
        offsets = torch.randint(-shift, shift + 1, (2, size, 1), generator=draws)
        chances = torch.rand((1, size, 1), generator=draws) if flip else torch.ones(1, size, 1)
        drawn.append(torch.cat([offsets, (chances < 0.5).long()]))
    moved = torch.cat(drawn, dim=1).to(device, non_blocking=True)
    return [
        Moves(rows, columns, mirrored.bool() if flip else None)
        for rows, columns, mirrored in torch.split(moved, list(sizes), dim=1)
    ]


def augment(x: Tensor, moves: Moves | None) -> Tensor:
    """Move each image of [b, C, H, W]; what comes in is as dark as the batch's darkest pixel.

    Returns channels-last memory where there is anything to move, else `x` itself.
    """
    if moves is None:
        return x
    number, channels, height, width = x.shape
    rows = torch.arange(height, device=x.device) + moves.rows
    columns = torch.arange(width, device=x.device) + moves.columns
    inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    if moves.mirrored is not None:
        columns = torch.where(moves.mirrored, width - 1 - columns, columns)
    first = torch.arange(number, device=x.device)[:, None] * height
    places = ((first + rows) * width)[:, :, None] + columns[:, None, :]
    places = torch.where(inside, places, number * height * width)
    # all pixels in one table, and the dark one below them: one lookup does everything
    pixels = x.new_empty((number * height * width + 1, channels))
    pixels[:-1].view(number, height, width, channels).copy_(x.permute(0, 2, 3, 1))
    pixels[-1] = x.amin((0, 2, 3))
    found = pixels.index_select(0, places.view(-1))
    return found.view(number, height, width, channels).permute(0, 3, 1, 2)


def _within(positions: Tensor, length: int) -> Tensor:
    return (positions >= 0) & (positions < length)
