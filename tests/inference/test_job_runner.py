"""Upscaling of files: their results, and files that fail."""

import numpy as np
import pytest
import tifffile
from helpers.images import noise_image, write_noise
from helpers.models import transparent_model
from helpers.upscalers import Repeating
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging.theta_map import colorize
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference import job_runner
from udl_tf.inference.job_runner import run_jobs
from udl_tf.inference.jobs import Options, plan_jobs
from udl_tf.inference.tiling import OUT_OF_MEMORY


@pytest.fixture(scope="module")
def model():
    return transparent_model(2)


def test_a_file_given_by_name_may_have_any_suffix(model, tmp_path):
    write_noise(tmp_path / "a.png").rename(tmp_path / "image.dat")
    jobs = plan_jobs([tmp_path / "image.dat"], tmp_path / "out", Options())
    assert [job.output for job in jobs] == [tmp_path / "out/image.png"]
    assert run_jobs(model, jobs, Options()).done == 1


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (Options(), (12, 16)),
        (Options(outscale=2.5), (15, 20)),
        (Options(outscale=0.1), (1, 1)),
        (Options(size=(9, 30)), (30, 9)),
    ],
)
def test_sizes(model, tmp_path, options, size):
    options = Options(**{**options.__dict__, "uncertainty": "npy", "ensemble": True})
    jobs = plan_jobs([write_noise(tmp_path / "a.png")], tmp_path / "out", options)
    summary = run_jobs(model, jobs, options)
    assert summary.failed == []
    assert np.asarray(Image.open(tmp_path / "out/a.png")).shape[:2] == size
    for name in ("theta", "spread", "total"):
        assert np.load(tmp_path / f"out/a_{name}.npy").shape == (*size, 3)


def test_maps_of_one_folder_have_one_scale_and_the_legend_of_their_options(tmp_path):
    """Repeating predicts theta = exp(pixel / 100), so that the images have different maxima."""
    for name, value in (("dark", 10), ("light", 250)):
        image = np.full((4, 6, 3), 100, np.uint8)
        image[0] = value
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    for style, size in (("plain", (12, 8)), ("captioned", None)):
        options = Options(uncertainty="png", map_style=style, theta_scale=5.0)
        jobs = plan_jobs([tmp_path / "dark.png", tmp_path / "light.png"], tmp_path / style, options)
        assert run_jobs(Repeating(2), jobs, options).failed == []
        maps = [Image.open(job.maps["theta"]) for job in jobs]
        pixels = [np.asarray(image) for image in maps]
        expected = colorize(np.full((1, 1), np.e), 5.0)[0, 0].tolist()
        assert [image[7, 11].tolist() for image in pixels] == [expected, expected]
        assert pixels[0][0, 0].tolist() != pixels[1][0, 0].tolist()
        assert size is None or [image.size for image in maps] == [size, size]
        assert size or maps[0].height > 8


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"theta_scale": 0.0}, "a scale of 0 grey levels"),
        ({"theta_scale": float("nan")}, "a scale of nan grey levels"),
        ({"map_style": "bare"}, "map style 'bare': expected captioned or plain"),
    ],
)
def test_bad_options_of_maps_are_named(options, part):
    with pytest.raises(UserError, match=part):
        Options(**options)


def test_a_model_of_measurements_is_one_line():
    model = Repeating(2)
    model.value_range = ValueRange((0.0,), (4000.0,))
    message = r"Repeating\(x2, .*\): is a model of measurements .* \[0\.0, 4000\.0\]; expected one"
    with pytest.raises(UserError, match=message):
        run_jobs(model, [], Options())


def test_no_jobs_are_no_error(model):
    assert run_jobs(model, [], Options()).done == 0


def test_a_tiff_that_pillow_cannot_read_is_upscaled_or_reported(model, tmp_path):
    pixels = noise_image(6, 8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="jpegxl")
    tifffile.imwrite(tmp_path / "b.tif", pixels.astype(np.uint32), photometric="rgb")
    jobs = plan_jobs([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out", Options())
    summary = run_jobs(model, jobs, Options())
    assert summary.done == 1
    assert "b.tif: TIFF with BitsPerSample 32" in str(summary.failed[0])


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1)])
def test_float_tiffs_keep_their_unit_and_maps_are_in_grey_levels(tmp_path, value_range):
    (low, high), pixels = value_range, noise_image(6, 8)
    values = (low + pixels / 255 * (high - low)).clip(low, high).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    options = Options(value_range=value_range, uncertainty="npy")
    model = Repeating(2)
    summary = run_jobs(model, plan_jobs([tmp_path / "a.tif"], tmp_path / "out", options), options)
    assert summary.failed == []
    assert summary.notes == []
    expected = model.upscale(pixels.astype(np.float32))
    written = tifffile.imread(tmp_path / "out/a.tif")
    assert written.dtype == np.float32
    assert np.abs(written - (low + expected.image / 255 * (high - low))).max() < 1e-5
    assert np.allclose(np.load(tmp_path / "out/a_theta.npy"), expected.theta, rtol=1e-5)


