"""Open Parquet files that may be hostile: what they unpack to is bounded by what they hold.

A Parquet file of a few kilobytes can name one long text a million times. Columns of texts and bytes
are therefore kept as the dictionaries they are written as: each value is unpacked once, however
often it is named. Pages that are packed are bounded by what the footer says they unpack to.

pyarrow (which loads numpy) is imported only inside the functions.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

MAX_UNPACKED_RATIO = 1000
MIN_UNPACKED_BYTES = 64 << 20
DICTIONARY_BYTES = 1 << 30
BATCH_ROWS = (64, 8192)
BATCH_BYTES = 64 << 20
MAX_TEXT = 8192


class ParquetRefused(ValueError):
    """The file is damaged, or unpacks to far more than it holds; the words repeat nothing of it."""


def guarded_metadata(path: Path) -> Any:  # noqa: ANN401 - a pyarrow FileMetaData
    """Return a file's footer.

    Raises:
        ParquetRefused: It is no Parquet file, or unpacks to more than 1000 times its size (64 MiB
            are always allowed).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        size = path.stat().st_size
        metadata = pq.read_metadata(path)
        unpacked = sum(
            metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)
        )
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise ParquetRefused("This is no Parquet file.") from error
    if unpacked < 0 or unpacked > max(MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO * size):
        raise ParquetRefused("The Parquet file unpacks to far more than it holds.")
    return metadata


def guarded_schema(path: Path) -> Any:  # noqa: ANN401 - a pyarrow Schema
    """Return a file's schema with its own metadata; raise ParquetRefused."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    guarded_metadata(path)
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ParquetRefused("This is no Parquet file.") from error


def dictionary_columns(path: Path, metadata: Any) -> list[str] | None:  # noqa: ANN401 - see above
    """Return the leaf columns of texts and bytes, to be read as dictionaries.

    None for a large file, whose values may not fit into one dictionary.
    """
    if path.stat().st_size > DICTIONARY_BYTES:
        return None
    schema = metadata.schema
    leaves = [schema.column(i) for i in range(metadata.num_columns)]
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def guarded_columns(path: Path, columns: Sequence[str]) -> Iterator[list[list[Any]]]:
    """Yield the values of some columns, batch by batch; equal texts and bytes are one object.

    A struct {bytes, path}, as Hugging Face writes images, counts as its bytes.

    Raises:
        ParquetRefused: As :func:`guarded_metadata`, or a page is damaged or no UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = guarded_metadata(path)
    leaves, batch_rows = dictionary_columns(path, metadata), _batch_rows(metadata)
    try:
        with pq.ParquetFile(path, read_dictionary=leaves) as file:
            # one row group at a time: a struct cannot hold the dictionaries of two
            for number in range(file.num_row_groups):
                for batch in file.iter_batches(batch_rows, [number], list(columns)):
                    yield [_values(batch.column(name)) for name in columns]
    except ParquetRefused:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise ParquetRefused("The Parquet file is damaged.") from error


def guarded_chunks(path: Path, column: str) -> Any:  # noqa: ANN401 - a pyarrow ChunkedArray
    """Return a whole column, its texts and bytes still in dictionaries; raise ParquetRefused."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    leaves = dictionary_columns(path, guarded_metadata(path))
    try:
        with pq.ParquetFile(path, read_dictionary=leaves, memory_map=True) as file:
            groups = [file.read_row_group(i, [column]) for i in range(file.num_row_groups)]
            chunks = [chunk for group in groups for chunk in group.column(0).chunks]
            return pa.chunked_array(chunks, None if chunks else pa.binary())
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise ParquetRefused("The Parquet file is damaged.") from error


def _batch_rows(metadata: Any) -> int:  # noqa: ANN401 - a pyarrow FileMetaData
    """Return how many rows are likely to unpack to 64 MiB, within bounds."""
    rows = max(1, metadata.num_rows)
    unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    fewest, most = BATCH_ROWS
    return int(min(most, max(fewest, BATCH_BYTES * rows // max(1, unpacked))))


def _values(column: Any) -> list[Any]:  # noqa: ANN401 - a pyarrow Array
    import pyarrow.types as kinds

    if kinds.is_struct(column.type) and (place := column.type.get_field_index("bytes")) >= 0:
        column = column.flatten()[place]
    if kinds.is_nested(column.type):
        raise ParquetRefused("A column holds lists or structures.")
    if not kinds.is_dictionary(column.type):
        return list(column.to_pylist())
    places = column.indices.to_pylist()
    known = {place: column.dictionary[place].as_py() for place in set(places) - {None}}
    if any(isinstance(value, str) and len(value) > MAX_TEXT for value in known.values()):
        raise ParquetRefused(f"A text has more than {MAX_TEXT} characters.")
    return [known.get(place) for place in places]
