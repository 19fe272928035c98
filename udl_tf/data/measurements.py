"""Measurements in files: scenes of any kind, and images of 8 or 16 bits."""

from pathlib import Path

import numpy as np

from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE
from udl_tf.imaging.opening import image_size
from udl_tf.imaging.rgb_files import list_images
from udl_tf.scenes.image_scene import open_raster
from udl_tf.scenes.opening import open_scene, scene_kind, scene_suffixes
from udl_tf.scenes.scene import Scene, Window


def list_measurements(folder: Path | str) -> list[Path]:
    """Lists the images and scenes directly in a folder, recognised by suffix, sorted by name.

    Raises:
        UserError: as list_images.
    """
    return list_images(folder, tuple(dict.fromkeys((*READABLE, *scene_suffixes()))))


def read_measurement(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads the values of a file as they are.

    Returns:
        (values (h, w, c) in the file's dtype, valid (h, w, c) bool: False for nodata, NaN and
        infinite values).

    Raises:
        UserError: if the file cannot be read, or holds several planes.
    """
    with open_raster(path) as scene:
        _check_planes(scene)
        values, valid = scene.read(Window(0, 0, 0, scene.height, scene.width))
    return values, valid & np.isfinite(values)


def measurement_size(path: Path) -> tuple[int, int]:
    """Reads (height, width) from the header of a file.

    Raises:
        UserError: as read_measurement.
    """
    if scene_kind(path) is None:
        return image_size(path)
    with open_scene(path) as scene:
        _check_planes(scene)
        return scene.height, scene.width


def _check_planes(scene: Scene) -> None:
    if scene.planes != 1:
        raise UserError(
            f"{scene.path}: holds {scene.planes} planes; expected one: save each in a file of its"
            " own"
        )
