"""Measurements in files: scenes of any kind, and images of 8 or 16 bits."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE
from udl_tf.imaging.opening import image_size
from udl_tf.imaging.rgb_files import list_images
from udl_tf.scenes.image_scene import open_raster
from udl_tf.scenes.opening import FOLDER_SUFFIXES, open_scene, scene_kind, scene_suffixes
from udl_tf.scenes.scene import Window


class Shape(NamedTuple):
    """Number of planes in a file, and height and width of each."""

    planes: int
    height: int
    width: int


def measurement_suffixes() -> tuple[str, ...]:
    """Returns the suffixes, in lower case, of images and scenes."""
    return tuple(dict.fromkeys((*READABLE, *scene_suffixes())))


def list_measurements(folder: Path | str) -> list[Path]:
    """Lists the images and scenes directly in a folder, recognised by suffix, sorted by name.

    Raises:
        UserError: as list_images.
    """
    return list_images(folder, measurement_suffixes(), FOLDER_SUFFIXES)


def measurement_shape(path: Path) -> Shape:
    """Reads the shape of a file from its header.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        changed = None  # opening it says what is wrong
    return _shape(path, changed)


@lru_cache(maxsize=1024)  # each plane of a file asks for it, several times
def _shape(path: Path, changed: int | None) -> Shape:
    if scene_kind(path) is None:
        return Shape(1, *image_size(path))
    with open_scene(path) as scene:
        return Shape(scene.planes, scene.height, scene.width)


def read_measurement(path: Path, plane: int = 0, planes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Reads the values of a plane as they are.

    Args:
        path: of the file.
        plane: index of the plane.
        planes: number of planes that the file is expected to hold.

    Returns:
        (values (h, w, c) in the file's dtype, valid (h, w, c) bool: False for nodata, NaN and
        infinite values).

    Raises:
        UserError: if the file cannot be read, or holds another number of planes.
    """
    with open_raster(path) as scene:
        if scene.planes != planes:
            raise UserError(
                f"{path}: holds {scene.planes} plane{'s' * (scene.planes > 1)}; expected {planes},"
                " as its HR file: save the same planes in both"
            )
        values, valid = scene.read(Window(plane, 0, 0, scene.height, scene.width))
    return values, valid & np.isfinite(values)
