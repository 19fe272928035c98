"""The same numbers under every Keras backend that is installed."""

import importlib.util
import json
import signal
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import measurements
from helpers.commands import JAX, assert_one_line_error, run_command, run_process
from helpers.runs import same_weights, tiny_config

from udl_tf.saved.loading import load_upscaler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None, reason="needs jax (pip install .[jax])"
    ),
]


def run_without_tensorflow(module, *arguments):
    return run_process("helpers.without_tensorflow", module, *arguments, **JAX)


@pytest.fixture(scope="module")
def jax(tmp_path_factory):
    """A process under JAX without TensorFlow: numbers of networks and losses, and commands.

    Attributes:
        folder: has the run folders `run` and `resumed`, trained on resident data with two updates
            per call, of which the latter was killed once, and `heights`, which was trained on
            floats with nodata; `results` and `scenes`.
        numbers: arrays by name (helpers.backend_numbers).
        train: arguments of the train command.
        stdout, stderr: output of the process.
    """
    folder = tmp_path_factory.mktemp("jax")
    config = tiny_config(folder)
    config["steps"] = [
        {"loss": "esu", "updates": 4},
        {"loss": "udl", "updates": 4, "weighting": {}},
    ]
    config["training"] |= {"interval": 2, "log_every": 2, "steps_per_execution": 2}
    config["data"]["resident"] = True
    config["evaluation"] = {"figures": 1}
    (folder / "config.json").write_text(json.dumps(config))
    train = ["train", "--config", str(folder / "config.json"), "--output"]
    number = int(signal.SIGKILL)
    killed = [number, r"step 2/2 udl .* 4/4", *train[1:], folder / "resumed"]
    assert run_without_tensorflow("helpers.with_signal", *killed).returncode == -number
    run, images = str(folder / "run"), str(folder / "images")
    commands = [
        [*train, run],
        [*train, str(folder / "resumed")],
        ["calibrate", "--model", run, "--data", images],
        ["evaluate", "--model", run, "--data", images, "--output", str(folder / "evaluation")],
        ["upscale", images, "--model", run, "--output", str(folder / "results")],
        ["doctor"],
        *_measurement_commands(folder),
    ]
    path = folder / "numbers.npz"
    result = run_without_tensorflow("helpers.backend_numbers", path, json.dumps(commands))
    assert result.returncode == 0, result.stderr[-3000:]
    return SimpleNamespace(
        folder=folder,
        numbers=dict(np.load(path)),
        train=[*train[1:], run],
        stdout=result.stdout,
        stderr=result.stderr,
    )


def _measurement_commands(folder):
    """Returns the commands of a run on elevations, of which one has nodata."""
    images = measurements.write_heights(folder / "elevations")
    config = measurements.tiny_config("elevation_x2", images)
    (folder / "heights.json").write_text(json.dumps(config))
    run = str(folder / "heights")
    return [
        ["train", "--config", str(folder / "heights.json"), "--output", run],
        ["upscale", str(images / "0.npy"), "--model", run, "--output", str(folder / "scenes")],
    ]


def test_forward_losses_and_a_udl_step_agree(jax):
    from helpers.backend_numbers import numbers

    assert jax.numbers.pop("backend") == "jax"
    expected = numbers()
    assert expected.keys() == jax.numbers.keys()
    for key, value in expected.items():
        size = max(1.0, np.abs(value).max())
        assert np.abs(value - jax.numbers[key]).max() < 1e-4 * size, key


def test_train_runs_under_jax_and_tensorflow_reads_its_weights(jax):
    assert "(jax)" in jax.stderr
    metrics = jax.folder / "run/metrics.json"
    (row,) = json.loads(metrics.read_text())["results"]
    # A finished run is only evaluated, so TensorFlow reads the weights that JAX trained.
    evaluated = run_command("train", *jax.train)
    assert evaluated.returncode == 0, evaluated.stderr[-3000:]
    assert "step 1/2" not in evaluated.stderr
    (again,) = json.loads(metrics.read_text())["results"]
    assert again["psnr_y"] == pytest.approx(row["psnr_y"], abs=1e-3)


def test_a_killed_run_resumes_exactly_under_jax(jax):
    assert "step 2/2 udl: resumes after update 2 of 4" in jax.stderr
    for step in (1, 2):
        assert same_weights(jax.folder / "run", jax.folder / "resumed", step)


def test_commands_run_under_jax_without_tensorflow(jax):
    results = {path.name for path in (jax.folder / "results").iterdir()}
    assert results >= {f"{i}{end}.png" for i in range(6) for end in ("", "_theta")}
    assert (jax.folder / "evaluation/results.md").exists()
    doctor = dict(line.split(maxsplit=1) for line in jax.stdout.splitlines() if " " in line)
    assert doctor["backend"] == "jax"
    assert "GFLOP/s" in doctor["convolutions"]
    assert doctor["jax"] == version("jax")


def test_measurements_run_under_jax_without_tensorflow(jax):
    scenes = jax.folder / "scenes"
    image, theta, flags = (np.load(scenes / f"0{end}.npy") for end in ("", "_theta", "_flags"))
    for values in (image, theta):
        assert np.array_equal(np.isnan(values), flags == 2)
    elevations = np.load(jax.folder / "elevations/0.npy")
    expected = load_upscaler(jax.folder / "heights").upscale(elevations)
    assert np.allclose(image, expected.image, atol=0.01, equal_nan=True)  # metres, of 200
    assert np.allclose(theta, expected.theta, rtol=1e-3, equal_nan=True)
    assert np.array_equal(flags, expected.flags)


def test_a_command_that_needs_tensorflow_says_so_in_one_line(jax):
    command = ["export", "onnx", "--model", jax.folder / "run", "--output", jax.folder / "x.onnx"]
    result = run_without_tensorflow("udl_tf", *command)
    assert_one_line_error(result, "the Keras backend is 'jax'; this command works with tensorflow")
    result = run_process("helpers.without_tensorflow", "udl_tf", *command, KERAS_BACKEND="")
    assert_one_line_error(result, "TensorFlow is not installed: run pip install tensorflow")
