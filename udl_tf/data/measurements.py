"""Measurements in files: scenes of any kind, and images of 8 or 16 bits."""

import atexit
import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE
from udl_tf.imaging.opening import image_size
from udl_tf.imaging.rgb_files import list_images
from udl_tf.scenes.image_scene import is_no_scene, open_raster
from udl_tf.scenes.opening import FOLDER_SUFFIXES, open_scene, scene_suffixes
from udl_tf.scenes.scene import Scene, Window


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
    return _shape(path, _changed(path))


@lru_cache(maxsize=1024)  # each plane of a file asks for it, several times
def _shape(path: Path, changed: int | None) -> Shape:
    if is_no_scene(path):
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
    if planes > 1:
        return _STACKS.read(path, plane, planes)
    with open_raster(path) as scene:
        return _read(scene, plane, planes)


def _read(scene: Scene, plane: int, planes: int) -> tuple[np.ndarray, np.ndarray]:
    if scene.planes != planes:
        raise UserError(
            f"{scene.path}: holds {scene.planes} plane{'s' * (scene.planes > 1)}; expected"
            f" {planes}, as its HR file: save the same planes in both"
        )
    return scene.read(Window(plane, 0, 0, scene.height, scene.width))


class _Stacks:
    """Files of several planes, of which those read last stay open for their next planes.

    Opening takes longer than reading a plane: 0.15 s for a `.nii.gz` file of 200 slices of 256x256
    pixels, which is decompressed, and 10 ms for an OME-TIFF. Safe for several threads.

    Args:
        most: files that stay open.
    """

    def __init__(self, most: int):
        self._most = most
        self._open: OrderedDict[tuple[Path, int | None], Scene] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path, plane: int, planes: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads a plane as read_measurement does."""
        with self._lock:
            key = path, _changed(path)
            if key not in self._open:
                scene = open_raster(path)
                if not self._open:  # now: it runs before that of the scene's temporary folder
                    atexit.register(self._close, 0)
                self._open[key] = scene
                self._close(self._most)
            self._open.move_to_end(key)
            return _read(self._open[key], plane, planes)

    def _close(self, left: int) -> None:
        """Closes the least recently used files but `left`."""
        while len(self._open) > left:
            _, scene = self._open.popitem(last=False)
            scene.__exit__(None, None, None)


_STACKS = _Stacks(2)  # an HR and an LR file


def _changed(path: Path) -> int | None:
    """Returns the time of the last change of a file; None if it cannot be opened."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
