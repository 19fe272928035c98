import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.images import noise_image
from helpers.models import transparent_model
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.inference.job_runner import run_jobs
from udl_tf.inference.jobs import Options, plan_jobs


def make(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise_image(6, 8, seed)).save(path)
    return path


def names(jobs, output: Path) -> list[str]:
    return [str(target.relative_to(output)) for job in jobs for target in job.targets]


def test_folders_keep_their_structure_and_hidden_and_other_files_stay_out(tmp_path):
    for name in ("in/a.png", "in/sub/b.jpg", "in/sub/deep/c.gif", "in/.hidden/d.png", "in/.e.png"):
        make(tmp_path / name)
    (tmp_path / "in/notes.txt").write_text("hello")
    output = tmp_path / "out"
    jobs = plan_jobs([tmp_path / "in"], output, Options())
    assert names(jobs, output) == ["a.png", "sub/b.jpg", "sub/deep/c.png"]
    jobs = plan_jobs([tmp_path / "in"], output, Options(format="webp", uncertainty="npy"))
    assert names(jobs, output)[:2] == ["a.webp", "a_theta.npy"]
    maps = plan_jobs([tmp_path / "in/a.png"], output, Options(uncertainty="png", ensemble=True))
    assert names(maps, output) == ["a.png", "a_theta.png", "a_spread.png", "a_total.png"]


def test_a_file_given_by_name_may_have_any_suffix(tmp_path):
    make(tmp_path / "a.png").rename(tmp_path / "picture.dat")
    jobs = plan_jobs([tmp_path / "picture.dat"], tmp_path / "out", Options())
    assert names(jobs, tmp_path / "out") == ["picture.png"]
    assert run_jobs(transparent_model(2), jobs, Options()).done == 1


def test_results_of_one_name(tmp_path):
    make(tmp_path / "in/a.png")
    make(tmp_path / "in/a.jpg")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options(format="png"))
    assert names(jobs, tmp_path / "out") == ["a.jpg.png", "a.png.png"]
    maps = plan_jobs([tmp_path / "in"], tmp_path / "out", Options(uncertainty="npy"))
    assert names(maps, tmp_path / "out") == [
        "a.jpg.jpg", "a.jpg_theta.npy", "a.png.png", "a.png_theta.npy"]  # fmt: skip
    other = make(tmp_path / "other/a.png")
    with pytest.raises(UserError, match=r"would both become .*a\.png"):
        plan_jobs([tmp_path / "in/a.png", other], tmp_path / "out", Options())
    # The same file twice is one job.
    assert len(plan_jobs([other, other], tmp_path / "out", Options())) == 1


def test_inputs_are_never_replaced_and_results_never_upscaled_again(tmp_path):
    make(tmp_path / "a.png")
    with pytest.raises(UserError, match="would replace an input"):
        plan_jobs([tmp_path / "a.png"], tmp_path, Options())
    make(tmp_path / "out/a.png")
    jobs = plan_jobs([tmp_path], tmp_path / "out", Options())
    assert [job.source.name for job in jobs] == ["a.png"]
    assert jobs[0].source.parent == tmp_path


def test_missing_inputs_and_empty_folders_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        plan_jobs([tmp_path / "gone"], tmp_path / "out", Options())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no picture"):
        plan_jobs([tmp_path / "empty"], tmp_path / "out", Options())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (Options(), (12, 16)),
        (Options(outscale=2.5), (15, 20)),
        (Options(outscale=0.1), (1, 1)),
        (Options(size=(9, 30)), (30, 9)),
    ],
)
def test_sizes(tmp_path, options, size):
    options = Options(**{**options.__dict__, "uncertainty": "npy", "ensemble": True})
    jobs = plan_jobs([make(tmp_path / "a.png")], tmp_path / "out", options)
    summary = run_jobs(transparent_model(2), jobs, options)
    assert summary.failed == []
    assert np.asarray(Image.open(tmp_path / "out/a.png")).shape[:2] == size
    for name in ("theta", "spread", "total"):
        assert np.load(tmp_path / f"out/a_{name}.npy").shape == (*size, 3)


def test_no_job_is_no_error():
    assert run_jobs(transparent_model(2), [], Options()).done == 0


def test_a_tiff_that_pillow_does_not_know_is_made_or_told_rightly(tmp_path):
    pixels = noise_image(6, 8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="jpegxl")
    tifffile.imwrite(tmp_path / "b.tif", pixels.astype(np.float32), photometric="rgb")
    jobs = plan_jobs([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out", Options())
    summary = run_jobs(transparent_model(2), jobs, Options())
    assert summary.done == 1
    assert "b.tif: float32 pixels" in summary.failed[0]


def test_a_bad_file_is_a_line_and_the_others_are_made(tmp_path):
    for index in range(4):
        make(tmp_path / f"in/{index}.png", index)
    (tmp_path / "in/1.png").write_bytes(b"broken")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    told = []
    summary = run_jobs(
        transparent_model(2), jobs, Options(), lambda job, share: told.append((job, share))
    )
    assert summary.done == 3
    assert len(summary.failed) == 1
    assert "1.png: not an image" in summary.failed[0]
    assert summary.pixels == 3 * 12 * 16
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.png", "2.png", "3.png"]
    for index in (0, 2, 3):
        made = np.asarray(Image.open(tmp_path / f"out/{index}.png"))
        expected = noise_image(6, 8, index).repeat(2, axis=0).repeat(2, axis=1)
        assert np.array_equal(made, expected)
        shares = [share for job, share in told if job.source.name == f"{index}.png"]
        assert sum(shares) == pytest.approx(1.0)


def test_an_output_that_cannot_be_written_is_a_line_too(tmp_path):
    make(tmp_path / "in/a.png")
    (tmp_path / "out").write_text("a file where the folder should be")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    summary = run_jobs(transparent_model(2), jobs, Options())
    assert summary.done == 0
    assert "a.png: FileExistsError" in summary.failed[0]


def test_what_memory_cannot_hold_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = make(tmp_path / "a.png")
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 700}))
    jobs = plan_jobs([path], tmp_path / "out", Options())
    summary = run_jobs(transparent_model(2), jobs, Options())
    assert "8x6 pixels; x2 needs 0 GB of memory and 0 GB are free" in summary.failed[0]


def test_reading_computing_and_writing_overlap(tmp_path, monkeypatch):
    """With 0.1 s for each of the three, eight pictures take far less than 2.4 s."""
    for index in range(8):
        make(tmp_path / f"in/{index}.png", index)
    busy, most, lock = set(), [], threading.Lock()

    def slowed(name, function):
        def call(*arguments, **options):
            with lock:
                busy.add(name)
                most.append(len(busy))
            time.sleep(0.1)
            result = function(*arguments, **options)
            with lock:
                busy.discard(name)
            return result

        monkeypatch.setattr(f"udl_tf.inference.job_runner.{name}", call)

    import udl_tf.inference.job_runner

    for name in ("read_image", "make_picture", "write_image"):
        slowed(name, getattr(udl_tf.inference.job_runner, name))
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    model = transparent_model(2)
    model.upscale(noise_image(6, 8))
    assert run_jobs(model, jobs, Options()).done == 8
    assert max(most) == 3
