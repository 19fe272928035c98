"""Opening of scenes: which module reads a file."""

import logging
import zlib
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from os.path import isfile
from pathlib import Path

import numpy as np
import tifffile

from udl_tf.errors import UserError, needs_extra
from udl_tf.scenes.samples import check_nodata
from udl_tf.scenes.scene import Scene

HEAD = 512
"""Bytes at the beginning of a file by which its kind is recognised."""

MAX_CHANNELS = 64
"""Channels of a scene, at most."""

FOLDER_SUFFIXES = (".zarr",)
"""Suffixes, in lower case, of scenes that are folders."""

_DOUBLE_SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr", ".nii.gz")

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_SUFFIXES = (".tif", ".tiff")
# Pixel size, tie points, matrix and coordinate system of GeoTIFF; coefficients of a sensor.
_PLACE_TAGS = {33550, 33922, 34264, 34735, 50844}
_GDAL_TAGS = {42112, 42113}  # metadata, nodata

# Otherwise tifffile prints warnings of damaged tags.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Kind:
    """A kind of scenes.

    Attributes:
        name: as messages call it.
        suffixes: of names of files, in lower case.
        recognise: returns whether a file, or folder, is of this kind, given its path and its first
            HEAD bytes (none for a folder); no module of an extra is imported for it.
        module: in this room, with a function `open_file(path, nodata)` that returns a Scene.
        extra: of this package, which `module` needs; None: none.
    """

    name: str
    suffixes: tuple[str, ...]
    recognise: Callable[[Path, bytes], bool]
    module: str
    extra: str | None = None


def _is_numpy(path: Path, head: bytes) -> bool:
    return head.startswith(b"\x93NUMPY")


def _is_tiff(path: Path, head: bytes) -> bool:
    return head.startswith(_TIFF)


def _is_geotiff(path: Path, head: bytes) -> bool:
    """Returns whether GDAL should read a file: for its tags, or because it reads windows only.

    It reads one image per file.
    """
    if not _is_tiff(path, head):
        return False
    try:
        with tifffile.TiffFile(path) as tiff:
            if _states_place(path, tiff) or not _GDAL_TAGS.isdisjoint(tiff.pages.first.tags.keys()):
                return True
            return is_single_image(tiff) and find_spec("rasterio") is not None
    except Exception:  # damaged; tifffile raises exceptions of many kinds
        return False


def _states_place(path: Path, tiff: tifffile.TiffFile) -> bool:
    """Returns whether a TIFF states where it is, or a world file, such as a.tfw, does."""
    base, end = str(path.with_suffix("")), path.suffix
    beside = (f"{end[:2]}{end[-1:]}w", f"{end}w", ".wld")  # as GDAL looks for it
    return not _PLACE_TAGS.isdisjoint(tiff.pages.first.tags.keys()) or any(
        isfile(base + one) for name in beside for one in (name.lower(), name.upper())
    )


def _is_tiff_stack(path: Path, head: bytes) -> bool:
    if not _is_tiff(path, head):
        return False
    try:
        with tifffile.TiffFile(path) as tiff:
            return tiff.is_ome or tiff.is_imagej
    except Exception:  # of a damaged file, which the next kind reports
        return False


def _is_ome_zarr(path: Path, head: bytes) -> bool:
    return any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def _is_nifti(path: Path, head: bytes) -> bool:
    if head.startswith(b"\x1f\x8b") and path.name.lower().endswith(".nii.gz"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head)  # of gzip
        except zlib.error:  # damaged, as its reader reports
            return True
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def _is_dicom(path: Path, head: bytes) -> bool:
    return head[128:132] == b"DICM"


