"""Larger data sets, read from files that the caller has: Fashion-MNIST and CIFAR-10.

Fashion-MNIST is Debian's package dataset-fashion-mnist (IDX files, gzip). CIFAR-10 is a folder with
`cifar10-train.parquet` and `cifar10-test.parquet`: columns label and image, a picture's bytes.
Training and test part are joined: every draw splits them anew.
"""

import gzip
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from unlearning.calibration import Bench
from unlearning.data import TensorImages
from unlearning.recipe import Recipe

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CIFAR_FOLDER = Path("../shared/data")
NUM_TRAIN, NUM_HOLDOUT = 10_000, 5_000
_IDX_HEADERS = {1: 8, 3: 16}


def fashion(folder: Path = FASHION_FOLDER) -> Bench:
    """Return 70,000 grey images of 28x28 pixels, of which a draw trains on 10,000.

    Raises:
        FileNotFoundError: the folder lacks a file; Debian's package is dataset-fashion-mnist.
    """
    parts = [(_idx(folder, f"{part}-images-idx3"), _idx(folder, f"{part}-labels-idx1"))
             for part in ("train", "t10k")]  # fmt: skip
    pixels, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    images = TensorImages(pixels[:, None], labels.long(), 10, [0.286], [0.353])
    return Bench(
        name="fashion",
        images=images,
        num_train=NUM_TRAIN,
        num_holdout=NUM_HOLDOUT,
        recipe=Recipe(epochs=12),
        kwargs={"channels": (16, 32, 64)},
    )


def cifar10(folder: Path) -> Bench:
    """Return 60,000 colour images of 32x32 pixels, of which a draw trains on 10,000.

    Raises:
        FileNotFoundError: the folder lacks a Parquet file.
    """
    pixels, labels = [], []
    for part in ("train", "test"):
        table = pq.read_table(folder / f"cifar10-{part}.parquet", columns=["label", "image"])
        labels += table["label"].to_pylist()
        pixels += [_decoded(item.as_py()) for item in table["image"]]
    return Bench(
        name="cifar10",
        images=TensorImages(
            torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(),
            torch.tensor(labels),
            10,
            [0.491, 0.482, 0.447],
            [0.247, 0.243, 0.262],
        ),
        num_train=NUM_TRAIN,
        num_holdout=NUM_HOLDOUT,
        recipe=Recipe(epochs=15, shift=4, flip=True),
        kwargs={"channels": (32, 64, 128), "in_channels": 3},
    )


def cifar10_resnet18(folder: Path) -> Bench:
    """Return the same images for a ResNet-18, of which a draw trains on 45,000; needs a GPU.

    Raises:
        FileNotFoundError: the folder lacks a Parquet file.
    """
    return replace(
        cifar10(folder),
        name="cifar10-resnet18",
        num_train=45_000,
        num_holdout=None,
        recipe=Recipe(epochs=30, shift=4, flip=True),
        architecture="torchvision:resnet18",
        classifier="fc",
        kwargs={"small_images": True},
    )


def _idx(folder: Path, name: str) -> Tensor:
    """Read an IDX file of unsigned bytes."""
    data = gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes())
    dimensions = data[3]
    header = _IDX_HEADERS[dimensions]
    shape = np.frombuffer(data, dtype=">u4", count=dimensions, offset=4)
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy())


def _decoded(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"))
