"""The same numbers under every Keras backend that is installed."""

import importlib.util
import json

import numpy as np
import pytest
from helpers.commands import ROOT, assert_one_line_error, run_command, run_process

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs jax (pip install .[jax])"
)


def numbers(folder, backend):
    path = folder / f"{backend}.npz"
    result = run_process(
        "backend_numbers", path, cwd=ROOT / "tests", PYTHONPATH=str(ROOT), KERAS_BACKEND=backend
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = dict(np.load(path))
    assert found.pop("backend") == backend
    return found


def test_forward_losses_and_a_udl_step_agree(tmp_path):
    expected, got = numbers(tmp_path, "tensorflow"), numbers(tmp_path, "jax")
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        size = max(1.0, np.abs(value).max())
        assert np.abs(value - got[key]).max() < 1e-4 * size, key


def test_train_runs_under_jax_and_tensorflow_reads_its_weights(tmp_path):
    settings = {
        "model.options": {"num_blocks": 1, "num_filters": 8},
        "quick.updates": 6,
        "optimizer.ema": 0.9,
        "evaluation.figures": 1,
    }
    arguments = ["--config", "configs/edsr_s_x2.json", "--quick", "--run-dir", tmp_path / "run"]
    for key, value in settings.items():
        arguments += ["--set", f"{key}={json.dumps(value)}"]
    result = run_command("train", *arguments, KERAS_BACKEND="jax")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "(jax)" in result.stderr
    (row,) = json.loads((tmp_path / "run/metrics.json").read_text())["results"]
    mirrored = [*arguments, "--set", 'distribution.strategy="mirrored"']
    bad = run_command("train", *mirrored, KERAS_BACKEND="jax")
    assert_one_line_error(bad, "needs the TensorFlow backend")
    judged = run_command(
        "train", *arguments, KERAS_BACKEND="tensorflow"
    )  # a finished run is only evaluated: TensorFlow reads the weights that JAX trained
    assert judged.returncode == 0, judged.stderr[-3000:]
    (again,) = json.loads((tmp_path / "run/metrics.json").read_text())["results"]
    assert again["psnr_y"] == pytest.approx(row["psnr_y"], abs=1e-3)
