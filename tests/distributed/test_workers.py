"""Two workers, each a process, connected through this machine's loopback."""

import os
import re
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.workers import checksums, losses, outcomes, start, wait_for, workers_config

from udl_tf._support.config_file import load_config
from udl_tf.training.checkpoint import read_progress
from udl_tf.training.run import train

pytestmark = pytest.mark.slow

SEVERAL = "training.steps_per_execution=5", "training.log_every=5"  # updates per call


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return workers_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def two(config, tmp_path_factory):
    """Two workers with six jobs; the last worker gets SIGTERM in `stopped`, the first dies.

    Attributes:
        folder: has the run folders, named as their jobs.
        other_config, no_folder, run, stopped, keras: outcomes of the jobs, per worker.
        survivors: by the killed worker, (outcome of the other, seconds until it ended): `killed`
            is killed twice.
        resumed: outcomes of the last part of `killed`, which has several updates per call.
    """
    folder = tmp_path_factory.mktemp("two")
    (folder / "no_folder").mkdir()
    (folder / "no_folder/file").write_text("in the way")
    jobs = {name: [config, folder / name] for name in ("other_config", "no_folder", "run")}
    jobs["stopped"] = [config, folder / "stopped", "steps.0.updates=2000"]
    jobs["keras"], killed = ["keras"], [config, folder / "killed", *SEVERAL]
    other = jobs | {"other_config": [*jobs["other_config"], "data.batch_size=8"]}
    survivors = {}

    def kill(victim, workers, condition):
        wait_for(condition, workers)
        workers[victim].kill()
        begin = time.monotonic()
        results = outcomes(workers)
        survivors[victim] = results[1 - victim][-1], time.monotonic() - begin
        return results

    workers = start(*([*own.values(), killed] for own in (jobs, other)))
    wait_for(lambda: (folder / "stopped/checkpoint.npz").exists(), workers)
    workers[1].send_signal(signal.SIGTERM)
    first, second = kill(0, workers, (killed[1] / "checkpoint.npz").exists)
    by_job = zip(first, second[: len(jobs)], strict=True)
    workers = start([killed], [killed])
    kill(1, workers, lambda: getattr(read_progress(killed[1]), "step", 0) == 1)
    return SimpleNamespace(
        folder=folder,
        survivors=survivors,
        resumed=[result for (result,) in outcomes(start([killed], [killed]))],
        **dict(zip(jobs, by_job, strict=True)),
    )


def test_two_workers_have_the_losses_of_one_process(config, two, tmp_path):
    train(load_config(config), tmp_path / "one")
    expected = losses(tmp_path / "one")
    assert expected.shape == (40,)
    checksums(two.run)
    assert np.allclose(losses(two.folder / "run"), expected, rtol=1e-5, atol=0)


def test_only_the_chief_logs_to_the_console(two):
    chief, other = two.run
    assert "PSNR-Y" in chief.stderr
    assert other.stderr == ""


def test_a_signal_to_one_worker_stops_all_at_the_same_update(two):
    updates = [outcome.last_line.split()[3] for outcome in two.stopped]
    assert [outcome.code for outcome in two.stopped] == [130, 130]
    assert updates == [str(read_progress(two.folder / "stopped").update)] * 2


def test_workers_with_another_config_end_with_one_line(two):
    for place, outcome in zip(("on another worker", "here"), two.other_config, strict=True):
        assert outcome.code == 2
        assert outcome.stderr.splitlines()[-1:] == [
            f"error: the config {place} differs from that of the chief: give all workers the same"
            " config"
        ]
        assert len(outcome.stderr.splitlines()) == 2  # after "waiting for the others"
    assert not (two.folder / "other_config").exists()


def test_an_error_of_the_chief_ends_all(two):
    for outcome in two.no_folder:
        assert outcome.code == 2
        (line,) = outcome.stderr.splitlines()
        assert "another worker failed" in line or "is not empty and holds no run" in line


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_ends_the_other(victim, two):
    survivor, seconds = two.survivors[victim]
    assert seconds < 60
    assert survivor.code == 75
    line = rf"error: worker {victim} \(localhost:\d+\) has stopped or is unreachable.*"
    assert re.fullmatch(line + "start all workers again to resume", survivor.last_line)


def test_a_run_of_killed_workers_resumes_exactly(two):
    assert checksums(two.resumed) == two.resumed[0].result
    assert two.resumed[0].result == two.run[0].result
    names = [sorted(os.listdir(two.folder / name)) for name in ("killed", "run")]
    assert names[0] == names[1]


def test_keras_still_needs_the_workarounds_of_group_model(two):
    for outcome in two.keras:
        assert outcome.code == 0, outcome.stderr
        first, second = outcome.result
        assert first != "works", "Keras builds over workers: GroupModel need not work around it"
        assert second != "works", "Keras reduces scalar logs: GroupModel need not work around it"
