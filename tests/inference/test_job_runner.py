import signal
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.images import noise_image
from helpers.models import transparent_model
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging.image_files import ImageFile, read_image
from udl_tf.inference import job_runner
from udl_tf.inference.job_runner import needed_memory, read_job, run_jobs, upscale_file
from udl_tf.inference.jobs import Job, Options, plan_jobs
from udl_tf.inference.passes import Pass
from udl_tf.inference.tiling import OUT_OF_MEMORY
from udl_tf.inference.upscaler import Upscaler
from udl_tf.saved.loading import load


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
    assert {report[2] for report in reports} == {"0.png", "1.png", "2.png"}
    assert reports[0][0] == 0
    assert reports[-1][0] == 3 * 6 * 8
    assert len(set(done)) > 1 + 3  # tiles are reported too


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

    def run(self, lr, tile=None, budget=None, notes=None):
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


@pytest.mark.parametrize("thread_safe", [False, True])
def test_reading_computing_and_writing_overlap(tmp_path, monkeypatch, thread_safe):
    """All three at some moment, and only a thread-safe model computes several images at once."""
    for index in range(6):
        write_file(tmp_path / f"in/{index}.png", index)
    busy, seen, lock = Counter(), [], threading.Lock()

    def slowed(name, function):
        def call(*arguments, **options):
            with lock:
                busy[name] += 1
                seen.append(+busy)
            time.sleep(0.1)
            result = function(*arguments, **options)
            with lock:
                busy[name] -= 1
            return result

        monkeypatch.setattr(job_runner, name, call)

    names = ("read_image", "upscale_file", "write_image")
    for name in names:
        slowed(name, getattr(job_runner, name))
    model = Repeating(2)
    model.thread_safe = thread_safe
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    assert run_jobs(model, jobs, Options()).done == 6
    computed = max(counts["upscale_file"] for counts in seen)
    if thread_safe:
        assert computed > 1
    else:
        assert computed == 1
        assert max(len(counts) for counts in seen) == 3


class Scripted(Repeating):
    """A thread-safe Repeating with an event for each image, by its height, before it computes."""

    thread_safe = True

    def __init__(self):
        super().__init__(2)
        self.at_work, self.most, self.before = set(), [], {}

    def upscale(self, image, **options):
        height = len(image)
        self.at_work.add(height)
        self.most.append(len(self.at_work))
        self.before.get(height, lambda: None)()
        try:
            return super().upscale(image, **options)
        finally:
            self.at_work.discard(height)


def rows_of_images(folder: Path, heights: Sequence[int]) -> list[Job]:
    folder.mkdir()
    for index, height in enumerate(heights):
        Image.fromarray(noise_image(height, 8, index)).save(folder / f"{index}.png")
    return plan_jobs([folder], folder.with_name("out"), Options())


def test_outcomes_have_the_order_of_the_jobs(tmp_path):
    """Although the first image is the last to be ready; its failure stops no other."""
    jobs, model, others = rows_of_images(tmp_path / "in", [6, 7, 8, 9]), Scripted(), []

    def wait():
        while len(others) < 3:
            time.sleep(0.01)
        raise ValueError("broken")

    model.before = {6: wait, 7: lambda: others.append(7), 8: lambda: others.append(8)}
    model.before[9] = lambda: others.append(9) or {}["gone"]
    summary = run_jobs(model, jobs, Options())
    assert summary.done == 2
    assert [str(error).rpartition("/")[2] for error in summary.failed] == [
        "0.png: ValueError: broken",
        "3.png: KeyError: 'gone'",
    ]
    assert summary.first is not None


@pytest.mark.parametrize("free", [1e9, 1e5, 1])
def test_images_at_a_time_fit_into_half_of_the_free_memory(tmp_path, monkeypatch, free):
    jobs, model = rows_of_images(tmp_path / "in", range(20, 26)), Scripted()
    model.before = dict.fromkeys(range(20, 26), lambda: time.sleep(0.2))
    monkeypatch.setattr(job_runner, "free_memory", lambda: free)
    monkeypatch.setattr(job_runner, "read_job", lambda job, *rest: read_image(job.source))
    assert run_jobs(model, jobs, Options()).done == 6
    one = needed_memory(22, 8, 2, Options())  # 19 kB
    assert max(model.most) == min(6, max(1, int(free / 2 / one)))


def test_an_interruption_stops_the_images_in_progress_at_their_next_tile(tmp_path):
    jobs, model, tiles = rows_of_images(tmp_path / "in", [400, 8]), Scripted(), []

    def run(lr, tile=None, budget=None, notes=None):
        for part in Repeating.run(model, lr):
            tiles.append(part)
            time.sleep(0.02)
            yield part

    def progress(done, total, label=""):
        if len(tiles) == 3:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    model.run = run
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background: ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            run_jobs(model, jobs, Options(), progress)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(tiles) < 80  # of 106
    assert not (tmp_path / "out/0.png").exists()


def test_small_images_share_batches_and_keep_their_results(small_run, tmp_path):
    """Within a rounding of those computed alone: batches change the last bits of float32."""
    model = load(small_run)
    for index in range(40):
        write_file(tmp_path / f"in/{index:02}.png", index)
    options = Options(uncertainty="npy")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", options)
    summary = run_jobs(model, jobs, options)
    assert (summary.done, summary.failed) == (40, [])
    for pass_ in model._passes(True, bordered=True):
        assert pass_.runner.batches.windows == 40
        assert pass_.runner.batches.batches < 40
    for job in jobs:
        alone = model.upscale(job.source)
        difference = np.abs(np.asarray(Image.open(job.output)).astype(int) - alone.image)
        assert difference.max() <= 1
        assert np.mean(difference > 0) < 1e-2
        assert np.allclose(np.load(job.maps["theta"]), alone.theta, rtol=1e-4)


def test_lack_of_memory_is_noted(tmp_path, monkeypatch):
    model = transparent_model(2)
    jobs = plan_jobs([write_file(tmp_path / "a.png")], tmp_path / "out", Options())
    (pass_,) = model._passes(False, bordered=True)
    forward = pass_.runner._forward[0]

    def small_only(x):
        if x.shape[1] > 15:
            raise MemoryError
        return forward(x)

    pass_.runner._forward[0] = small_only
    summary = run_jobs(model, jobs, Options())
    assert summary.done == 1
    assert summary.notes == [f"{tmp_path / 'a.png'}: {OUT_OF_MEMORY}"]
