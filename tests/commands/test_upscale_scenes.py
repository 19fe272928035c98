"""udl-tf upscale of scenes and with models of measurements."""

import json
import sys

import numpy as np
import pytest
import rasterio
from helpers.commands import assert_one_line_error, run_command
from helpers.images import noise_image
from helpers.models import make_run
from PIL import Image


def measuring_run(folder, channels: int, ranges):
    """Writes a run folder of a small untrained network for measurements."""
    run = make_run(folder, "edsr_s", 2, channels=channels, light=True)
    content = json.loads((run / "model.json").read_text())
    content["range"] = ranges
    (run / "model.json").write_text(json.dumps(content))
    return run


@pytest.fixture(scope="module")
def upscale(tmp_path_factory):
    """The command with a model of two channels, in 0..1 and 100..300."""
    run = measuring_run(tmp_path_factory.mktemp("run"), 2, [[0, 1], [100, 300]])
    return lambda *arguments: run_command("upscale", *arguments, "--model", run)


@pytest.fixture
def scene(tmp_path):
    """A .npy file of two channels with a hole."""
    values = np.random.default_rng(0).uniform(0, 1, (12, 16, 2)).astype(np.float32)
    values[..., 1] = 100 + 200 * values[..., 1]
    values[3, 4, 0] = np.nan
    np.save(tmp_path / "a.npy", values)
    return tmp_path / "a.npy"


def test_a_scene_its_theta_and_its_flags(upscale, scene, tmp_path):
    result = upscale(scene, "--output", tmp_path / "out", "--memory", 20)
    assert result.returncode == 0, result.stderr
    image, theta = np.load(tmp_path / "out/a.npy"), np.load(tmp_path / "out/a_theta.npy")
    assert image.shape == theta.shape == (24, 32, 2)
    assert (np.isnan(image) == np.isnan(theta)).all()
    assert np.isnan(image).sum() == 4
    # Theta is in the unit of each channel: a grey level is 1/255 of 1 and of 200.
    assert 100 < np.nanmean(theta[..., 1]) / np.nanmean(theta[..., 0]) < 400
    flags = np.load(tmp_path / "out/a_flags.npy")
    assert (flags == 2).sum() == 4
    assert (flags == 1).any()
    assert "channel 2: the reduced result differs from the input by" in result.stdout
    assert "1 of 1 images upscaled" in result.stdout


