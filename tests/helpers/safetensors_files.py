"""Files in the safetensors format."""

import json
from pathlib import Path


def entry(kind: str, shape: list[int], first: int, last: int) -> dict:
    """Returns the entry of a tensor in the header; its data are the bytes first..last."""
    return {"dtype": kind, "shape": shape, "data_offsets": [first, last]}


def write_safetensors(path: Path, entries, data: bytes = b"") -> Path:
    """Writes the length of the header in 8 bytes, the header as JSON, and the data."""
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path
