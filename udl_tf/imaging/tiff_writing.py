"""Writing of TIFF files: images of every depth, with profile, resolution, XMP and EXIF; maps."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from udl_tf.imaging.exif import XMP, append_to_tiff
from udl_tf.imaging.metadata import MARK, Metadata

CLASSIC_TIFF = 2**32 - 2**25
"""Bytes of pixels up to which files are not BigTIFF, as by tifffile's default."""

_BYTE = 1  # type of an entry


def write_tiff(
    path: Path, pixels: np.ndarray, icc_profile: bytes | None, metadata: Metadata
) -> Metadata:
    """Writes a TIFF file, with the mark of results; pixels of more than 8 bits are compressed.

    Args:
        path: file to write.
        pixels: uint8, uint16 or float32, (h, w) or (h, w, 2 to 4).
        icc_profile: colour profile, or None.
        metadata: what to store.

    Returns:
        The metadata that are stored.
    """
    big = pixels.nbytes > CLASSIC_TIFF
    if big:  # its IFDs have another structure
        metadata = metadata.without(exif="EXIF (TIFF above 4 GB)")
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    options: dict[str, Any] = {}
    if metadata.dpi:
        options |= {"resolution": metadata.dpi, "resolutionunit": "inch"}
    if metadata.xmp:
        options["extratags"] = [(XMP, _BYTE, len(metadata.xmp), metadata.xmp, True)]
    tifffile.imwrite(
        path,
        pixels,
        bigtiff=big,
        byteorder="<",
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression=None if pixels.dtype == np.uint8 else "adobe_deflate",
        iccprofile=icc_profile,
        software=MARK.decode(),
        metadata=None,
        **options,
    )
    if metadata.exif:
        with open(path, "r+b") as file:
            append_to_tiff(file, metadata.exif)
    return metadata


def write_float_tiff(path: Path, values: np.ndarray, description: str) -> None:
    """Writes a TIFF file of values that are no colours, with the mark of results.

    Args:
        path: file to write.
        values: float32 (h, w) or (h, w, c).
        description: of the values, and their unit.
    """
    channels = values.shape[2] if values.ndim == 3 else 1
    tifffile.imwrite(
        path,
        values if channels > 1 else values.reshape(values.shape[:2]),
        bigtiff=values.nbytes > CLASSIC_TIFF,
        photometric="rgb" if channels == 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        description=description,
        software=MARK.decode(),
        compression="adobe_deflate",
        predictor=True,
        metadata=None,
    )
