"""The same numbers under every Keras backend that is installed."""

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.commands import run_command, run_process
from helpers.runs import tiny_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None, reason="needs jax (pip install .[jax])"
    ),
]


@pytest.fixture(scope="module")
def jax(tmp_path_factory):
    """A process under JAX: numbers of networks and losses, and a run.

    Attributes:
        numbers: arrays by name (helpers.backend_numbers).
        run: run folder.
        arguments: those of the train command.
        stderr: what it logged.
    """
    folder = tmp_path_factory.mktemp("jax")
    config = tiny_config(folder)
    config["steps"] = [
        {"loss": "esu", "updates": 4},
        {"loss": "udl", "updates": 4, "weighting": {}},
    ]
    config["evaluation"] = {"figures": 1}
    (folder / "config.json").write_text(json.dumps(config))
    arguments = ["--config", folder / "config.json", "--run-dir", folder / "run"]
    path = folder / "numbers.npz"
    # Without optimisation, XLA compiles three times faster; these networks are tiny anyway.
    environment = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    result = run_process("helpers.backend_numbers", path, *arguments, **environment)
    assert result.returncode == 0, result.stderr[-3000:]
    numbers = dict(np.load(path))
    assert numbers.pop("backend") == "jax"
    return SimpleNamespace(
        numbers=numbers, run=folder / "run", arguments=arguments, stderr=result.stderr
    )


def test_forward_losses_and_a_udl_step_agree(jax):
    from helpers.backend_numbers import numbers

    expected = numbers()
    assert expected.keys() == jax.numbers.keys()
    for key, value in expected.items():
        size = max(1.0, np.abs(value).max())
        assert np.abs(value - jax.numbers[key]).max() < 1e-4 * size, key


def test_train_runs_under_jax_and_tensorflow_reads_its_weights(jax):
    assert "(jax)" in jax.stderr
    (row,) = json.loads((jax.run / "metrics.json").read_text())["results"]
    # A finished run is only evaluated, so TensorFlow reads the weights that JAX trained.
    evaluated = run_command("train", *jax.arguments)
    assert evaluated.returncode == 0, evaluated.stderr[-3000:]
    assert "step 1/2" not in evaluated.stderr
    (again,) = json.loads((jax.run / "metrics.json").read_text())["results"]
    assert again["psnr_y"] == pytest.approx(row["psnr_y"], abs=1e-3)
