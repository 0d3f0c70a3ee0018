"""Images as a search for copies sees them: digests, small grey thumbnails, features.

Every search works in blocks, so that memory grows with n + m and never with n·m.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.data import Images
from unlearning.features import split_evenly

SIDE = 32
"""Side of the grey thumbnails that are compared, in pixels; smaller images stay as they are."""
COARSE_SIDE = 8
"""Side of the thumbnails by which `most_alike` searches."""
QUERIES, KEYS = 512, 16_384
"""How many queries and keys are worked on at a time."""

_CONSTANT = 1e-3
Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Pictures:
    """What the search keeps of a set of images, in the set's order."""

    digests: list[bytes]
    """SHA-256 of the decoded pixels."""
    labels: Tensor
    """int64 [n]."""
    thumbnails: Tensor
    """Grey, float16 [n, s, s]; about 2 KiB an image."""
    coarse: Tensor
    """The same, smaller, float32 [n, c, c]."""
    features: Tensor | None
    """Standardised penultimate features of the original, float32 [n, d]; None where unusable."""

    def __len__(self) -> int:
        return len(self.digests)


@torch.no_grad()
def describe(images: Images, features: Tensor | None, batch_size: int = 512) -> Pictures:
    """Walk once over images and keep what the search compares; at least one image."""
    digests: list[bytes] = []
    thumbnails, coarse = [], []
    for batch in images.batches(split_evenly(len(images), batch_size)):
        pixels = batch.cpu().contiguous()
        digests += _digests(pixels)
        grey = _shrink(_stretch(pixels.mean(1)), SIDE)
        thumbnails.append(grey.half())
        coarse.append(_shrink(grey, COARSE_SIDE))
    return Pictures(digests, images.labels, torch.cat(thumbnails), torch.cat(coarse), features)


def pixel_digests(images: Images, batch_size: int = 512) -> list[bytes]:
    """Return the SHA-256 of each image's decoded pixels, in the set's order."""
    digests: list[bytes] = []
    for batch in images.batches(split_evenly(len(images), batch_size)):
        digests += _digests(batch.cpu().contiguous())
    return digests


def agreement(a: Tensor, b: Tensor, shift: int) -> Tensor:
    """Return the best correlation of pairs of grey images [p, s, s] over shifts and mirroring: [p].

    Brightness goes from 0 to 1. The images' overlap is compared, free of brightness and contrast. A
    constant image agrees with nothing: 0.
    """
    best = torch.zeros(len(a))
    for ours, theirs in _aligned(a, b, shift):
        best = torch.maximum(best, (ours * theirs).sum(1))
    return best


def nearest(queries: Tensor, keys: Tensor, count: int) -> Tensor:
    """Return the positions of the nearest keys of each query, int64 [n, min(count, keys)].

    By Euclidean distance of [n, d] to [m, d], nearest first, in blocks: never n·m at once.
    """

    def closeness(some: Tensor, part: Tensor) -> Tensor:
        # the query's own length is the same for all keys
        return 2 * some @ part.T - part.square().sum(1)

    return _best(queries, keys, count, closeness)


def most_alike(queries: Tensor, keys: Tensor, count: int, shift: int) -> Tensor:
    """Return the positions of the keys that agree best with each query, as `nearest` does.

    Images are [n, s, s] and [m, s, s], the measure is `agreement`.
    """

    def alike(some: Tensor, part: Tensor) -> Tensor:
        best = torch.zeros((len(some), len(part)))
        for ours, theirs in _aligned(some, part, shift):
            best = torch.maximum(best, ours @ theirs.T)
        return best

    return _best(queries, keys, count, alike)


def _best(queries: Tensor, keys: Tensor, count: int, score: Score) -> Tensor:
    """Return the positions of the keys with the highest scores, int64 [n, min(count, keys)]."""
    found = []
    for block in torch.split(queries, QUERIES):
        scores = torch.full((len(block), 0), -torch.inf)
        positions = torch.zeros((len(block), 0), dtype=torch.int64)
        for start in range(0, len(keys), KEYS):
            part = keys[start : start + KEYS]
            where = torch.arange(start, start + len(part)).expand(len(block), -1)
            scores = torch.cat([scores, score(block, part)], dim=1)
            positions = torch.cat([positions, where], dim=1)
            scores, kept = scores.topk(min(count, scores.shape[1]))
            positions = positions.gather(1, kept)
        found.append(positions)
    return torch.cat(found)


def _aligned(a: Tensor, b: Tensor, shift: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the overlaps of two sets of images for every shift, mirrored and not, as unit rows."""
    side = a.shape[-1]
    for up, left in product(range(-shift, shift + 1), repeat=2):
        if max(abs(up), abs(left)) < side - 1:
            ours = _unit(_window(a, up, left))
            for candidate in (b, b.flip(-1)):
                yield ours, _unit(_window(candidate, -up, -left))


def _window(images: Tensor, up: int, left: int) -> Tensor:
    """Return the part of images [p, s, s] that a shift leaves inside: [p, ·]."""
    side = images.shape[-1]
    rows = slice(max(0, up), side + min(0, up))
    columns = slice(max(0, left), side + min(0, left))
    return images[:, rows, columns].flatten(1)


def _unit(rows: Tensor) -> Tensor:
    """Return rows without their mean, of length 1; constant rows become 0."""
    centred = rows - rows.mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    # brightness goes from 0 to 1: what is left of a constant row is rounding
    return centred.mul_(length.reciprocal().masked_fill_(length <= _CONSTANT, 0))


def _stretch(grey: Tensor) -> Tensor:
    """Bring each image [n, H, W] to brightness from 0 to 1, so that half precision is enough."""
    low, high = grey.amin((1, 2), keepdim=True), grey.amax((1, 2), keepdim=True)
    return (grey - low) / (high - low).clamp_min(1e-6)


def _shrink(grey: Tensor, side: int) -> Tensor:
    """Average [n, H, W] to squares of at most `side` pixels."""
    return functional.adaptive_avg_pool2d(grey, min(side, *grey.shape[1:]))


def _digests(pixels: Tensor) -> list[bytes]:
    return [hashlib.sha256(image.numpy().tobytes()).digest() for image in pixels]
