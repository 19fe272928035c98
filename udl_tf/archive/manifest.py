"""What became of each picture of an archive: rows of Parquet files beside the results.

    OUTPUT/.manifest/part-KEY.parquet    of some pictures, written when their results are
    OUTPUT/manifest.parquet              of all, one row a picture, when the job has ended

A part names a result only after it was written: what no row names is made again.
"""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from udl_tf.archive.storage import Entry, Storage
from udl_tf.errors import needs_extra

with needs_extra("ray"):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

FOLDER = ".manifest"  # hidden: no picture of an archive can have such a place
FILE = "manifest.parquet"

SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # path below the input
        ("source_bytes", pa.int64()),
        ("source_modified", pa.timestamp("us", "UTC")),
        ("source_sha256", pa.string()),
        ("output", pa.string()),  # path below the output; null for a bad picture
        ("output_sha256", pa.string()),
        ("uncertainty", pa.string()),  # path of the map of theta, where one is written
        ("width", pa.int32()),  # of the output, pixels
        ("height", pa.int32()),
        ("mean_theta", pa.float32()),  # grey levels of 0..255
        ("seconds", pa.float32()),  # from reading to writing, beside other pictures
        ("finished", pa.timestamp("us", "UTC")),
        ("notes", pa.string()),  # what was converted or dropped
        ("error", pa.string()),  # why there is no output
    ]
)
IDENTITY = ["source", "source_bytes", "source_modified"]


def write_part(storage: Storage, key: str, rows: list[dict[str, Any]]) -> None:
    """Writes the rows of some pictures, replacing those of the same key."""
    _write(storage, f"{FOLDER}/part-{key}.parquet", pa.Table.from_pylist(rows, SCHEMA))


class Done:
    """The pictures of a manifest that have their results, 8 bytes each.

    The same file changed since is another picture.
    """

    def __init__(self, table: pa.Table):
        table = table.filter(table["error"].is_null())
        columns = (table[name].to_pylist() for name in IDENTITY)
        hashes = [_hash(*row) for row in zip(*columns, strict=True)]
        self._hashes = np.sort(np.array(hashes, np.uint64))

    def __contains__(self, entry: Entry) -> bool:
        key = _hash(entry.name, entry.size, entry.modified)
        index = int(np.searchsorted(self._hashes, key))
        return index < len(self._hashes) and self._hashes[index] == key


def gather(storage: Storage, errors: bool = True) -> pa.Table:
    """Puts all parts into one file, the newest row of each picture, and returns it.

    Args:
        storage: of the results.
        errors: whether to keep the rows without a result.
    """
    names = [f"{FOLDER}/{name}" for name in storage.names(FOLDER)]
    with ThreadPoolExecutor(16) as pool:  # an object store answers many at a time
        before, *parts = pool.map(lambda name: _read(storage, name), [FILE, *names])
        table = pa.concat_tables([before, *parts])
        table = table.sort_by([("source", "ascending"), ("finished", "ascending")])
        source = table["source"].combine_chunks()
        newest = np.ones(len(table), bool)
        newest[:-1] = pc.not_equal(source[:-1], source[1:]).to_numpy(zero_copy_only=False)
        table = table.filter(pa.array(newest))
        if not errors:
            table = table.filter(table["error"].is_null())
        if names or len(table) < len(before):
            _write(storage, FILE, table)
            list(pool.map(storage.delete, names))
    return table


def _read(storage: Storage, name: str) -> pa.Table:
    content = storage.read(name) if name.endswith(".parquet") else None
    if content is None:  # a journal, or no manifest yet
        return SCHEMA.empty_table()
    return pq.read_table(pa.BufferReader(content), schema=SCHEMA)


def _write(storage: Storage, name: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    storage.write(name, buffer.getvalue())


def _hash(name: str, size: int, modified: Any) -> int:
    time = 0 if modified is None else round(1e6 * modified.timestamp())
    digest = hashlib.blake2b(f"{name}\0{size}\0{time}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
