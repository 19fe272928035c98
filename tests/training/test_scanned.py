"""Runs with several updates per call of the device and with resident data, on both backends."""

import importlib.util
import os
import signal

import keras
import numpy as np
import pytest
from helpers.commands import JAX, run_process
from helpers.runs import same_weights, tiny_config, train_weights, weights

from udl_tf.errors import Interrupted
from udl_tf.training.validation import Validation

pytestmark = pytest.mark.slow

UNDER_JAX = keras.backend.backend() == "jax"
STEPS = [
    {"loss": "esu", "updates": 10},
    {"loss": "udl", "updates": 10, "weighting": {}},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Function (name, updates per call, resident, degradations) -> run folder.

    A finished run is not trained again; another one resumes.
    """
    folder = tmp_path_factory.mktemp("runs")
    config = tiny_config(folder)
    config["data"]["hr_patch_size"] = 12  # images are of 32 x 36 pixels
    config["optimizer"] = {"name": "muon", "learning_rate": 1e-3, "ema": 0.9, "warmup": 2}
    finished = set()

    def train_run(name, count, resident, degradations=()):
        if name in finished:
            return folder / name
        config["data"] |= {"resident": resident, "degradations": list(degradations)}
        config["steps"] = STEPS[:1] if degradations else STEPS
        config["training"] = {"precision": "float32", "interval": 5, "log_every": 5}
        config["training"] |= {"steps_per_execution": count, "cache_uncertainty": not degradations}
        train_weights(config, folder / name)
        finished.add(name)
        return folder / name

    return train_run


@pytest.mark.skipif(UNDER_JAX, reason="under JAX, data are resident in the next test")
def test_resident_data_train_the_same(run):
    plain, resident = run("plain", 1, False), run("resident", 1, True)
    assert "on the device" in (resident / "log.txt").read_text()
    assert same_weights(plain, resident, 2)


def test_several_updates_per_call_train_the_same(run):
    assert_same(run("plain", 1, False), run("several", 5, True))


def assert_same(plain, several, step=2):
    """Asserts that a run with several updates per call has the weights of one without."""
    if not UNDER_JAX:
        assert same_weights(plain, several, step)
    expected = weights(plain, step)
    for name, values in weights(several, step).items():
        # XLA compiles a loop otherwise than a single update; measured: 1e-6 of the largest value.
        assert np.abs(values - expected[name]).max() < 1e-5 * np.abs(values).max(), name


def test_degraded_patches_train_the_same(run):
    """They are degraded on the host, also if the HR images are on the device."""
    noise = [{"kind": "noise", "probability": 0.7, "sigma": [0, 9]}]
    host, device = run("degraded", 1, False, noise), run("degraded2", 5, True, noise)
    assert "; LR patches are degraded on the host" in (device / "log.txt").read_text()
    assert_same(host, device, step=1)
    assert not same_weights(host, run("plain", 1, False), 1)


@pytest.mark.skipif(UNDER_JAX, reason="tests/test_backends.py kills such a run under JAX")
def test_a_run_with_several_updates_per_call_resumes_exactly(run, monkeypatch):
    several = run("several", 5, True)
    validate = Validation.__call__
    updates = []

    def validate_and_interrupt(self, update):
        updates.append(update)
        if len(updates) in (1, 4):
            signal.raise_signal(signal.SIGINT)
        return validate(self, update)

    monkeypatch.setattr(Validation, "__call__", validate_and_interrupt)
    with pytest.raises(Interrupted, match="update 5 of step 1/2"):
        run("stopped", 5, True)
    with pytest.raises(Interrupted, match=r"the end of udl"):
        run("stopped", 5, True)
    stopped = run("stopped", 5, True)
    assert updates == [5, 10, 5, 10]
    for step in (1, 2):
        assert same_weights(several, stopped, step)


@pytest.mark.skipif(UNDER_JAX, reason="tests/test_backends.py kills such a run under JAX")
def test_a_process_killed_with_several_updates_per_call_resumes_exactly(run):
    several = run("several", 5, True)
    config = several.parent / "config.json"
    config.write_text((several / "config.json").read_text())
    options = "--config", config, "--output", several.parent / "killed"
    number = int(signal.SIGKILL)
    killed = run_process("helpers.with_signal", number, r"step 2/2 udl .* 10/10", *options)
    assert killed.returncode == -number
    resumed = run("killed", 5, True)
    assert "step 2/2 udl: resumes after update 5 of 10" in (resumed / "log.txt").read_text()
    for step in (1, 2):
        assert same_weights(several, resumed, step)


@pytest.mark.skipif(
    UNDER_JAX or importlib.util.find_spec("jax") is None, reason="needs jax (pip install .[jax])"
)
def test_the_same_under_jax():
    result = run_process(
        *("pytest", "-q", "-p", "no:cacheprovider", os.path.abspath(__file__)),
        **JAX,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert "2 passed, 4 skipped" in result.stdout
