"""Processes of `udl-tf batch` that are killed, crash or are told to stop: no result is lost."""

import hashlib
import signal
import subprocess
import sys
import time

import psutil
import pyarrow.parquet as pq
import pytest
from helpers.commands import ROOT
from helpers.images import fill_folder

from udl_tf.archive import manifest

pytestmark = pytest.mark.slow


def start_batch(*arguments):
    command = [sys.executable, "-m", "udl_tf.batch", *arguments, "--threads", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes)


def results(output):
    return len(list(output.rglob("0*.png")))


def wait_for(job, condition):
    until = time.monotonic() + 200
    while not condition():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def wait_for_results(job, output, count):
    wait_for(job, lambda: results(output) >= count)


def actors(process):
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.cmdline()[0].startswith("ray::MapWorker"):
                found.append(child)
        except (psutil.Error, IndexError):
            pass
    return found


@pytest.mark.usefixtures("local_actors")
def test_a_killed_actor_a_crash_of_ray_and_a_killed_watcher_lose_nothing(
    batch, small_run, tmp_path
):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 200)
    job = start_batch(source, "--output", output, "--model", small_run)
    try:
        wait_for_results(job, output, 5)
        actors(job)[0].kill()
        wait_for_results(job, output, results(output) + 5)
        (crashed,) = psutil.Process(job.pid).children()
        crashed.send_signal(signal.SIGABRT)
        wait_for(job, lambda: psutil.Process(job.pid).children() not in ([], [crashed]))
        wait_for_results(job, output, results(output) + 5)
        (driver,) = psutil.Process(job.pid).children()
        job.kill()
        driver.wait(timeout=60)  # it stops with its watcher
        _, error = job.communicate(timeout=60)
    finally:
        job.kill()
    assert job.returncode == -signal.SIGKILL
    assert "Ray crashed (SIGABRT): resuming" in error
    assert "stopped: run the same command again to resume" in error
    assert "log level" not in error  # a line of Ray's when it is opened
    assert results(output) < 200

    result = batch(source, "--output", output, "--model", small_run)
    assert result.returncode == 0, result.stderr
    rows = pq.read_table(output / manifest.FILE).to_pylist()
    assert len(rows) == 200
    for row in rows:
        assert row["error"] is None
        checksum = hashlib.sha256((output / row["output"]).read_bytes()).hexdigest()
        assert checksum == row["output_sha256"], row["source"]
    assert [path.name for path in output.rglob(".*")] == [manifest.FOLDER]