KINDS = (  # the first that recognises a file counts
    Kind("NumPy array", (".npy",), _is_numpy, "numpy_files"),
    Kind("OME-TIFF or ImageJ", _TIFF_SUFFIXES, _is_tiff_stack, "tiff_stack", "micro"),
    Kind("OME-Zarr", FOLDER_SUFFIXES, _is_ome_zarr, "ome_zarr", "micro"),
    Kind("NIfTI", (".nii", ".nii.gz"), _is_nifti, "nifti", "medical"),
    Kind("DICOM", (".dcm",), _is_dicom, "dicom", "medical"),
    Kind("GeoTIFF", _TIFF_SUFFIXES, _is_geotiff, "geotiff", "geo"),
    Kind("TIFF", _TIFF_SUFFIXES, _is_tiff, "plain_tiff"),
)


def is_single_image(tiff: tifffile.TiffFile) -> bool:
    """Returns whether a TIFF file holds one image, apart from its overviews and masks."""
    images = (page for page in tiff.pages if not page.aspage().subfiletype)
    return len(list(islice(images, 2))) == 1


def stem_of(path: Path) -> str:
    """Returns the name of a file without its suffix, such as ".tif" or ".ome.tif"."""
    name = path.name
    suffix = next((end for end in _DOUBLE_SUFFIXES if name.lower().endswith(end)), path.suffix)
    return name[: len(name) - len(suffix)]


def scene_suffixes() -> tuple[str, ...]:
    """Returns the suffixes, in lower case, of the files that `open_scene` reads."""
    return tuple(dict.fromkeys(suffix for kind in KINDS for suffix in kind.suffixes))


def scene_kind(path: Path | str) -> Kind | None:
    """Returns the kind of a file or folder by its content; None: not a scene.

    Raises:
        UserError: if it is missing or cannot be opened.
    """
    path = Path(path)
    try:
        head = b""
        if not path.is_dir():
            with open(path, "rb") as file:
                head = file.read(HEAD)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: check the path") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}): check the file") from error
    return next((kind for kind in KINDS if kind.recognise(path, head)), None)


def is_georeferenced(path: Path | str) -> bool:
    """Returns whether a file is a TIFF that states where it is, by tags or in a world file."""
    path = Path(path)
    try:
        with tifffile.TiffFile(path) as tiff:
            return _states_place(path, tiff)
    except Exception:  # damaged, or no TIFF; tifffile raises exceptions of many kinds
        return False


def open_scene(path: Path | str, nodata: float | None = None) -> Scene:
    """Opens a file as a scene, to be read window by window.

    Args:
        path: file, or folder, of one of KINDS, recognised by its content.
        nodata: value that marks pixels without data, instead of that which the file states; None:
            as the file states. NaN marks them in any case.

    Returns:
        The scene, to be closed by a `with` block.

    Raises:
        UserError: if the file is missing, of another kind, damaged or not supported, if a package
            that reads it is not installed, or if its values cannot be `nodata`.
    """
    path = Path(path)
    kind = scene_kind(path)
    if kind is None:
        known = ", ".join(kind.name for kind in KINDS)
        raise UserError(f"{path}: not a scene of a known kind ({known}): convert it to one of them")
    with needs_extra(kind.extra) if kind.extra else nullcontext():
        module = import_module(f"udl_tf.scenes.{kind.module}")
    with ExitStack() as stack:
        scene = stack.enter_context(module.open_file(path, nodata))
        check_values(scene, nodata)
        stack.pop_all()
    return scene


def check_values(scene: Scene, nodata: float | None) -> None:
    """Requires numbers that float64 represents exactly, and a `nodata` that is one of them.

    Raises:
        UserError: naming the file.
    """
    path, dtype = scene.path, scene.dtype
    if not (dtype.kind in "iu" and dtype.itemsize <= 4) and dtype not in (np.float32, np.float64):
        raise UserError(
            f"{path}: holds values of dtype {dtype}; expected integers of at most 32 bits, float32"
            " or float64: convert it"
        )
    if not 1 <= scene.channels <= MAX_CHANNELS:
        raise UserError(
            f"{path}: has {scene.channels} channels; expected 1 to {MAX_CHANNELS}, as the last axis"
            " of an array: select some of them, or move the axis"
        )
    check_nodata(nodata, dtype, path)
