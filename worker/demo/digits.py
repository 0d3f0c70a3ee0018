"""Write scikit-learn's digits as PNG files with a manifest, some labels wrong on purpose."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

NUM_TRAIN = 1297
NUM_MISLABELLED = 40
CLASS_NAMES = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class DigitsManifest:
    """What the demo knows about the data that it wrote.

    Attributes:
        root: Folder that holds the images and `manifest.parquet`.
        sample_ids: Ids of all samples, training ones first, like `digit-0042`.
        labels: Labels as the manifest gives them, wrong ones included.
        mislabelled: Positions of the training samples whose label is wrong on purpose.
    """

    root: Path
    sample_ids: list[str]
    labels: list[int]
    mislabelled: list[int]

    @property
    def manifest(self) -> Path:
        """Path of the Parquet manifest."""
        return self.root / "manifest.parquet"

    def ids_labelled(self, label: int) -> list[str]:
        """Return the training ids that the manifest labels so."""
        return [self.sample_ids[i] for i in range(NUM_TRAIN) if self.labels[i] == label]


def write_digits(root: Path, seed: int) -> DigitsManifest:
    """Write 1,797 8×8 PNG files and a Parquet manifest; the last 500 samples are the hold-out.

    Forty training labels are replaced by another label drawn uniformly with `seed`: annotation
    errors that a network memorises.
    """
    digits = load_digits()
    generator = np.random.default_rng(seed)
    labels = [int(label) for label in digits.target]
    mislabelled = sorted(
        int(i) for i in generator.choice(NUM_TRAIN, NUM_MISLABELLED, replace=False)
    )
    for index in mislabelled:
        labels[index] = (labels[index] + int(generator.integers(1, 10))) % 10
    ids = [f"digit-{index:04d}" for index in range(len(labels))]
    (root / "images").mkdir(parents=True, exist_ok=True)
    paths = [f"images/{sample_id}.png" for sample_id in ids]
    for image, path in zip(digits.images, paths, strict=True):
        Image.fromarray((image * (255 / 16)).astype(np.uint8), mode=None).save(root / path)
    table = pa.table(
        {
            "sample_id": ids,
            "label": pa.array(labels, pa.int32()),
            "split": ["train" if i < NUM_TRAIN else "holdout" for i in range(len(ids))],
            "uri": paths,
            "sha256": [hashlib.sha256((root / path).read_bytes()).hexdigest() for path in paths],
        }
    )
    pq.write_table(table, root / "manifest.parquet")
    return DigitsManifest(root, ids, labels, mislabelled)
