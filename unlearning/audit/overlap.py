"""Hold-out images that the model was trained on: byte-equal copies, found by their digests."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from unlearning.data import Images, TensorImages
from unlearning.features import split_evenly

_BATCH = 512


def overlapping(holdout: Images, *training: Images) -> int:
    """Count the hold-out images whose pixels equal those of a training image, whatever the label.

    Equal pixels give equal normalised floats, so streamed images can be compared as well. Copies
    that differ in a single bit are not found.
    """
    seen: set[bytes] = set()
    for images in training:
        seen.update(_digests(images))
    return sum(digest in seen for digest in _digests(holdout))


def _digests(images: Images) -> Iterator[bytes]:
    for batch in _pixels(images):
        for row in batch.cpu().contiguous().numpy():
            yield hashlib.blake2b(row.tobytes(), digest_size=16).digest()


def _pixels(images: Images) -> Iterator[Tensor]:
    if isinstance(images, TensorImages):
        return iter(torch.split(images.images, _BATCH))
    return images.batches(split_evenly(len(images), _BATCH))
