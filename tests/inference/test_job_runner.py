import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.images import noise_image
from helpers.models import transparent_model
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging.image_files import ImageFile
from udl_tf.inference import job_runner
from udl_tf.inference.job_runner import needed_memory, read_job, run_jobs, upscale_file
from udl_tf.inference.jobs import Options, plan_jobs
from udl_tf.inference.passes import Pass
from udl_tf.inference.upscaler import Upscaler


@pytest.fixture(scope="module")
def model():
    return transparent_model(2)


def write_file(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise_image(6, 8, seed)).save(path)
    return path


def test_a_file_given_by_name_may_have_any_suffix(model, tmp_path):
    write_file(tmp_path / "a.png").rename(tmp_path / "image.dat")
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
    jobs = plan_jobs([write_file(tmp_path / "a.png")], tmp_path / "out", options)
    summary = run_jobs(model, jobs, options)
    assert summary.failed == []
    assert np.asarray(Image.open(tmp_path / "out/a.png")).shape[:2] == size
    for name in ("theta", "spread", "total"):
        assert np.load(tmp_path / f"out/a_{name}.npy").shape == (*size, 3)


def test_no_jobs_are_no_error(model):
    assert run_jobs(model, [], Options()).done == 0


def test_a_tiff_that_pillow_cannot_read_is_upscaled_or_reported(model, tmp_path):
    pixels = noise_image(6, 8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="jpegxl")
    tifffile.imwrite(tmp_path / "b.tif", pixels.astype(np.float32), photometric="rgb")
    jobs = plan_jobs([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out", Options())
    summary = run_jobs(model, jobs, Options())
    assert summary.done == 1
    assert "b.tif: float32 pixels" in str(summary.failed[0])


def test_a_bad_file_is_one_line_and_the_others_are_upscaled(model, tmp_path):
    for index in range(4):
        write_file(tmp_path / f"in/{index}.png", index)
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


def test_progress_covers_all_files_including_those_that_fail(model, tmp_path):
    for index in range(3):
        write_file(tmp_path / f"in/{index}.png", index)
    broken = tmp_path / "in/2.png"  # the last one, whose header is intact
    broken.write_bytes(broken.read_bytes()[:60])
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    reports = []
    summary = run_jobs(model, jobs, Options(tile=4), lambda *report: reports.append(report))
    assert len(summary.failed) == 1
    done = [report[0] for report in reports]
    assert done == sorted(done)
    assert {report[1] for report in reports} == {3 * 6 * 8}
    assert [report[2] for report in reports] == sorted(report[2] for report in reports)
    assert {report[2] for report in reports} == {"0.png", "1.png", "2.png"}
    assert reports[-1] == (3 * 6 * 8, 3 * 6 * 8, "2.png")
    first = [report[0] for report in reports if report[2] == "0.png"]
    assert 0 == first[0] < first[1] < first[-1] == 6 * 8


def test_an_output_that_cannot_be_written_is_one_line_too(model, tmp_path):
    write_file(tmp_path / "in/a.png")
    (tmp_path / "out").write_text("a file where the folder should be")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    summary = run_jobs(model, jobs, Options())
    assert summary.done == 0
    assert "a.png: FileExistsError" in str(summary.failed[0])


@pytest.mark.parametrize(
    ("free", "options"), [(700, Options()), (50_000, Options(outscale=100))], ids=["x2", "x100"]
)
def test_results_larger_than_the_memory_are_refused_before_decoding(
    tmp_path, monkeypatch, free, options
):
    path = write_file(tmp_path / "a.png")
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": free}))
    monkeypatch.setattr(job_runner, "read_image", None)
    (job,) = plan_jobs([path], tmp_path / "out", options)
    with pytest.raises(UserError, match=r"8x6 pixels; the result needs 0\.0 GB of memory, 0\.0 GB"):
        read_job(job, 2, options)


class Repeating(Upscaler):
    """Repeats pixels, in bands of four rows, without memory of its own worth mentioning."""

    calibration = None
    has_uncertainty = True
    radius = 0

    def __init__(self, scale: int):
        self.scale = scale

    def _passes(self, uncertainty, bordered=False):
        return [Pass(self, ("sr", "log_scale") if uncertainty else ("sr",))]

    def _theta_of(self, log_scale):
        return np.exp(log_scale / 100)

    def run(self, lr, tile=None, budget=None):
        for top in range(0, len(lr), 4):
            band = lr[top : top + 4].repeat(self.scale, axis=0).repeat(self.scale, axis=1)
            rows = slice(top * self.scale, top * self.scale + len(band))
            yield (rows, slice(0, band.shape[1])), np.concatenate([band, band], axis=-1)


def peak_memory(scale: int, image: np.ndarray, options: Options) -> int:
    """Bytes that upscaling allocates, as Python counts them (NumPy's arrays), and the image's."""
    tracemalloc.start()
    try:
        upscale_file(Repeating(scale), ImageFile(image), options)
        return tracemalloc.get_traced_memory()[1] + image.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(theta=True),
        Options(self_ensemble=True),
        Options(theta=True, ensemble=True),
    ],
    ids=["plain", "theta", "ensemble", "theta+ensemble"],
)
def test_needed_memory_is_what_is_allocated(scale, options):
    height, width = 2000 // scale, 320 // scale  # tall: temporary bands of rows count for little
    peak = peak_memory(scale, noise_image(height, width), options)
    assert needed_memory(height, width, scale, options) == pytest.approx(peak, rel=0.2)


@pytest.mark.parametrize("theta", [False, True])
def test_needed_memory_includes_resizing(theta):
    """Roughly: the temporary bands of bicubic interpolation count for more in a small image."""
    options = Options(theta=theta, outscale=8)
    peak = peak_memory(2, noise_image(200, 200), options)
    needed = needed_memory(200, 200, 2, options)
    assert needed == pytest.approx(peak, rel=0.4)
    assert needed > 3 * needed_memory(200, 200, 2, Options(theta=theta))


def test_reading_computing_and_writing_overlap(model, tmp_path, monkeypatch):
    """All three are busy at the same time at some moment."""
    for index in range(5):
        write_file(tmp_path / f"in/{index}.png", index)
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

        monkeypatch.setattr(job_runner, name, call)

    for name in ("read_image", "upscale_file", "write_image"):
        slowed(name, getattr(job_runner, name))
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    assert run_jobs(model, jobs, Options()).done == 5
    assert max(most) == 3
