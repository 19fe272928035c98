"""Runs on measurements: one channel of floats with nodata, four bands of integers."""

import json

import numpy as np
import pytest
from helpers.measurements import tiny_config, write_bands, write_heights
from helpers.runs import loss_curve, same_weights, stop_at

from udl_tf.config import Config
from udl_tf.errors import Interrupted
from udl_tf.saved.bundle import read_manifest
from udl_tf.saved.loading import load_upscaler
from udl_tf.training import train


def trained(content, folder, monkeypatch):
    """Trains a run, and its first step again with an interruption; returns the run's metrics."""
    config = Config.model_validate(content)
    notes = train(config, folder / "run")
    for update in (3, 6):
        with monkeypatch.context() as patch:
            stop_at(update, patch)
            with pytest.raises(Interrupted):
                train(config, folder / "stopped")
    assert same_weights(folder / "run", folder / "stopped", 1)
    return notes


@pytest.mark.slow
def test_one_channel_of_floats_with_nodata(tmp_path, monkeypatch):
    content = tiny_config("microscopy_x2", write_heights(tmp_path / "images"))
    notes = trained(content, tmp_path, monkeypatch)

    (row,) = notes["results"]
    assert {"psnr", "ssim", "bicubic_psnr", "psnr_channels"} <= row.keys()
    assert "psnr_y" not in row
    assert "sam" not in row
    assert all(
        np.isfinite(list(loss_curve(tmp_path / f"run/tensorboard/{step}").values())).all()
        for step in ("step1-esu", "step2-udl")
    )
    low, high = read_manifest(tmp_path / "run").range
    assert 900 <= low < 950
    assert 1050 < high <= 1100
    stored = json.loads((tmp_path / "run/images.json").read_text())
    assert stored["value_range"] == [low, high]
    report = json.loads((tmp_path / "run/calibration/report.json").read_text())["sets"][0]
    assert report["bands"][0]["mean_error"] < 50  # metres
    assert read_manifest(tmp_path / "run").calibration.nodata_reach is not None
    assert load_upscaler(tmp_path / "run/preset").value_range.ranges == [low, high]


@pytest.mark.slow
def test_four_bands_of_integers(tmp_path, monkeypatch):
    content = tiny_config("satellite_x2", write_bands(tmp_path / "images"))
    content["data"]["value_range"] = [[0.0, 10000.0 + band] for band in range(4)]
    content["steps"] = content["steps"][:1]
    notes = trained(content, tmp_path, monkeypatch)

    (row,) = notes["results"]
    assert len(row["psnr_channels"]) == 4
    assert row["psnr"] == pytest.approx(np.mean(row["psnr_channels"]))
    assert row["sam"] > 0
    assert len(list((tmp_path / "run/figures").glob("*.png"))) == 1
    table = (tmp_path / "run/results.md").read_text()
    assert "PSNR dB / SSIM / SAM ° / ERGAS" in table
    card = (tmp_path / "run/preset/README.md").read_text()
    assert "SAM, °" in card
    assert f"| {100 * row['coverage_80']:.1f} %" in card
    report = (tmp_path / "run/calibration/report.md").read_text()
    assert "band 4" in report
    assert "in units of the files" in report
