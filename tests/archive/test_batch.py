"""The command `udl-tf batch` in this process, its actors too."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.commands import assert_one_line_error
from helpers.images import fill_folder, noise_image

from udl_tf import batch as batch_module
from udl_tf.archive import manifest
from udl_tf.archive import worker as worker_module
from udl_tf.archive.storage import Storage
from udl_tf.imaging.rgb_files import read_rgb, write_rgb
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.saved.loading import load_upscaler

pytestmark = pytest.mark.usefixtures("local_actors")


@pytest.fixture(scope="module")
def model(small_run):
    return load_upscaler(small_run)


@pytest.fixture
def one_model(model, monkeypatch):
    """Loads no model: the command and its actors get the same one."""
    monkeypatch.setattr("udl_tf.saved.load", lambda path, dtype: model, raising=False)
    monkeypatch.setattr(worker_module, "load_upscaler", lambda path, dtype: model)


def rows(output):
    table = pq.read_table(output / manifest.FILE)
    return {row["source"]: row for row in table.to_pylist()}


def test_an_archive_becomes_images_and_a_manifest(batch, small_run, model, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 10)
    (source / "bad.jpg").write_bytes(b"no image")
    (source / "notes.txt").write_text("no image either")
    command = source, "--output", output, "--model", small_run
    result = batch(*command)
    assert result.returncode == 1, result.stderr
    assert "failed: bad.jpg: not an image" in result.stderr
    assert result.stdout.splitlines()[0] == "skipped: 1 other file"
    assert result.stdout.splitlines()[1].startswith("10 images upscaled in")
    found = rows(output)
    assert len(found) == 11
    assert found.pop("bad.jpg")["output"] is None
    for name, row in found.items():
        expected, image = model.upscale(read_rgb(source / name)), read_rgb(output / row["output"])
        assert np.abs(image.astype(int) - expected.image).max() <= 1
        assert (row["height"], row["width"]) == image.shape[:2]
        assert row["mean_theta"] == pytest.approx(expected.theta.mean(), rel=1e-4)
        for path, key in ((source / name, "source"), (output / row["output"], "output")):
            checksum = hashlib.sha256(path.read_bytes()).hexdigest()
            assert row[f"{key}_sha256"] == checksum
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [*(f"{i:03}.png" for i in range(0, 10, 2)), "below", "job.json", manifest.FOLDER,
         manifest.FILE]
    )  # fmt: skip

    # Again: only what failed or changed.
    written = {path: path.stat().st_mtime_ns for path in output.rglob("0*.png")}
    (source / "bad.jpg").unlink()
    write_rgb(source / "000.png", noise_image(30, 30, 99))
    result = batch(*command)
    assert result.returncode == 0, result.stderr
    assert "\n1 images upscaled" in result.stdout
    assert "9 already existed (skipped), 0 failed" in result.stdout
    changed = [path for path, time in written.items() if path.stat().st_mtime_ns != time]
    assert changed == [output / "000.png"]
    assert rows(output)["000.png"]["height"] == 60
    assert_one_line_error(batch(*command, "--format", "webp"), "results of another job (options")


@pytest.mark.usefixtures("one_model")
def test_both_forms_of_the_output_are_the_same_job(batch, small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 2)
    old = batch(source, "--model", small_run, output)
    assert old.stdout.startswith("2 images upscaled"), old.stderr
    new = batch(source, "--model", small_run, "--output", output)
    assert new.stdout.startswith("0 images upscaled in 0.0 s (0 images/s), 2 already existed")


@pytest.mark.usefixtures("one_model")
def test_images_above_the_limit_of_pixels_succeed_with_a_higher_one(batch, small_run, tmp_path):
    source = tmp_path / "in"
    fill_folder(source, 2)
    command = source, "--output", tmp_path / "out", "--model", small_run
    result = batch(*command, "--max-megapixels", "0.0005")
    assert result.returncode == 1
    assert "failed: below/001.png: declares 25x21 pixels" in result.stderr
    result = batch(*command, "--max-megapixels", "1")
    assert result.returncode == 0, result.stderr
    assert "1 images upscaled" in result.stdout


@pytest.mark.usefixtures("one_model")
def test_a_folder_that_cannot_be_listed_is_a_failure(batch, small_run, tmp_path, monkeypatch):
    source = tmp_path / "in"
    fill_folder(source, 2)
    original = Storage._list

    def listing(storage, folder, skipped):
        if folder.endswith("below"):
            skipped.add_unlisted(folder, PermissionError(13, "Permission denied"))
            return []
        return original(storage, folder, skipped)

    monkeypatch.setattr(Storage, "_list", listing)
    for count in (1, 0):  # again, when everything else is done
        result = batch(source, "--output", tmp_path / "out", "--model", small_run)
        assert result.returncode == 1
        assert result.stderr == (
            f"failed: {source}/below: cannot be listed (Permission denied): check its permissions\n"
        )
        assert result.stdout.startswith(f"{count} images upscaled")


@pytest.mark.usefixtures("one_model")
def test_what_stops_the_job_is_one_line(batch, small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 4)
    (output / "000.png").mkdir(parents=True)
    command = source, "--output", output, "--model", small_run
    assert_one_line_error(batch(*command), "holds other files, such as 000.png", "(--overwrite)")
    result = batch(*command, "--overwrite")
    assert_one_line_error(result, "000.png")
    assert "holds other files" not in result.stderr


@pytest.mark.usefixtures("one_model")
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["empty", "--output", "out"], "holds no image"),
        (["none", "--output", "out"], "no such folder"),
        (["empty", "--output", "empty"], "holds the input"),
        (["empty", "--output", "."], "holds the input"),
        (["full", "--output", "out", "--actors", "1000"], "use fewer (--actors)"),
        (["full", "--output", "out", "--address", "ray://a:1"], "ray job submit (--address)"),
        (["empty", "--output", "out", "--actors", "0"], "--actors 0"),
        (["empty", "--output", "out", "out"], "expected one output"),
        (["empty"], "the output is missing: add --output OUTPUT"),
    ],
)
def test_bad_input_is_one_line(arguments, part, batch, small_run, tmp_path):
    (tmp_path / "empty").mkdir()
    fill_folder(tmp_path / "full", 1)
    places = "empty", "full", "none", "out", "."
    arguments = [tmp_path / a if a in places else a for a in arguments]
    result = batch(*arguments, "--model", small_run)
    assert_one_line_error(result, part)


def test_a_model_of_measurements_is_one_line(batch, model, tmp_path, monkeypatch):
    measuring = KerasUpscaler(replace(model.networks, value_range=ValueRange((0.0,), (4000.0,))))
    monkeypatch.setattr("udl_tf.saved.loading.load_upscaler", lambda path, dtype: measuring)
    result = batch(tmp_path, "--output", tmp_path / "out", "--model", "stub")
    assert_one_line_error(result, "stub: is a model of measurements with the value range [0.0, 40")


def test_a_line_of_progress_is_printed_every_ten_seconds(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(batch_module.time, "monotonic", lambda: now)
    progress = batch_module._Progress()
    for done in range(1, 51):
        now += 0.5
        progress(done, None, "1 failed")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["21 images done, 2 images/s, 1 failed", "42 images done, 2 images/s, 1 failed"]
