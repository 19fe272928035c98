"""Several workers, each a real process, on this machine's loopback."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.commands import ROOT
from helpers.workers import CONFIG, TESTS, checksums, ends, losses, start, start_run, wait_for

from udl_tf.training.checkpoint import read_progress


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "config.json"
    file.write_text(json.dumps(CONFIG))
    return file


@pytest.fixture(scope="module")
def three(config, tmp_path_factory):
    """(run folder, checksums) of three workers that nothing disturbed."""
    folder = tmp_path_factory.mktemp("three") / "run"
    results = ends(start_run(3, config, folder))
    assert "PSNR-Y" in results[0][2]
    assert [len(error.splitlines()) for *_, error in results[1:]] == [1, 1], "only the chief logs"
    return folder, checksums(results)


def test_two_and_three_workers_have_the_losses_of_one_process(config, three, tmp_path):
    command = [sys.executable, TESTS / "one_worker.py", config, tmp_path / "one"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=120)
    expected = losses(tmp_path / "one")
    assert expected.shape == (40,)
    checksums(ends(start_run(2, config, tmp_path / "two")))
    for run in (tmp_path / "two", three[0]):
        assert np.allclose(losses(run), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_worker_ends_the_others_and_the_run_goes_on_exactly(
    victim, config, three, tmp_path
):
    run = tmp_path / "run"
    workers = start_run(3, config, run)
    wait_for(lambda: (run / "checkpoint.npz").exists(), workers)
    workers[victim].kill()
    killed = time.monotonic()
    results = ends(workers)
    assert time.monotonic() - killed < 60
    del results[victim]
    lines = [error.splitlines()[-1] for *_, error in results]
    assert [code for code, *_ in results] == [75, 75]
    assert any(line.startswith(f"error: worker {victim} (localhost:") for line in lines)
    for line in lines:  # a busy worker may learn of another's end only by that one's
        assert re.match(r"error: worker \d \(localhost:\d+\) is gone or cannot be reached", line)
        assert line.endswith("start every worker again, and the run goes on from there")
    assert checksums(ends(start_run(3, config, run))) == three[1]
    assert sorted(os.listdir(run)) == sorted(os.listdir(three[0]))


def test_a_signal_to_one_worker_stops_all_at_the_same_update(config, tmp_path):
    run = tmp_path / "run"
    workers = start_run(2, config, run, "steps.0.updates=2000")
    wait_for(lambda: (run / "checkpoint.npz").exists(), workers)
    workers[1].send_signal(signal.SIGTERM)
    results = ends(workers)
    updates = [error.splitlines()[-1].split()[3] for *_, error in results]
    assert [code for code, *_ in results] == [130, 130]
    assert updates == [str(read_progress(run).update)] * 2


def test_workers_with_another_config_end_all_with_one_line(config, tmp_path):
    results = ends(start_run(2, config, tmp_path / "run", last=["data.batch_size=8"]))
    assert [code for code, *_ in results] == [2, 2]
    for place, (*_, error) in zip(("on another worker", "here"), results, strict=True):
        assert error.splitlines()[1:] == [
            f"error: the config {place} differs from the chief's: give all workers the same"
        ]
    assert not (tmp_path / "run").exists()


def test_what_the_chief_cannot_do_ends_all(config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for code, _, error in ends(start_run(2, config, tmp_path)):
        assert code == 2
        assert len(error.splitlines()) == 2


def test_a_worker_that_stays_alone_ends(config, tmp_path):
    first, second, third = start_run(3, config, tmp_path / "run", "distribution.wait_minutes=0.1")
    second.kill()
    (code, _, error), _, (last_code, _, last_error) = ends([first, second, third])
    assert (code, last_code) == (75, 75)
    assert re.search(r"error: workers that did not come: 1 \(localhost:\d+\): start", error)
    assert re.search(r"error: the chief \(localhost:\d+\) did not come, or another", last_error)


def test_keras_still_needs_what_workers_model_mends():
    for code, out, error in ends(start(2, "keras_over_workers.py")):
        assert code == 0, error[-2000:]
        first, second = out.split()
        assert first != "works", "Keras builds over workers: WorkersModel need not mend it"
        assert second != "works", "Keras reduces scalar logs: WorkersModel need not mend it"
