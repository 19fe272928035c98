"""Archives through Ray, with real processes."""

import hashlib
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from helpers.commands import ROOT, assert_one_line_error, run_command
from helpers.images import fill_folder, noise_image

from udl_tf.archive import manifest
from udl_tf.imaging.rgb_files import read_rgb, write_rgb
from udl_tf.saved.loading import load


def batch(*arguments):
    return run_command("batch", *arguments)


def rows(output):
    table = pq.read_table(output / manifest.FILE)
    return {row["source"]: row for row in table.to_pylist()}


def test_an_archive_becomes_pictures_and_a_manifest(small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 10)
    (source / "bad.jpg").write_bytes(b"no picture")
    (source / "notes.txt").write_text("none either")
    command = source, output, "--model", small_run
    result = batch(*command)
    assert result.returncode == 1, result.stderr
    assert "failed: bad.jpg: not an image" in result.stderr
    assert result.stdout.startswith("10 pictures upscaled in")
    made = rows(output)
    assert len(made) == 11
    assert made["bad.jpg"]["output"] is None
    model = load(small_run)
    for name, row in made.items():
        if row["error"] is None:
            expected = model.upscale(read_rgb(source / name))
            found = read_rgb(output / row["output"])
            assert np.abs(found.astype(int) - expected.image).max() <= 1
            assert (row["height"], row["width"]) == found.shape[:2]
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
    assert result.stdout.startswith("1 pictures upscaled")
    assert "9 were there, 0 failed" in result.stdout
    changed = [path for path, time in written.items() if path.stat().st_mtime_ns != time]
    assert changed == [output / "000.png"]
    assert rows(output)["000.png"]["height"] == 60
    assert_one_line_error(batch(*command, "--format", "webp"), "results of another job (options")


def actors(process):
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.cmdline()[0].startswith("ray::MapWorker"):
                found.append(child)
        except (psutil.Error, IndexError):
            pass
    return found


def test_an_actor_killed_and_a_crash_of_ray_lose_nothing(small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 120)
    command = [sys.executable, "-m", "udl_tf.batch", source, output, "--model", small_run]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen([*command, "--threads", "1", "--actors", "2"], cwd=ROOT, **pipes)
    try:
        until = time.monotonic() + 120
        while len(list(output.rglob("0*.png"))) < 5:
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)
        actors(job)[0].kill()
        made = len(list(output.rglob("0*.png")))
        while len(list(output.rglob("0*.png"))) < made + 5:
            assert time.monotonic() < until
            time.sleep(0.02)
        (driver,) = psutil.Process(job.pid).children()
        driver.send_signal(signal.SIGABRT)
        _, error = job.communicate(timeout=180)
    finally:
        job.kill()
    assert job.returncode == 0, error
    assert "Ray crashed (SIGABRT): going on" in error
    made = rows(output)
    assert len(made) == 120
    assert all(row["error"] is None for row in made.values())
    for name, row in made.items():
        checksum = hashlib.sha256((output / row["output"]).read_bytes()).hexdigest()
        assert checksum == row["output_sha256"], name
    assert [path.name for path in output.rglob(".*")] == [manifest.FOLDER]


def test_a_job_ends_with_who_asks_and_with_who_watches(small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 120)
    command = [sys.executable, "-m", "udl_tf.batch", source, output, "--model", small_run]
    for number, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
        made = len(list(output.rglob("0*.png")))
        watcher = subprocess.Popen(
            [*command, "--threads", "1"], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        try:
            until = time.monotonic() + 120
            while len(list(output.rglob("0*.png"))) < made + 5:
                assert watcher.poll() is None, watcher.communicate()
                assert time.monotonic() < until
                time.sleep(0.02)
            (driver,) = psutil.Process(watcher.pid).children()
            watcher.send_signal(number)
            driver.wait(timeout=60)
            _, error = watcher.communicate(timeout=60)
        finally:
            watcher.kill()
        assert watcher.returncode == code
        assert "stopped: the same command makes what is not there yet" in error
        assert len(list(output.rglob("0*.png"))) < 100


def test_what_ends_the_job_is_one_line(small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 4)
    (output / "000.png").mkdir(parents=True)
    result = batch(source, output, "--model", small_run)
    assert_one_line_error(result, "000.png")
    assert not list(output.rglob(".*.part"))


def test_bad_input_is_one_line(small_run, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, part in (
        ((tmp_path / "empty", tmp_path / "out"), "holds no picture"),
        ((tmp_path / "none", tmp_path / "out"), "no such folder"),
        ((tmp_path / "empty", tmp_path / "empty"), "holds the input"),
        ((tmp_path / "empty", tmp_path), "holds the input"),
        ((ROOT / "docs", tmp_path / "out", "--address", "ray://a:1"), "expected HOST:PORT"),
        ((tmp_path / "empty", tmp_path / "out", "--actors", "0"), "--actors 0"),
    ):
        assert_one_line_error(batch(*arguments, "--model", small_run), part)
