"""Run folders of older versions."""

import json
import shutil

import pytest
from helpers.commands import TESTS, run_command

from udl_tf.saved.loading import load_upscaler


@pytest.mark.slow
def test_a_run_of_version_0_1_whose_steps_are_done_is_finished(tmp_path):
    """Version 0.1 trained both steps, and was stopped before it wrote anything else.

    The PSNR below is what version 0.1 measured when it evaluated the same weights.
    """
    run = tmp_path / "run"
    shutil.copytree(TESTS / "data_0_1/finished_steps", run)
    before = json.loads((run / "metrics.json").read_text())
    weights = {path: path.read_bytes() for path in (run / "weights").iterdir()}
    result = run_command("train", "--config", run / "config.json", "--run-dir", run)
    assert result.returncode == 0, result.stderr
    assert "step 1/2" not in result.stderr  # nothing was trained again
    assert {path: path.read_bytes() for path in (run / "weights").iterdir()} == weights
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["steps"] == before["steps"]
    assert metrics["results"][0]["psnr_y"] == pytest.approx(8.973146, abs=1e-4)
    assert "| run" in (run / "results.md").read_text()
    assert (run / "calibration/report.md").exists()
    model = load_upscaler(run)
    assert model.networks.calibration is not None
    assert model.has_uncertainty
