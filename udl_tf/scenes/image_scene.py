"""Images of 8 and 16 bits as scenes: measurements in PNG files, for example."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.imaging.image_files import ImageFile, read_image
from udl_tf.imaging.image_writing import write_image
from udl_tf.imaging.tiff_writing import write_float_tiff
from udl_tf.scenes.array_scene import ArrayScene
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.opening import check_values, open_scene, scene_kind
from udl_tf.scenes.result_files import Content, ResultFile
from udl_tf.scenes.samples import Samples
from udl_tf.scenes.scene import Scene

_TIFF = (".tif", ".tiff")


def open_raster(path: Path | str, nodata: float | None = None) -> Scene:
    """Opens a file as `open_scene` does, or else as an image.

    Args:
        path: of a scene, or of an image in any format that the package reads.
        nodata: as for open_scene.

    Raises:
        UserError: as open_scene and read_image.
    """
    path = Path(path)
    return ImageScene(path, nodata) if is_no_scene(path) else open_scene(path, nodata)


def is_no_scene(path: Path) -> bool:
    """Returns whether a file is of no kind of scene; of folders, `open_scene` says what is wrong.

    Raises:
        UserError: as scene_kind.
    """
    return scene_kind(path) is None and not path.is_dir()


class ImageScene(ArrayScene):
    """An image, read as a whole; alpha counts as a channel.

    Results are images with the profile and metadata of the file, and collected in memory; theta is
    a float TIFF.

    Args:
        path: of the file.
        nodata: value of pixels without data; None: all pixels have data.

    Raises:
        UserError: if the file cannot be read, or its values cannot be `nodata`.
    """

    def __init__(self, path: Path, nodata: float | None):
        image = read_image(path)
        pixels = image.pixels.reshape(*image.pixels.shape[:2], -1)
        axes, samples = Axes(("Y", "X", "C"), pixels.shape), Samples(pixels.dtype, nodata)
        super().__init__(path, pixels, axes, samples, image.notes)
        check_values(self, nodata)
        self._profile, self._metadata = image.icc_profile, image.metadata

    @contextmanager
    def _create_file(self, path: Path, scale: int, content: Content) -> Iterator[ResultFile]:
        is_float_tiff = content is Content.THETA and path.suffix.lower() in _TIFF
        if content in (Content.THETA, Content.BOTH) and not is_float_tiff:
            raise UserError(
                f"{path}: an image file cannot hold theta, which is float32: give a .tiff file of"
                " its own",
                argument="uncertainty",
            )
        axes = self._axes.result(scale, content.channels(self.channels))
        samples = content.samples(self._samples)
        array = np.full(axes.sizes, samples.fill, samples.dtype)
        yield ResultFile(array, axes, samples)
        if is_float_tiff:
            with complete_file(path) as temporary:
                write_float_tiff(temporary, array, f"theta in the unit of {self.path.name}")
        else:
            result = ImageFile(array[..., 0] if array.shape[2] == 1 else array)
            if content is Content.IMAGE:
                result = replace(result, icc_profile=self._profile, metadata=self._metadata)
            self.notes += write_image(path, result)
