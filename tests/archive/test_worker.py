"""What an actor of an archive's job does, in this process: pictures, faults, names of results."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from helpers.images import fill_folder, noise_image
from PIL import Image

from udl_tf.archive import job as job_module
from udl_tf.archive import manifest
from udl_tf.archive import worker as worker_module
from udl_tf.archive.storage import Storage
from udl_tf.archive.worker import Work, Worker
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.inference.jobs import Job, Options


@pytest.fixture
def work(small_run, tmp_path):
    fill_folder(tmp_path / "in", 4)
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
    fill_folder(tmp_path / "in", 16)
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
    write_rgb(tmp_path / "in" / "000.bmp", noise_image(20, 24))
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
