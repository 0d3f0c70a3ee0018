"""Random shifts and reflections, on the device and reproducible on all of them."""

import torch
from torch import Tensor


def augment(x: Tensor, shift: int, flip: bool, draws: torch.Generator) -> Tensor:
    """Shift each image by up to `shift` pixels and mirror half of them.

    What moves in is as dark as the batch's darkest pixel. Random numbers are drawn on the CPU, so
    every device sees the same ones.
    """
    if not shift and not flip:
        return x
    number, _, height, width = x.shape
    offsets = torch.randint(-shift, shift + 1, (2, number, 1), generator=draws)
    rows, columns = torch.arange(height) + offsets[0], torch.arange(width) + offsets[1]
    inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    rows, columns = rows.clamp_(0, height - 1), columns.clamp_(0, width - 1)
    if flip:
        mirrored = torch.rand((number, 1), generator=draws) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    rows, columns, inside = rows.to(x.device), columns.to(x.device), inside.to(x.device)
    which = torch.arange(number, device=x.device)[:, None, None]
    shifted: Tensor = x.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    shifted = torch.where(inside[..., None], shifted, x.amin((0, 2, 3)))
    return shifted.permute(0, 3, 1, 2)


def _within(positions: Tensor, length: int) -> Tensor:
    return (positions >= 0) & (positions < length)