def test_nearly_black_float_tiffs_are_noted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((6, 8), 0.5, np.float32))
    jobs = plan_jobs([tmp_path / "a.tif"], tmp_path / "out", Options(format="png"))
    notes = run_jobs(Repeating(2), jobs, Options(format="png")).notes
    assert len(notes) == 2
    assert "nearly black" in notes[0]
    assert ".png stores no floats: rounded to 16 bits" in notes[1]


def test_a_bad_file_is_one_line_and_the_others_are_upscaled(model, tmp_path):
    for index in range(4):
        write_noise(tmp_path / f"in/{index}.png", index)
    (tmp_path / "in/1.png").write_bytes(b"broken")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    summary = run_jobs(model, jobs, Options())
    assert summary.done == 3
    assert len(summary.failed) == 1
    assert "1.png: not an image" in str(summary.failed[0])
    assert summary.pixels == 3 * 12 * 16
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.png", "2.png", "3.png"]
    for index in (0, 2, 3):
        result = np.asarray(Image.open(tmp_path / f"out/{index}.png"))
        expected = noise_image(6, 8, index).repeat(2, axis=0).repeat(2, axis=1)
        assert np.array_equal(result, expected)


def test_an_error_of_the_model_names_the_file(tmp_path):
    class Refusing(Repeating):
        def run(self, lr, tile=None, budget=None, notes=None, counter=None):
            raise UserError("too many pixels", argument="tile")

    jobs = plan_jobs([write_noise(tmp_path / "a.png")], tmp_path / "out", Options())
    summary = run_jobs(Refusing(2), jobs, Options())
    assert [str(error) for error in summary.failed] == [f"{tmp_path / 'a.png'}: too many pixels"]
    assert summary.failed[0].argument == "tile"


def test_progress_covers_all_files_including_those_that_fail(model, tmp_path):
    for index in range(3):
        write_noise(tmp_path / f"in/{index}.png", index)
    broken = tmp_path / "in/2.png"  # the last one, whose header is intact
    broken.write_bytes(broken.read_bytes()[:60])
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    reports = []
    summary = run_jobs(model, jobs, Options(tile=4), lambda *report: reports.append(report))
    assert len(summary.failed) == 1
    done = [report[0] for report in reports]
    assert done == sorted(done)
    assert {report[1] for report in reports} == {3 * 6 * 8}
    assert {report[2] for report in reports} == {"0.png", "1.png", "2.png"}
    assert reports[0][0] == 0
    assert reports[-1][0] == 3 * 6 * 8
    assert len(set(done)) > 1 + 3  # tiles are reported too


def test_an_output_that_cannot_be_written_is_one_line_too(model, tmp_path):
    write_noise(tmp_path / "in/a.png")
    (tmp_path / "out").write_text("a file where the folder should be")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    summary = run_jobs(model, jobs, Options())
    assert summary.done == 0
    assert "out/a.png: cannot be written (Not a directory)" in str(summary.failed[0])


@pytest.mark.parametrize(
    ("name", "width", "options", "limit"),
    [
        ("a.png", 8192, Options(format="webp"), "16383"),
        ("a.jpg", 32751, Options(), "65500"),
        ("a.png", 4, Options(format="jpg", size=(65501, 1)), "65500"),
        ("a.png", 4, Options(format="webp", outscale=5000), "16383"),
    ],
)
def test_results_too_large_for_their_format_are_refused_before_computing(
    tmp_path, monkeypatch, name, width, options, limit
):
    Image.new("L", (width, 1)).save(tmp_path / name)
    monkeypatch.setattr(job_runner, "upscale_file", None)
    jobs = plan_jobs([tmp_path / name], tmp_path / "out", options)
    (error,) = run_jobs(transparent_model(2), jobs, options).failed
    assert str(error).startswith(f"{tmp_path / name}: the result has ")
    assert f"at most {limit} pixels per side: use png or tif" in str(error)


@pytest.mark.parametrize(("background", "color"), [("white", 255), ("#808080", 128)])
def test_transparent_pixels_are_on_the_background(model, tmp_path, background, color):
    Image.new("LA", (8, 6)).save(tmp_path / "a.png")
    options = Options(format="bmp", background=background)
    jobs = plan_jobs([tmp_path / "a.png"], tmp_path / "out", options)
    summary = run_jobs(model, jobs, options)
    assert f".bmp stores no alpha: transparent pixels on {background}" in summary.notes[0]
    assert set(np.asarray(Image.open(tmp_path / "out/a.bmp")).ravel()) == {color}


def test_an_unknown_background_is_one_line():
    with pytest.raises(UserError, match="background 'blanc': expected the name of a colour"):
        Options(background="blanc")


def test_lack_of_memory_is_noted(tmp_path, monkeypatch):
    model = transparent_model(2)
    jobs = plan_jobs([write_noise(tmp_path / "a.png")], tmp_path / "out", Options())
    (pass_,) = model._passes(False, bordered=True)
    (forward,) = pass_.runner._whole[0]

    def small_only(x, lr):
        if x.shape[1] > 15:
            raise MemoryError
        return forward(x, lr)

    pass_.runner._whole[0] = [small_only]
    summary = run_jobs(model, jobs, Options())
    assert summary.done == 1
    assert summary.notes == [f"{tmp_path / 'a.png'}: {OUT_OF_MEMORY}"]
