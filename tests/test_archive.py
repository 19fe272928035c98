"""Archives through Ray, with real processes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, assert_one_line_error, noise_image, run_module
from PIL import Image

from udl_tf import bundle
from udl_tf.archive import job as job_module
from udl_tf.archive import manifest
from udl_tf.archive import worker as worker_module
from udl_tf.archive.storage import Entry, Storage
from udl_tf.archive.worker import Work, Worker
from udl_tf.errors import UserError
from udl_tf.image_io import read_rgb, write_image
from udl_tf.jobs import Job, Options

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def fill(folder, count, suffix=".png"):
    """Pictures of different sizes, every other one in a folder below."""
    for index in range(count):
        place = folder / ("below" if index % 2 else "") / f"{index:03}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_image(place, noise_image(20 + index % 7, 24 + index % 5, index))


def batch(*arguments):
    return run_module("udl_tf.batch", *arguments)


def rows(output):
    table = pq.read_table(output / manifest.FILE)
    return {row["source"]: row for row in table.to_pylist()}


def test_an_archive_becomes_pictures_and_a_manifest(small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill(source, 10)
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
    model = bundle.load(small_run)
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
    write_image(source / "000.png", noise_image(30, 30, 99))
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
    fill(source, 120)
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
    fill(source, 120)
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


@pytest.fixture
def work(small_run, tmp_path):
    fill(tmp_path / "in", 4)
    uris = str(tmp_path / "in"), str(tmp_path / "out")
    return Work(*uris, str(small_run), "float32", Options(theta=True), threads=2, cores=1)


def table(work):
    entries = Storage(work.input).pictures(Storage(work.output))
    columns = zip(*((e.name, e.size, e.modified) for e in entries), strict=True)
    return manifest.pa.table(dict(zip(manifest.IDENTITY, columns, strict=True)))


class Killed(BaseException):
    """As if the process were no more."""


def test_a_picture_that_ends_its_process_becomes_a_row(work, monkeypatch, tmp_path):
    def make(model, photo, options, original=worker_module.make_picture):
        if photo.pixels.shape[0] == 21:  # below/001.png
            raise Killed
        return original(model, photo, options)

    monkeypatch.setattr(worker_module, "make_picture", make)
    for _ in range(3):
        with pytest.raises(Killed):
            Worker(work)(table(work))
    made = {row["source"]: row for row in Worker(work)(table(work)).to_pylist()}
    assert made.pop("below/001.png")["error"].startswith("ended the process that made it")
    assert [row["error"] for row in made.values()] == [None] * 3
    assert not list((tmp_path / "out" / manifest.FOLDER).glob("trying-*"))


def test_a_model_that_ends_its_process_ends_the_job(work, monkeypatch, tmp_path):
    def load(path, policy):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(worker_module, "load_in", load)
        for _ in range(5):
            with pytest.raises(Killed):
                Worker(work)(table(work))
        with pytest.raises(UserError, match=r"actors end before .* take fewer --actors"):
            Worker(work)(table(work))
    made = Worker(work)(table(work))
    assert made["error"].null_count == 4


def test_what_makes_all_pictures_fail_ends_the_job(work, monkeypatch, tmp_path):
    fill(tmp_path / "in", 16)
    (tmp_path / "in" / "016.png").write_bytes(b"a bad picture is its own fault")

    def make(model, photo, options):
        raise RuntimeError("no such device")

    monkeypatch.setattr(worker_module, "make_picture", make)
    pictures = table(work)
    errors = Worker(work)(pictures)["error"].to_pylist()
    assert errors.count("RuntimeError: no such device") == 16
    (tmp_path / "in" / "016.png").unlink()
    pictures = table(work)
    with pytest.raises(UserError, match=r"16 pictures .*\(RuntimeError\('no such device'\)\)"):
        Worker(work)(pictures)
    assert len(list((tmp_path / "out" / manifest.FOLDER).iterdir())) == 1  # of the first time


def test_the_limit_of_pixels_is_each_actors(work, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    alone = replace(work, max_pixels=500, threads=1)  # threads share warnings
    errors = Worker(alone)(table(work))["error"]
    assert errors.null_count == 1  # 20x24
    assert "allows 0 megapixels: raise --max-megapixels" in errors[1].as_py()


def test_all_machines_have_the_same_folders(work, tmp_path):
    actor = job_module._Actor(work)
    (row,) = actor(table(work)).to_pylist()
    assert "is another folder: take one that all machines of the cluster share" in row["error"]
    Storage(work.output).write("job.json", b"{}")
    assert actor(table(work))["error"].null_count == 4
    gone = job_module._Actor(replace(work, input=str(tmp_path / "elsewhere")))
    (row,) = gone(table(work)).to_pylist()
    assert "elsewhere: no such folder" in row["error"]


def test_an_output_that_cannot_be_written_ends_the_job(work, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000.png").mkdir()
    with pytest.raises(OSError, match=r"out/000\.png"):
        Worker(work)(table(work))


def test_what_ends_the_job_is_one_line(small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill(source, 4)
    (output / "000.png").mkdir(parents=True)
    result = batch(source, output, "--model", small_run)
    assert_one_line_error(result, "000.png")
    assert not list(output.rglob(".*.part"))


def test_large_pictures_are_made_one_by_one(work, monkeypatch):
    worker = Worker(work)
    job = Job(Path(work.input) / "000.png", Path(work.output) / "000.png", {})
    needed = 20 * 24 * 2**2 * (4 + 12)
    for free, waits in ((needed * work.threads, False), (needed * work.threads - 1, True)):
        monkeypatch.setattr(worker_module, "free_memory", lambda free=free: free)
        assert (worker._room_for(job) is worker.room) == waits


@pytest.mark.parametrize(
    ("nodes", "actors", "expected"),
    [
        ([(16, 0)], None, (1, 16, 0.0)),
        ([(16, 0)], 3, (3, 5, 0.0)),
        ([(0, 0), (8, 0), (8, 0)], None, (2, 8, 0.0)),  # a head that does no work
        ([(64, 0), (16, 4)], None, (4, 4, 1.0)),
        ([(16, 2)], 3, (3, 5, 0.5)),
        ([(64, 0), (8, 1), (8, 2)], None, (3, 4, 1.0)),
    ],
)
def test_actors_have_what_machines_have_room_for(nodes, actors, expected, monkeypatch):
    found = [{"Alive": True, "Resources": {"CPU": cpu, "GPU": gpu}} for cpu, gpu in nodes]
    monkeypatch.setattr(job_module.ray, "nodes", lambda: found)
    assert job_module._share(actors) == expected
    with pytest.raises(UserError, match="--actors 1000: no room for them on machines of"):
        job_module._share(1000)


def test_maps_formats_and_names(work, tmp_path):
    write_image(tmp_path / "in" / "000.bmp", noise_image(20, 24))
    options = Options(format="webp", uncertainty="npy")
    worker = Worker(replace(work, policy="mixed_bfloat16", options=options))
    made = {row["source"]: row for row in worker(table(work)).to_pylist()}
    assert made["000.png"]["output"] == "000.png.webp"
    assert made["000.bmp"]["output"] == "000.bmp.webp"
    assert made["below/001.png"]["uncertainty"] == "below/001.png.webp_theta.npy"
    theta = np.load(tmp_path / "out" / "below" / "001.png.webp_theta.npy")
    assert theta.mean() == pytest.approx(made["below/001.png"]["mean_theta"], rel=1e-5)


@pytest.mark.parametrize("kind", ["same", "png", "jpg"])
def test_no_two_pictures_have_one_result(kind):
    names = [
        "a.gif",
        "a.gif.png",
        "a.gif.png.png",
        "a.png",
        "a.jpg",
        "a.jpg.png",
        "a.png.jpg",
        "a.png_theta.png",
        "a.png.png_theta.png",
        "a.png_theta.png.png",
        "A.PNG",
        "a.b.png",
    ]
    outputs = [worker_module._output_name(PurePosixPath(name), kind).name for name in names]
    maps = [f"{output}_theta.png" for output in outputs]
    assert len({*outputs, *maps}) == 2 * len(names)
    usual = {
        "same": ["a.gif.png", "a.png", "a.jpg", "A.PNG", "a.b.png"],
        "png": ["a.gif.png", "a.png", "a.jpg.png", "A.PNG.png", "a.b.png"],
        "jpg": ["a.gif.jpg", "a.png.jpg", "a.jpg", "A.PNG.jpg", "a.b.png.jpg"],
    }
    found = dict(zip(names, outputs, strict=True))
    assert [found[n] for n in ("a.gif", "a.png", "a.jpg", "A.PNG", "a.b.png")] == usual[kind]


def test_an_archive_is_listed_without_what_is_hidden_or_a_result(tmp_path):
    fill(tmp_path, 3)
    fill(tmp_path / "out", 3)
    fill(tmp_path / ".cache", 1)
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "below" / "again").symlink_to(tmp_path)
    found = list(Storage(str(tmp_path)).pictures(Storage(str(tmp_path / "out"))))
    assert [entry.name for entry in found] == ["000.png", "002.png", "below/001.png"]
    assert found[0].size == (tmp_path / "000.png").stat().st_size
    with pytest.raises(UserError, match="nowhere: no such folder"):
        list(Storage(str(tmp_path / "nowhere")).pictures(Storage(str(tmp_path))))
    with pytest.raises(UserError, match="nonsense://x: cannot be opened"):
        Storage("nonsense://x")


def test_names_that_are_no_text_become_rows(work, tmp_path):
    for name in (b"caf\xe9.png", b"caf\xe9.txt"):
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(b"")
    (tmp_path / "in" / os.fsdecode(b"\xe9t\xe9")).mkdir()
    made = {row["source"]: row["error"] for row in Worker(work)(table(work)).to_pylist()}
    assert len(made) == 6
    assert made["caf\\xe9.png"] == made["\\xe9t\\xe9"] == "is gone, or its name is no UTF-8"
    assert made["000.png"] is None


def test_a_changed_model_is_another_one(work, small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    work, output = replace(work, model=str(run)), Storage(work.output)
    settings = job_module._settings(work, Storage(work.input))
    output.write("job.json", json.dumps(settings).encode())
    job_module._check_owner(output, job_module._settings(work, Storage(work.input)))
    (run / "model.json").write_text((run / "model.json").read_text() + " ")
    with pytest.raises(UserError, match=r"another job \(fingerprint of the model is"):
        job_module._check_owner(output, job_module._settings(work, Storage(work.input)))


def test_keys_in_a_uri_are_not_shown():
    storage = Storage("s3://KEY:SECRET@bucket/photos?region=eu-central-1")
    assert storage.place == "s3://bucket/photos"


def test_the_newest_row_of_a_picture_counts(tmp_path):
    storage = Storage(str(tmp_path))
    first = {"source": "a.png", "source_bytes": 5, "source_modified": NOW, "finished": NOW}
    manifest.write_part(storage, "1", [first | {"error": "broken"}])
    assert Entry("a.png", 5, NOW) not in manifest.Done(manifest.gather(storage))
    later = NOW.replace(year=2027)
    manifest.write_part(storage, "2", [first | {"output": "a.png", "finished": later}])
    for _ in range(2):
        table = manifest.gather(storage)
        (row,) = table.to_pylist()
        assert (row["output"], row["error"]) == ("a.png", None)
        done = manifest.Done(table)
        assert Entry("a.png", 5, NOW) in done
        assert Entry("a.png", 6, NOW) not in done
        assert Entry("a.png", 5, later) not in done
    manifest.write_part(storage, "3", [first | {"source": "b.png", "error": "broken"}])
    assert len(manifest.gather(storage)) == 2
    assert len(manifest.gather(storage, errors=False)) == len(manifest.gather(storage)) == 1
    assert os.listdir(tmp_path / manifest.FOLDER) == []
    assert manifest.gather(Storage(str(tmp_path / "new"))).num_rows == 0


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
