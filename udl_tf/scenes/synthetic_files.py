"""Folders of synthetic measurements, in the file formats of their fields, to train and test on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from udl_tf._support.files import complete_folder
from udl_tf.errors import UserError, needs_extra
from udl_tf.imaging.resize import imresize
from udl_tf.scenes.synthetic import camera_counts, elevation, microscopy, satellite

SCALE = 2
"""HR over LR size of all pairs."""

_FRAMES = 3  # of the microscope's time series
_TEST, _SCENE = 10_000, 20_000  # seeds of test images, and of the scene, after that of training
_PIXEL = {"satellite": 10.0, "microscopy": 0.1, "elevation": 1.0}  # HR: metres, micrometres, metres


@dataclass(frozen=True)
class _Folder:
    """Where files of one kind are written, and of which images.

    Attributes:
        path: the folder.
        seed: of the first image.
        size: height and width of HR images.
    """

    path: Path
    seed: int
    size: int

    def images(self, count: int) -> list[tuple[str, int]]:
        """Returns the names, without suffix, and the seeds of training or test images."""
        return [(f"{index:02}", self.seed + index) for index in range(count)]


def write_synthetic(kind: str, folder: Path, count: int, size: int, seed: int = 0) -> None:
    """Writes training images, test images, and a scene that is not among them.

    The folder contains `train` and `test`, datasets of HR images or of pairs; `scene`, LR, four
    times as high and wide as the LR image of a training image, with pixels without data; and
    `truth`, its HR scene.

    Args:
        kind: one of KINDS: "satellite", GeoTIFF files of four bands; "microscopy", OME-TIFF files,
            whose LR images have photon noise of their own; "elevation", .npy files of metres.
        folder: new folder.
        count: number of training images; of test images there are a fifth as many, at least two.
        size: height and width of the HR images, pixels, a multiple of SCALE.
        seed: of the first training image.

    Raises:
        UserError: if the folder already exists, or a package is missing.
        OSError: if it cannot be written.
    """
    if folder.exists():
        raise UserError(f"{folder}: already exists: choose another folder, or remove it")
    if size % SCALE or size < 2 * SCALE:
        raise UserError(f"a size of {size}: expected a multiple of {SCALE}, at least {2 * SCALE}")
    write_images, write_scene = KINDS[kind]
    with complete_folder(folder) as temporary:
        for name, images, first in (
            ("train", count, seed),
            ("test", max(count // 5, 2), seed + _TEST),
        ):
            write_images(_Folder(temporary / name, first, size), images)
        write_scene(_Folder(temporary, seed + _SCENE, 4 * size))


def _satellite_images(folder: _Folder, count: int) -> None:
    folder.path.mkdir()
    for name, seed in folder.images(count):
        values = satellite(seed, folder.size, folder.size)
        _write_geotiff(folder.path / f"{name}.tif", values, _PIXEL["satellite"])


def _satellite_scene(folder: _Folder) -> None:
    """Writes a scene whose swath ends in one corner, and which has some missing pixels."""
    truth = satellite(folder.seed, folder.size, folder.size)
    lr = np.clip(np.round(imresize(truth.astype(np.float32), 1 / SCALE)), 1, None)
    lr = lr.astype(np.uint16)
    y, x = np.indices(lr.shape[:2]) / len(lr)
    lost = np.random.default_rng(folder.seed).random(lr.shape[:2]) < 0.0005
    lr[(y + 0.3 * x < 0.22) | lost] = 0
    _write_geotiff(folder.path / "scene.tif", lr, SCALE * _PIXEL["satellite"])
    _write_geotiff(folder.path / "truth.tif", truth, _PIXEL["satellite"])


def _write_geotiff(path: Path, values: np.ndarray, pixel: float) -> None:
    """Writes four bands (h, w, 4) in UTM zone 32 N, compressed, with nodata 0."""
    with needs_extra("geo"):
        import rasterio
        from rasterio.enums import ColorInterp
    height, width, channels = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=channels,
        dtype=values.dtype,
        crs="EPSG:32632",
        transform=rasterio.Affine(pixel, 0, 600_000, 0, -pixel, 5_300_000),
        nodata=0,
        compress="deflate",
        tiled=True,
        blockxsize=256,
        blockysize=256,
        photometric="MINISBLACK",
    ) as file:
        file.write(np.moveaxis(values, -1, 0))
        file.descriptions = ("blue", "green", "red", "near infrared")
        file.scales = (1e-4,) * channels  # to reflectance
        meanings = ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined
        file.colorinterp = meanings


def _microscopy_images(folder: _Folder, count: int) -> None:
    for name, seed in folder.images(count):
        photons = microscopy(seed, folder.size, folder.size)
        hr, lr = camera_counts(photons, 2 * seed), camera_counts(_binned(photons), 2 * seed + 1)
        _write_ome(folder.path / f"HR/{name}.ome.tif", hr[None], _PIXEL["microscopy"])
        _write_ome(folder.path / f"LR/{name}.ome.tif", lr[None], SCALE * _PIXEL["microscopy"])


def _microscopy_scene(folder: _Folder) -> None:
    """Writes a time series, whose frames differ in their noise."""
    photons = microscopy(folder.seed, folder.size, folder.size)
    frames = [folder.seed + frame for frame in range(_FRAMES)]
    lr = np.stack([camera_counts(_binned(photons), seed) for seed in frames])
    hr = camera_counts(photons, folder.seed + _FRAMES)
    _write_ome(folder.path / "scene.ome.tif", lr, SCALE * _PIXEL["microscopy"])
    _write_ome(folder.path / "truth.ome.tif", hr[None], _PIXEL["microscopy"])


def _binned(photons: np.ndarray) -> np.ndarray:
    """Returns the photons of pixels twice as wide, exposed for a quarter of the time."""
    height, width, channels = photons.shape
    parts = photons.reshape(height // SCALE, SCALE, width // SCALE, SCALE, channels)
    return parts.mean(axis=(1, 3))


def _write_ome(path: Path, frames: np.ndarray, pixel: float) -> None:
    """Writes a time series (t, h, w, 1) with its physical pixel size in micrometres."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "axes": "TYX",
        "PhysicalSizeX": pixel,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel,
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": ["actin"]},
    }
    tifffile.imwrite(
        path, frames[..., 0], ome=True, metadata=metadata, compression="zlib", tile=(256, 256)
    )


def _elevation_images(folder: _Folder, count: int) -> None:
    folder.path.mkdir()
    for name, seed in folder.images(count):
        np.save(folder.path / f"{name}.npy", elevation(seed, folder.size, folder.size))


def _elevation_scene(folder: _Folder) -> None:
    """Writes a terrain with voids of NaN, in 5 % of its pixels."""
    truth = elevation(folder.seed, folder.size, folder.size)
    lr = imresize(truth, 1 / SCALE)
    noise = np.random.default_rng(folder.seed).normal(size=(len(lr) // 4 + 1,) * 2)
    lost = np.kron(noise, np.ones((4, 4)))[: len(lr), : len(lr)]
    lr[lost > np.quantile(lost, 0.95)] = np.nan
    np.save(folder.path / "scene.npy", lr)
    np.save(folder.path / "truth.npy", truth)


KINDS: dict[str, tuple[Callable[[_Folder, int], None], Callable[[_Folder], None]]] = {
    "satellite": (_satellite_images, _satellite_scene),
    "microscopy": (_microscopy_images, _microscopy_scene),
    "elevation": (_elevation_images, _elevation_scene),
}
"""Functions that write images and a scene, by kind."""
