import re

import numpy as np
import pytest
from helpers.commands import run_command
from helpers.images import noise_image

from udl_tf._support import hardware
from udl_tf._support.hardware import Rates, measure_rates, updates_per_call, usable_cores
from udl_tf.config import Config
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.saved import fast
from udl_tf.saved.loading import load
from udl_tf.training import run as run_process_
from udl_tf.training.run import train


def test_bfloat16_where_it_is_clearly_faster():
    assert Rates(float32=100e9, bfloat16=200e9).precision == "mixed_bfloat16"
    assert Rates(float32=100e9, bfloat16=110e9).precision == "float32"
    assert str(Rates(1e9, 2e9)) == "2 GFLOP/s in bfloat16, 1 GFLOP/s in float32"


def test_rates_are_measured():
    rates = measure_rates()
    assert 1e8 < rates.float32 < 1e15
    assert 1e8 < rates.bfloat16 < 1e15


def test_calls_end_where_python_must_be_asked(monkeypatch):
    assert updates_per_call(None, 50, 1000) == 1  # on a processor
    assert updates_per_call(8, 50, 1000, 30_000, 0) == 5
    assert updates_per_call(8, 50, 1000, 30_000, 7) == 1
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    assert updates_per_call(None, 50, 1000) == 10
    assert 1 <= usable_cores() <= 4096


@pytest.fixture
def config(tmp_path):
    for index in range(3):
        write_rgb(tmp_path / f"images/{index}.png", noise_image(32, 36, index))
    folder = [str(tmp_path / "images")]
    return {
        "model": {"scale": 2, "options": {"num_blocks": 1, "num_filters": 4}},
        "data": {"hr_patch_size": 16, "batch_size": 2, "train": folder, "test": folder},
        "steps": [{"loss": "l1", "updates": 6}],
        "training": {"interval": 6, "log_every": 3},
        "evaluation": {"figures": 0},
    }


def test_a_run_goes_on_in_the_precision_that_it_began_in(config, tmp_path, monkeypatch):
    monkeypatch.setattr(run_process_, "measure_rates", lambda: Rates(1e9, 2e9))
    train(Config.model_validate(config), tmp_path / "run")
    log = tmp_path / "run/log.txt"
    assert "mixed_bfloat16 (auto: convolutions train at 2 GFLOP/s in bfloat16" in log.read_text()
    monkeypatch.setattr(run_process_, "measure_rates", lambda: Rates(2e9, 1e9))
    train(Config.model_validate(config), tmp_path / "run")
    assert "mixed_bfloat16 (auto, as before)" in log.read_text()


def test_several_updates_in_one_call_train_the_same(config, tmp_path):
    config["training"]["precision"] = "float32"
    notes = []
    for count in (1, 3):
        config["training"]["steps_per_execution"] = count
        train(Config.model_validate(config), tmp_path / str(count))
        weights = next((tmp_path / str(count) / "weights").glob("*.h5"))
        notes.append(weights.read_bytes())
        assert "6/6" in (tmp_path / str(count) / "log.txt").read_text()
    a, b = (np.frombuffer(note, np.uint8) for note in notes)
    assert np.array_equal(a, b)


def test_the_doctor_tells_what_will_be_used():
    result = run_command("doctor")
    assert result.returncode == 0, result.stderr
    for part in ("tensorflow", "GFLOP/s", "precision", "cores used", "trains on    CPU:0"):
        assert part in result.stdout


@pytest.mark.parametrize("rates", [Rates(1e9, 2e9), Rates(2e9, 2e9)])
def test_fast_is_bfloat16_where_that_is_faster_and_tells_its_cost(small_run, rates, monkeypatch):
    monkeypatch.setattr(fast, "measure_rates", lambda: rates)
    told = []
    model, exact = fast.load_fast(small_run, told.append), load(small_run)
    image = noise_image(20, 24)
    a, b = model.upscale(image), exact.upscale(image)
    (line,) = told
    if rates.precision == "float32":
        assert "stays in float32, which is as fast here" in line
        assert np.array_equal(a.theta, b.theta)
    else:
        assert re.search(r"bfloat16, which costs -?\d\.\d{4} dB on the bundled images", line)
        assert 0 < np.abs(a.theta - b.theta).max() < 0.1 * b.theta.max()
        assert np.abs(a.image.astype(int) - b.image).max() <= 4
