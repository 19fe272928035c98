"""Folders of synthetic measurements."""

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command

from udl_tf.scenes import Window, open_scene


def whole(path, plane=0):
    """Returns (values, valid) of a plane of a file."""
    with open_scene(path) as scene:
        return scene.read(Window(plane, 0, 0, scene.height, scene.width))


def synthetic(kind, folder, *more):
    options = "--output", folder, "--count", 3, "--size", 32, *more
    return run_command("data", "synthetic", kind, *options)


def test_bands_in_geotiffs(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    result = synthetic("satellite", tmp_path / "a")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"written: {tmp_path}/a (7 files, ")
    names = [
        path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*.tif")
    ]
    assert sorted(names) == [
        *("scene.tif", "test/00.tif", "test/01.tif"),
        *("train/00.tif", "train/01.tif", "train/02.tif", "truth.tif"),
    ]
    with (
        rasterio.open(tmp_path / "a/scene.tif") as scene,
        rasterio.open(tmp_path / "a/truth.tif") as truth,
    ):
        assert scene.bounds == truth.bounds
        assert (scene.width, truth.width) == (64, 128)
        assert scene.descriptions == ("blue", "green", "red", "near infrared")
    _, valid = whole(tmp_path / "a/scene.tif")
    assert 0.02 < 1 - valid.mean() < 0.2
    assert whole(tmp_path / "a/truth.tif")[1].all()


def test_micrographs_in_ome_tiffs(tmp_path):
    pytest.importorskip("zarr")
    assert synthetic("microscopy", tmp_path / "a").returncode == 0
    hr, _ = whole(tmp_path / "a/train/HR/00.ome.tif")
    lr, _ = whole(tmp_path / "a/train/LR/00.ome.tif")
    assert hr.shape == (32, 32, 1)
    assert lr.shape == (16, 16, 1)
    assert abs(hr.mean() / lr.mean() - 1) < 0.1  # as many photons per pixel
    first, second = (whole(tmp_path / "a/scene.ome.tif", plane)[0] for plane in (0, 1))
    assert (first != second).mean() > 0.5


def test_elevations_in_numpy_files(tmp_path):
    assert synthetic("elevation", tmp_path / "a").returncode == 0
    scene, truth = np.load(tmp_path / "a/scene.npy"), np.load(tmp_path / "a/truth.npy")
    assert scene.dtype == truth.dtype == np.float32
    assert 0.03 < np.isnan(scene).mean() < 0.07
    means = truth.reshape(64, 2, 64, 2).mean(axis=(1, 3))
    assert np.nanmedian(np.abs(means - scene[..., 0])) < 0.2  # metres


def test_a_folder_that_exists_is_kept(tmp_path):
    assert synthetic("elevation", tmp_path / "a").returncode == 0
    again = synthetic("elevation", tmp_path / "a", "--seed", 1)
    assert_one_line_error(again, "already exists: choose another folder")


def test_odd_sizes_are_refused(tmp_path):
    result = synthetic("elevation", tmp_path / "a", "--size", 33)
    assert_one_line_error(result, "a size of 33: expected a multiple of 2")


def test_negative_seeds_are_refused(tmp_path):
    result = synthetic("elevation", tmp_path / "a", "--seed", -1)
    assert_one_line_error(result, "--seed -1: expected a whole number, at least 0")
