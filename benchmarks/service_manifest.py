"""A made manifest of many samples whose image files are few, for nobody opens them."""

import hashlib
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CLASSES = 100
FILES = 1000
HOLDOUT_SHARE = 100
"""One in so many samples is held out: the last ones."""


@cache
def sample_ids(num_samples: int) -> list[str]:
    """Return the ids of the training samples, in the manifest's order."""
    count = num_samples - num_samples // HOLDOUT_SHARE
    return [f"sample-{number:08}" for number in range(count)]


def write_manifest(folder: Path, num_samples: int) -> Path:
    """Write the manifest as Parquet, with every sample's own digest, and the files it names."""
    for number in range(FILES):
        (folder / f"{number:04}.png").write_bytes(b"pixels")
    train = len(sample_ids(num_samples))
    numbers = range(num_samples)
    columns = {
        "sample_id": [f"sample-{number:08}" for number in numbers],
        "label": [number % CLASSES for number in numbers],
        "split": ["train" if number < train else "holdout" for number in numbers],
        "uri": [f"{number % FILES:04}.png" for number in numbers],
        "sha256": [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers],
        "subject_id": [f"person-{number // 20:07}" for number in numbers],
    }
    path = folder / f"manifest-{num_samples}.parquet"
    pq.write_table(pa.table(columns), path)
    return path
