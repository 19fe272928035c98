"""Upscaling of files: several at a time."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers.images import noise_image, write_noise
from helpers.upscalers import Repeating
from PIL import Image

from udl_tf.imaging.image_files import read_image
from udl_tf.inference import job_runner
from udl_tf.inference.job_memory import needed_memory
from udl_tf.inference.job_runner import run_jobs
from udl_tf.inference.jobs import Job, Options, plan_jobs
from udl_tf.saved.loading import load_upscaler


@pytest.mark.parametrize("thread_safe", [False, True])
def test_reading_computing_and_writing_overlap(tmp_path, monkeypatch, thread_safe):
    """All three at some moment, and only a thread-safe model computes several images at once.

    Until that moment, every call takes half a second.
    """
    for index in range(12):
        write_noise(tmp_path / f"in/{index}.png", index)
    busy, computed, reached, changed = Counter(), [], [], threading.Condition()

    def overlapped():
        return max(computed) > 1 if thread_safe else len(+busy) == 3

    def slowed(name, function):
        def call(*arguments, **options):
            with changed:
                busy[name] += 1
                computed.append(busy["upscale_file"])
                changed.notify_all()
                reached.append(changed.wait_for(lambda: any(reached) or overlapped(), 0.5))
            result = function(*arguments, **options)
            with changed:
                busy[name] -= 1
            return result

        monkeypatch.setattr(job_runner, name, call)

    for name in ("read_image", "upscale_file", "write_image"):
        slowed(name, getattr(job_runner, name))
    model = Repeating(2)
    model.thread_safe = thread_safe
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    assert run_jobs(model, jobs, Options()).done == 12
    assert any(reached)
    assert (max(computed) > 1) == thread_safe


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
    jobs, model, full = (
        rows_of_images(tmp_path / "in", range(20, 26)),
        Scripted(),
        threading.Event(),
    )
    one = needed_memory(22, 8, 2, Options())  # 19 kB
    expected = min(6, max(1, int(free / 2 / one)))

    def wait():
        if len(model.at_work) >= expected:
            full.set()
        full.wait(10)
        time.sleep(0.05)  # for one more than expected, if it were started

    model.before = dict.fromkeys(range(20, 26), wait)
    monkeypatch.setattr(job_runner, "free_memory", lambda: free)
    monkeypatch.setattr(job_runner, "read_job", lambda job, *rest: read_image(job.source))
    assert run_jobs(model, jobs, Options()).done == 6
    assert max(model.most) == expected


def test_an_interruption_stops_the_images_in_progress_at_their_next_tile(tmp_path):
    jobs, model, tiles = rows_of_images(tmp_path / "in", [400, 8]), Scripted(), []
    once = threading.Lock()

    def run(lr, tile=None, budget=None, notes=None, counter=None):
        for part in Repeating.run(model, lr):
            tiles.append(part)
            time.sleep(0.02)
            yield part

    def progress(done, total, label=""):
        # Not == 3: while one thread sleeps, the other may add a tile.
        if len(tiles) >= 3 and once.acquire(blocking=False):
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
    model = load_upscaler(small_run)
    for index in range(40):
        write_noise(tmp_path / f"in/{index:02}.png", index)
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
