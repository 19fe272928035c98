"""The mark of results of all formats, by which this package recognises them."""

import gzip
import json
import zlib
from pathlib import Path

from udl_tf import __version__
from udl_tf.imaging import metadata
from udl_tf.scenes.opening import HEAD

_NAME = "udl_tf"
CREATOR = {"name": _NAME, "version": __version__}
"""The mark in the attribute `_creator` of an OME-Zarr group."""

_DESCRIPTIONS = ((344, b"n+1\0", 148), (4, b"n+2\0", 240))  # of NIfTI: magic, where descrip is
_DERIVATION = (0x0008, 0x2111)  # DerivationDescription of DICOM


def is_result(path: Path) -> bool:
    """Returns whether a file or folder carries the mark of this package's results and maps.

    .npy files have no place for one. Nor do pipes and devices, which are not opened.
    """
    if path.is_dir():
        return _is_zarr_result(path)
    head = _head(path) if path.is_file() else b""
    if head[128:132] == b"DICM":
        return _is_dicom_result(path)
    return _is_nifti_result(head) or metadata.is_result(path)


def _head(path: Path) -> bytes:
    """Returns the first bytes of a file, decompressed; none if it cannot be read."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            return file.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return b""


def _is_zarr_result(folder: Path) -> bool:
    for name in ("zarr.json", ".zattrs"):  # of zarr 3 and 2
        try:
            content = json.loads((folder / name).read_bytes())
            attributes = content["attributes"] if name == "zarr.json" else content
            return attributes["_creator"]["name"] == _NAME
        except (OSError, ValueError, KeyError, TypeError):  # missing, damaged or without the mark
            continue
    return False


def _is_nifti_result(head: bytes) -> bool:
    mark = f"{_NAME} ".encode()
    return any(
        head.startswith(magic, at) and head.startswith(mark, place)
        for at, magic, place in _DESCRIPTIONS
    )


def _is_dicom_result(path: Path) -> bool:
    try:
        import pydicom

        found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[_DERIVATION])
    except Exception:  # not installed, or damaged: pydicom raises exceptions of many kinds
        return False
    return f", {_NAME} " in str(found.get(_DERIVATION, ""))
