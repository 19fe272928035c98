"""Images and scenes among the same inputs."""

import subprocess
import sys

import numpy as np
import pytest
import rasterio
import tifffile
from helpers.images import write_noise
from helpers.upscalers import Repeating

from udl_tf.errors import UserError
from udl_tf.inference.file_jobs import FileOptions, find_files, plan_files, run_files
from udl_tf.inference.jobs import Options
from udl_tf.inference.scene_jobs import SceneOptions, is_scene

BOTH = FileOptions(Options(uncertainty="npy"), SceneOptions())


def write_geotiff(path, bands=3, **options):
    """Writes bands of 8 bits with a coordinate system and pixels of 10 m; returns their path."""
    values = np.random.default_rng(0).integers(0, 256, (bands, 6, 8), np.uint8)
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500, 0, -10, 900)}
    profile = {"driver": "GTiff", "count": bands, "height": 6, "width": 8, "dtype": np.uint8}
    with rasterio.open(path, "w", **(profile | place | options)) as file:
        file.write(values)
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder of two images, one of them a TIFF, and three scenes."""
    write_noise(tmp_path / "in/b.jpg")
    tifffile.imwrite(tmp_path / "in/d.tif", np.zeros((6, 8, 3), np.uint8))
    write_geotiff(tmp_path / "in/a.tif")
    np.save(tmp_path / "in/c.npy", np.zeros((6, 8, 3), np.float32))
    np.save(tmp_path / "in/e.npy", np.zeros((6, 8, 2), np.float32))
    return tmp_path / "in"


def test_files_are_planned_and_upscaled_together(folder, tmp_path):
    files = find_files([folder], tmp_path / "out")
    plan = plan_files(files, tmp_path / "out", BOTH)
    assert [(job.source.name, job.is_scene) for job in plan] == [
        *(("b.jpg", False), ("d.tif", False)),
        *(("a.tif", True), ("c.npy", True), ("e.npy", True)),
    ]
    reports = []
    summary = run_files(
        Repeating(2), plan, BOTH, lambda done, total, label="": reports.append((done, total))
    )
    assert (summary.done, summary.pixels) == (4, 4 * 12 * 16)
    assert [str(error) for error in summary.failed] == [
        f"{folder}/e.npy: has 2 channels; expected 3, those of the model: choose another model, or"
        " convert the file"
    ]
    assert reports == sorted(reports)
    assert {total for _, total in reports} == {5}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a.tif", "a_flags.tif", "a_theta.tif", "b.jpg", "b_theta.npy"),
        *("c.npy", "c_flags.npy", "c_theta.npy", "d.tif", "d_theta.npy"),
    ]
    assert find_files([folder], tmp_path).as_scenes().split()[0] == []


def test_planning_loads_neither_keras_nor_what_reads_scenes(folder, tmp_path):
    program = f"""
import sys
from pathlib import Path
from udl_tf.inference.file_jobs import FileOptions, find_files, plan_files
from udl_tf.inference.jobs import Options
from udl_tf.inference.scene_jobs import SceneOptions
files, out = find_files([{str(folder)!r}], Path("out")), Path("out")
assert len(plan_files(files, out, FileOptions(Options(), SceneOptions()))) == 5
print({{"keras", "rasterio", "zarr"}} & set(sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("set()\n", "")


def test_results_of_images_and_scenes_have_names_of_their_own(tmp_path):
    (tmp_path / "in").mkdir()
    write_geotiff(tmp_path / "in/a.tif")
    tifffile.imwrite(tmp_path / "in/a_flags.tif", np.zeros((6, 8, 3), np.uint8))
    files = find_files([tmp_path / "in"], tmp_path / "out")
    with pytest.raises(UserError, match=r"a\.tif and .*a_flags\.tif would both become"):
        plan_files(files, tmp_path / "out", BOTH)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"transform": None}, True),
        ({"crs": None}, True),
        ({"crs": None, "transform": None, "nodata": 0}, False),
    ],
)
def test_tiff_files_that_state_where_they_are_are_scenes(options, expected, tmp_path):
    write_geotiff(tmp_path / "a.tif", **options)
    assert is_scene(tmp_path / "a.tif") is expected
    (tmp_path / "a.tif").rename(tmp_path / "a.dat")
    assert is_scene(tmp_path / "a.dat") is expected


@pytest.mark.parametrize("name", ["a.tfw", "a.tifw", "a.wld", "a.TFW", "b.tfw"])
def test_a_tiff_beside_a_world_file_is_a_scene(name, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 8, 3), np.uint8))
    (tmp_path / name).write_text("10\n0\n0\n-10\n500005\n3999995\n")
    assert is_scene(tmp_path / "a.tif") == name.startswith("a")


def test_other_images_are_not_opened_and_files_that_cannot_be_are_no_scenes(tmp_path):
    write_geotiff(tmp_path / "a.tif").rename(tmp_path / "a.jpg")
    for name in ("a.jpg", "gone.npy", "gone.tif"):
        assert not is_scene(tmp_path / name)


def test_grey_of_8_bits_is_computed_as_rgb_and_other_numbers_are_refused(tmp_path):
    write_geotiff(tmp_path / "a.tif", 1)
    write_geotiff(tmp_path / "b.tif", 1, dtype=np.float32)
    files = find_files([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out")
    summary = run_files(Repeating(2), plan_files(files, tmp_path / "out", BOTH), BOTH)
    assert summary.done == 1
    assert "b.tif: has 1 channel; expected 3" in str(summary.failed[0])
    with (
        rasterio.open(tmp_path / "a.tif") as source,
        rasterio.open(tmp_path / "out/a.tif") as result,
    ):
        expected = source.read(1).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(result.read(1), expected)
    with rasterio.open(tmp_path / "out/a_theta.tif") as theta:
        assert theta.count == 1
