"""Turn a job's package into files and a specification that its child can read.

The ledger speaks of storage keys; the child, which has no storage, of paths.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from service.storage import Storage

SampleRow = tuple[int, int, str, str, int, str]
GroupedRow = tuple[int, int, str, str, int, str, int | None]

_SCHEMA = pa.schema(
    [
        ("position", pa.int32()),
        ("ordinal", pa.int32()),
        ("uri", pa.string()),
        ("sha256", pa.string()),
        ("label", pa.int32()),
        ("role", pa.string()),
        ("group", pa.int32()),
    ]
)
_BATCH_ROWS = 16_384
_KEY = "_key"


def write_samples(rows: Iterable[SampleRow | GroupedRow], path: Path) -> None:
    """Write the job's samples as an Arrow IPC file, a batch of rows at a time.

    The group, where a row has none, is null.
    """
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        batch: list[GroupedRow] = []
        for row in rows:
            batch.append(row if len(row) == len(_SCHEMA) else (*row, None))
            if len(batch) == _BATCH_ROWS:
                writer.write_batch(_as_batch(batch))
                batch.clear()
        writer.write_batch(_as_batch(batch))


def _as_batch(rows: Sequence[GroupedRow]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(_SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def with_paths(spec: Any, storage: Storage, workdir: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Replace every ``<name>_key`` in `spec`, at any depth, by ``<name>``: a local, checked file.

    Raises:
        StorageError: An artifact is missing, or its content is no longer what its key says.
    """
    if isinstance(spec, list):
        return [with_paths(item, storage, workdir) for item in spec]
    if not isinstance(spec, dict):
        return spec
    located = {}
    for name, value in spec.items():
        if name.endswith(_KEY) and isinstance(value, str):
            located[name.removesuffix(_KEY)] = str(storage.local_path(value, workdir))
        else:
            located[name] = with_paths(value, storage, workdir)
    return located
