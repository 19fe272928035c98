"""The manifest of an archive: a row per image, in Parquet files next to the results.

    OUTPUT/.manifest/part-KEY.parquet    rows of some images, written after their results
    OUTPUT/manifest.parquet              rows of all images, merged from the parts

A part is written after the results that it names; an image without a row is upscaled again.
"""

import hashlib
import io
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from udl_tf.archive.storage import Entry, Storage
from udl_tf.errors import UserError

FOLDER = ".manifest"  # hidden, unlike any image of an archive, so no result collides with it
FILE = "manifest.parquet"

Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # path below the input
        ("source_bytes", pa.int64()),
        ("source_modified", pa.timestamp("us", "UTC")),
        ("source_sha256", pa.string()),
        ("output", pa.string()),  # path below the output; null if the image failed
        ("output_sha256", pa.string()),
        ("uncertainty", pa.string()),  # path of the map of theta; null without a map
        ("width", pa.int32()),  # pixels of the output
        ("height", pa.int32()),
        ("mean_theta", pa.float32()),  # grey levels, 0..255
        ("seconds", pa.float32()),  # from reading to writing, in parallel with other images
        ("finished", pa.timestamp("us", "UTC")),
        ("notes", pa.string()),  # conversions and metadata that the format cannot store
        ("error", pa.string()),  # why the image failed; null if it did not
    ]
)
IDENTITY = ["source", "source_bytes", "source_modified"]


def write_part(storage: Storage, key: str, rows: list[Row]) -> None:
    """Writes the rows of some images; replaces a part with the same key."""
    _write(storage, f"{FOLDER}/part-{key}.parquet", pa.Table.from_pylist(rows, SCHEMA))


class Done:
    """The images of a manifest that have results; takes 8 bytes per image.

    A file that was changed after its row was written counts as a new image.

    Args:
        table: rows of the manifest.
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


def gather(storage: Storage, without: Collection[str] = ()) -> pa.Table:
    """Merges all parts into manifest.parquet, the newest row per image, and returns its table.

    Args:
        storage: the output.
        without: names of images whose rows are removed.

    Raises:
        UserError: if manifest.parquet or a part has other columns, or is damaged; it stays.
    """
    names = [f"{FOLDER}/{name}" for name in storage.names(FOLDER)]
    with ThreadPoolExecutor(16) as pool:  # an object store serves many requests at a time
        before, *parts = pool.map(lambda name: _read(storage, name), [FILE, *names])
        table = pa.concat_tables([before, *parts])
        table = table.sort_by([("source", "ascending"), ("finished", "ascending")])
        source = table["source"].combine_chunks()
        newest = np.ones(len(table), bool)
        newest[:-1] = pc.not_equal(source[:-1], source[1:]).to_numpy(zero_copy_only=False)
        table = table.filter(pa.array(newest))
        if without:
            dropped = pc.is_in(table["source"], pa.array(without, pa.string()))
            table = table.filter(pc.invert(dropped))
        if names or len(table) < len(before):
            _write(storage, FILE, table)
            list(pool.map(storage.delete, names))
    return table


def _read(storage: Storage, name: str) -> pa.Table:
    content = storage.read(name) if name.endswith(".parquet") else None
    if content is None:  # a journal, or a manifest that does not exist yet
        return SCHEMA.empty_table()
    try:
        known = pq.read_schema(pa.BufferReader(content)).names
        if set(IDENTITY) <= set(known):
            return pq.read_table(pa.BufferReader(content), schema=SCHEMA)
    except (pa.ArrowException, OSError):  # damaged, or columns of other types
        pass
    raise UserError(
        f"{storage.place}/{name}: is damaged, or not a manifest of udl-tf batch: move it, or choose"
        " another output"
    )


def _write(storage: Storage, name: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    storage.write(name, buffer.getvalue())


def _hash(name: str, size: int, modified: datetime | None) -> int:
    time = 0 if modified is None else round(1e6 * modified.timestamp())
    digest = hashlib.blake2b(f"{name}\0{size}\0{time}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
