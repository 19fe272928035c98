"""Three workers, of which two are killed; each is a process on this machine."""

import os
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.workers import checksums, losses, outcomes, start, wait_for, workers_config

from udl_tf._support.config_file import load_config
from udl_tf.training.checkpoint import read_progress
from udl_tf.training.run import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return workers_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def three(config, tmp_path_factory):
    """Three workers: an undisturbed run, then a run that is killed twice and resumed twice.

    Attributes:
        folder: has the run folders "undisturbed" and "killed".
        undisturbed: outcomes of the first run.
        survivors: for each killed worker, (outcomes of the others, seconds until they ended).
        resumed: outcomes of the last part of the killed run.
    """
    folder = tmp_path_factory.mktemp("three")
    undisturbed, run = [config, folder / "undisturbed"], [config, folder / "killed"]
    survivors = {}

    def kill(victim, workers, condition):
        wait_for(condition, workers)
        workers[victim].kill()
        killed = time.monotonic()
        results = outcomes(workers)
        del results[victim]
        survivors[victim] = [result[-1] for result in results], time.monotonic() - killed
        return results

    workers = start(*3 * [[undisturbed, run]])
    first = kill(0, workers, (run[1] / "checkpoint.npz").exists)
    workers = start(*3 * [[run]])
    kill(2, workers, lambda: getattr(read_progress(run[1]), "step", 0) == 1)
    resumed = [result for (result,) in outcomes(start(*3 * [[run]]))]
    return SimpleNamespace(
        folder=folder,
        undisturbed=[result for result, _ in first],
        survivors=survivors,
        resumed=resumed,
    )


def test_three_workers_have_the_losses_of_one_process(config, three, tmp_path):
    train(load_config(config), tmp_path / "one")
    checksums(three.undisturbed)
    expected = losses(tmp_path / "one")
    assert np.allclose(losses(three.folder / "undisturbed"), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_worker_ends_the_others(victim, three):
    survivors, seconds = three.survivors[victim]
    assert seconds < 60
    assert [outcome.code for outcome in survivors] == [75, 75]
    lines = [outcome.last_line for outcome in survivors]
    assert any(line.startswith(f"error: worker {victim} (localhost:") for line in lines)
    for line in lines:  # a busy worker may learn of another's end only by that one's
        assert re.match(r"error: worker \d \(localhost:\d+\) has stopped or is unreachable", line)
        assert line.endswith("start all workers again to resume")


def test_a_run_of_killed_workers_resumes_exactly(three):
    assert checksums(three.resumed) == three.resumed[0].result
    assert three.resumed[0].result == three.undisturbed[0].result
    names = [sorted(os.listdir(three.folder / name)) for name in ("killed", "undisturbed")]
    assert names[0] == names[1]
