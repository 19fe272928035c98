"""A worker of an archive job, in this process: images, crashes, failures, names of results."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.images import fill_folder, noise_image
from helpers.upscalers import Repeating
from PIL import Image

from udl_tf.archive import manifest
from udl_tf.archive import worker as worker_module
from udl_tf.archive.worker import Worker
from udl_tf.errors import Unavailable, UserError
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.inference.jobs import Job, Options
from udl_tf.saved.loading import load_upscaler


@pytest.fixture(scope="module")
def loaded(small_run):
    return load_upscaler(small_run)


@pytest.fixture
def one_model(loaded, monkeypatch):
    """Gives all workers the same loaded model, which takes most of their time."""
    monkeypatch.setattr(worker_module, "load_upscaler", lambda path, dtype: loaded)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the worker catches it."""


@pytest.mark.usefixtures("one_model")
def test_an_image_that_crashes_its_process_becomes_a_row(work, table, monkeypatch, tmp_path):
    def upscale(model, image, options, original=worker_module.upscale_file):
        if image.pixels.shape[0] == 21:  # below/001.png
            raise Killed
        return original(model, image, options)

    monkeypatch.setattr(worker_module, "upscale_file", upscale)
    for _ in range(3):
        with pytest.raises(Killed):
            Worker(work)(table(work))
    rows = {row["source"]: row for row in Worker(work)(table(work)).to_pylist()}
    assert rows.pop("below/001.png")["error"] == "crashed the worker, probably out of memory"
    assert [row["error"] for row in rows.values()] == [None] * 3
    assert not list((tmp_path / "out" / manifest.FOLDER).glob("trying-*"))


@pytest.mark.usefixtures("one_model")
def test_a_model_that_crashes_its_process_stops_the_job(work, table, monkeypatch):
    def crash(path, dtype):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(worker_module, "load_upscaler", crash)
        for _ in range(5):
            with pytest.raises(Killed):
                Worker(work)(table(work))
        with pytest.raises(UserError, match=r"actors crash before .* use fewer actors"):
            Worker(work)(table(work))
    rows = Worker(work)(table(work))
    assert rows["error"].null_count == 4


@pytest.mark.usefixtures("one_model")
def test_a_reason_outside_the_images_stops_the_job(work, table, monkeypatch, tmp_path):
    fill_folder(tmp_path / "in", 16)
    (tmp_path / "in" / "016.png").write_bytes(b"a bad image fails by itself")

    def upscale(model, image, options):
        raise RuntimeError("no such device")

    monkeypatch.setattr(worker_module, "upscale_file", upscale)
    errors = Worker(work)(table(work))["error"].to_pylist()
    assert errors.count("RuntimeError: no such device") == 16
    (tmp_path / "in" / "016.png").unlink()
    with pytest.raises(UserError, match=r"16 images .*\(RuntimeError\('no such device'\)\)"):
        Worker(work)(table(work))
    parts = list((tmp_path / "out" / manifest.FOLDER).iterdir())
    assert len(parts) == 1  # of the first time


@pytest.mark.usefixtures("one_model")
def test_a_server_that_is_gone_stops_the_job(work, table, monkeypatch, tmp_path):
    fill_folder(tmp_path / "in", 16)

    def upscale(model, image, options):
        raise Unavailable("http://localhost:1/x: unreachable")

    monkeypatch.setattr(worker_module, "upscale_file", upscale)
    with pytest.raises(UserError, match=r"16 images in a row failed, .*unreachable"):
        Worker(work)(table(work))


@pytest.mark.usefixtures("one_model")
def test_images_above_the_limit_of_pixels_fail(work, table):
    limited = replace(work, options=replace(work.options, max_pixels=500))
    errors = Worker(limited)(table(work))["error"]
    assert errors.null_count == 1  # 20x24
    assert "expected at most 0 megapixels" in errors[1].as_py()
    assert errors[1].as_py().endswith("(max_pixels)")


@pytest.mark.usefixtures("one_model")
def test_an_output_that_cannot_be_written_stops_the_job(work, table, tmp_path):
    (tmp_path / "out" / "000.png").mkdir(parents=True)
    with pytest.raises(OSError, match=r"out/000\.png"):
        Worker(work)(table(work))
    assert not list((tmp_path / "out").rglob(".*.part"))


@pytest.mark.usefixtures("one_model")
def test_large_images_are_upscaled_one_by_one(work, monkeypatch):
    worker = Worker(work)
    job = Job(Path(work.input) / "000.png", Path(work.output) / "000.png", {})
    needed = worker_module.needed_memory(20, 24, 2, work.options)
    for free, waits in ((needed * work.threads, False), (needed * work.threads - 1, True)):
        monkeypatch.setattr(worker_module, "free_memory", lambda free=free: free)
        assert (worker._room_for(job) is worker.room) == waits


def test_maps_formats_and_names(work, table, tmp_path):
    write_rgb(tmp_path / "in" / "000.bmp", noise_image(20, 24))
    options = Options(format="webp", uncertainty="npy")
    worker = Worker(replace(work, dtype="bfloat16", options=options))
    rows = {row["source"]: row for row in worker(table(work)).to_pylist()}
    assert rows["000.png"]["output"] == "000.png.webp"
    assert rows["000.bmp"]["output"] == "000.bmp.webp"
    assert rows["below/001.png"]["uncertainty"] == "below/001.png.webp_theta.npy"
    theta = np.load(tmp_path / "out" / "below" / "001.png.webp_theta.npy")
    assert theta.mean() == pytest.approx(rows["below/001.png"]["mean_theta"], rel=1e-5)


@pytest.mark.usefixtures("one_model")
def test_names_that_are_not_utf_8_become_rows(work, table, tmp_path):
    for name in (b"caf\xe9.png", b"caf\xe9.txt"):
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(b"")
    (tmp_path / "in" / os.fsdecode(b"\xe9t\xe9")).mkdir()
    rows = {row["source"]: row["error"] for row in Worker(work)(table(work)).to_pylist()}
    assert len(rows) == 6
    assert rows["caf\\xe9.png"] == "no longer exists, or its name is not UTF-8"
    assert rows["\\xe9t\\xe9"] == rows["caf\\xe9.png"]
    assert rows["000.png"] is None


@pytest.mark.usefixtures("one_model")
def test_names_of_results_that_are_too_long_become_rows(work, table, tmp_path):
    (tmp_path / "in" / "000.png").rename(tmp_path / "in" / f"{'a' * 250}.png")
    worker = Worker(replace(work, options=Options(format="webp")))
    errors = [row["error"] for row in worker(table(work)).to_pylist() if row["error"]]
    expected = "its name is longer than 255 bytes: rename the input"
    assert errors == [f"{'a' * 250}.png.webp: {expected}"]


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(channels, work, table, tmp_path, monkeypatch):
    model = Repeating(2, channels)
    monkeypatch.setattr(worker_module, "load_upscaler", lambda path, dtype: model)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, channels), dtype=np.uint8)
    pixels = pixels[..., 0] if channels == 1 else pixels
    Image.fromarray(pixels).save(tmp_path / "in/a.png")
    rows = {row["source"]: row for row in Worker(work)(table(work)).to_pylist()}
    assert rows["a.png"]["error"] is None
    result = np.asarray(Image.open(tmp_path / "out" / rows["a.png"]["output"]))
    assert np.array_equal(result, pixels.repeat(2, axis=0).repeat(2, axis=1))
    assert "an image of shape (20, 24, 3): expected (h, w" in rows["000.png"]["error"]