def test_a_folder_of_scenes_and_theta_as_bands(upscale, scene, tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    scene.rename(tmp_path / "in/deep/a.npy")
    options = "--output", tmp_path / "out", "--uncertainty", "bands", "--consistent"
    result = upscale(tmp_path / "in", *options)
    assert result.returncode == 0, result.stderr
    assert np.load(tmp_path / "out/deep/a.npy").shape == (24, 32, 4)
    assert not (tmp_path / "out/deep/a_theta.npy").exists()
    again = upscale(tmp_path / "in", *options, "--skip-existing")
    assert "0 of 1 images upscaled" in again.stdout


def test_the_number_of_channels_is_checked(upscale, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((8, 8, 3), np.float32))
    result = upscale(tmp_path / "a.npy", "--output", tmp_path / "out")
    assert result.returncode == 1
    assert f"failed: {tmp_path}/a.npy: has 3 channels; expected 2" in result.stderr
    assert not (tmp_path / "out/a.npy").exists()


@pytest.mark.parametrize(
    "option", [["--size", "9x9"], ["--outscale", 3], ["--format", "png"], ["--uncertainty", "npy"]]
)
def test_options_of_images_are_refused(upscale, scene, tmp_path, option):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    result = upscale(tmp_path / "a.png", scene, "--output", tmp_path / "out", *option)
    assert_one_line_error(result, f"is for images, and {scene} is a scene: omit the option")


def test_png_files_are_measurements_for_a_model_of_one_channel(tmp_path):
    run = measuring_run(tmp_path / "run", 1, [0, 4000])
    values = noise_image(10, 12)[..., 0].astype(np.uint16) * 15
    Image.fromarray(values).save(tmp_path / "a.png")
    out = tmp_path / "out"
    result = run_command("upscale", tmp_path / "a.png", "--model", run, "--output", out)
    assert result.returncode == 0, result.stderr
    assert np.asarray(Image.open(out / "a.png")).shape == (20, 24)
    assert np.asarray(Image.open(out / "a_flags.png")).max() == 0
    assert (out / "a_theta.tiff").exists()


def test_nodata_makes_scenes_of_images(transparent_run, tmp_path):
    image = noise_image(10, 12).copy()
    image[4, 5] = 0
    Image.fromarray(image).save(tmp_path / "a.png")
    options = "--model", transparent_run, "--nodata", 0, "--output", tmp_path / "out"
    result = run_command("upscale", tmp_path / "a.png", *options)
    assert result.returncode == 0, result.stderr
    flags = np.asarray(Image.open(tmp_path / "out/a_flags.png"))
    assert (flags == 2).sum() >= 4
    found = np.asarray(Image.open(tmp_path / "out/a.png"))
    assert (found[8:10, 10:12] == 0).all()


def test_georeference_is_kept_and_images_in_the_folder_are_as_alone(
    transparent_run, tmp_path, monkeypatch
):
    (tmp_path / "in").mkdir()
    image = noise_image(10, 12)
    profile = {"driver": "GTiff", "count": 3, "height": 10, "width": 12, "dtype": np.uint8}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500, 0, -10, 900)}
    with rasterio.open(tmp_path / "in/a.tif", "w", **profile, **place) as file:
        file.write(np.moveaxis(image, -1, 0))
    Image.fromarray(image).save(tmp_path / "in/b.jpg")
    options = "--model", transparent_run, "--output"
    result = run_command("upscale", tmp_path / "in", *options, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "2 of 2 images upscaled" in result.stdout
    for name, bands in (("a", 3), ("a_theta", 3), ("a_flags", 1)):
        with rasterio.open(tmp_path / f"out/{name}.tif") as file:
            assert (file.count, file.crs.to_epsg()) == (bands, 32633)
            assert file.transform == rasterio.Affine(5, 0, 500, 0, -5, 900)
    run_command("upscale", tmp_path / "in/b.jpg", *options, tmp_path / "alone")
    for path in (tmp_path / "alone").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    monkeypatch.delitem(sys.modules, "udl_tf.scenes.geotiff")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    result = run_command("upscale", tmp_path / "in", *options, tmp_path / "out")
    assert "1 of 2 images upscaled" in result.stdout
    assert 'a.tif: rasterio is not installed: run pip install "udl_tf[geo]"' in result.stderr
    result = run_command("upscale", tmp_path / "in", *options, tmp_path / "out", "--size", "9x9")
    assert_one_line_error(result, "--size: ", "a.tif is a scene")


def test_images_do_not_store_theta_as_bands(transparent_run, tmp_path):
    Image.fromarray(noise_image(6, 8)).save(tmp_path / "a.png")
    options = "--model", transparent_run, "--output", tmp_path / "out", "--uncertainty", "bands"
    result = run_command("upscale", tmp_path / "a.png", *options)
    assert_one_line_error(result, "uncertainty 'bands': of images, expected one of none, npy")


def test_consistent_results_of_images_equal_their_inputs_when_degraded(transparent_run, tmp_path):
    """The network repeats pixels, which shrinking blurs."""
    from udl_tf.imaging.resize import imresize

    # Room for overshoot, because results are clipped.
    image = np.random.default_rng(0).integers(80, 160, (20, 24, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    errors = []
    for more in ([], ["--consistent"]):
        options = "--model", transparent_run, "--output", tmp_path / "out", "--overwrite", *more
        result = run_command("upscale", tmp_path / "a.png", *options)
        assert result.returncode == 0
        assert "calibrated for" not in result.stdout  # theta is as trained
        found = np.asarray(Image.open(tmp_path / "out/a.png")).astype(np.float32)
        errors.append(np.abs(imresize(found, 0.5) - image).mean())
    assert errors[0] > 5
    assert errors[1] < 0.5
