import math
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import run_command
from helpers.images import noise_image
from helpers.runs import same_weights, tiny_config

from udl_tf._support import hardware
from udl_tf._support.hardware import (
    Rates,
    measure_rates,
    slow_precision,
    updates_per_call,
    usable_cores,
    use_cores,
)
from udl_tf.config import Config
from udl_tf.errors import UserError
from udl_tf.saved import loading
from udl_tf.saved.loading import load_upscaler
from udl_tf.training.run import train


def test_bfloat16_is_chosen_if_clearly_faster():
    assert Rates(float32=100e9, bfloat16=200e9).precision == "mixed_bfloat16"
    assert Rates(float32=100e9, bfloat16=110e9).precision == "float32"
    assert str(Rates(1e9, 2e9)) == "2 GFLOP/s in bfloat16, 1 GFLOP/s in float32"


def test_only_a_precision_that_is_much_slower_is_slow(monkeypatch):
    rates = {"float32": 39e9, "mixed_bfloat16": 3e9, "mixed_float16": 27e9}
    monkeypatch.setattr(hardware, "train_rate", rates.__getitem__)
    expected = "bfloat16 is 13.0 times slower than float32 on this machine (3.0 and 39.0 GFLOP/s)"
    assert slow_precision("mixed_bfloat16") == expected
    assert slow_precision("mixed_float16") is None  # 39 / 27 < 1.5
    monkeypatch.setattr(hardware, "train_rate", lambda policy: pytest.fail("nothing to measure"))
    assert slow_precision("float32") is None


def test_a_precision_that_fails_is_not_chosen(config, tmp_path, monkeypatch):
    """oneDNN refuses bfloat16 on some processors for which TensorFlow offers it."""
    train_on_batch = keras.Model.train_on_batch

    def refuse_bfloat16(model, *arrays):
        if model.layers[-1].compute_dtype == "bfloat16":
            raise tf.errors.AbortedError(None, None, "could not create a primitive descriptor")
        return train_on_batch(model, *arrays)

    monkeypatch.setattr(keras.Model, "train_on_batch", refuse_bfloat16)
    monkeypatch.setattr(hardware, "train_rate", hardware.train_rate.__wrapped__)
    rates = measure_rates()
    assert (rates.bfloat16, rates.precision) == (0, "float32")
    assert str(rates).startswith("0 GFLOP/s in bfloat16, ")
    config["training"]["precision"] = "mixed_bfloat16"
    with pytest.raises(UserError, match="bfloat16: convolutions fail in it on this machine: use f"):
        train(Config.model_validate(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()

    def fail(model, *arrays):
        raise RuntimeError("of every precision")

    monkeypatch.setattr(keras.Model, "train_on_batch", fail)
    with pytest.raises(RuntimeError, match="of every precision"):
        measure_rates()


def test_the_updates_of_a_call_divide_the_intervals(monkeypatch):
    monkeypatch.setattr(hardware, "has_gpu", lambda: False)
    assert updates_per_call(None, 50, 1000) == 1
    assert updates_per_call(8, 50, 1000, 30_000, 0) == 5
    assert updates_per_call(8, 50, 1000, 30_000, 7) == 1
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    assert updates_per_call(None, 50, 1000) == 25


def test_usable_cores_respect_affinity_and_quota(monkeypatch, tmp_path):
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    for quota, cores in (("max 100000", 8), ("250000 100000", 3), ("10000 100000", 1)):
        (tmp_path / "cpu.max").write_text(quota)
        monkeypatch.setattr(hardware, "Path", lambda path: tmp_path / "cpu.max")
        assert usable_cores() == cores


def test_the_limit_of_use_cores_holds_for_every_runtime(monkeypatch):
    """An actor of the archive opens ONNX and TFLite files with its own share of the cores."""
    monkeypatch.setattr(hardware, "_most_cores", hardware._most_cores)  # restored afterwards
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", lambda count: None)
    use_cores(3)
    assert usable_cores() == 3
    use_cores()
    assert usable_cores() > 3


@pytest.fixture
def config(tmp_path):
    config = tiny_config(tmp_path, count=3)
    config["optimizer"] = {"name": "sgd", "learning_rate": 1e-3}
    config["steps"] = [{"loss": "l1", "updates": 6}]
    config["training"] = {"interval": 6, "log_every": 3}
    return config


@pytest.mark.slow
def test_a_run_resumes_in_the_precision_that_it_started_in(config, tmp_path, monkeypatch):
    rates = {"float32": 1e9, "mixed_bfloat16": 2e9}
    monkeypatch.setattr(hardware, "train_rate", rates.__getitem__)
    train(Config.model_validate(config), tmp_path / "run")
    log = tmp_path / "run/log.txt"
    assert "mixed_bfloat16 (auto: convolutions reach 2 GFLOP/s in bfloat16" in log.read_text()
    assert "warning" not in log.read_text()
    rates["float32"] = 4e9
    train(Config.model_validate(config), tmp_path / "run")
    assert "mixed_bfloat16 (auto, as before)" in log.read_text()
    assert "warning: bfloat16 is 2.0 times slower than float32 on this machine" in log.read_text()


@pytest.mark.slow
def test_several_updates_per_call_train_the_same(config, tmp_path):
    config["training"]["precision"] = "float32"
    for count in (1, 3):
        config["training"]["steps_per_execution"] = count
        train(Config.model_validate(config), tmp_path / str(count))
        assert "6/6" in (tmp_path / str(count) / "log.txt").read_text()
    assert same_weights(tmp_path / "1", tmp_path / "3", 1)


@pytest.mark.slow
def test_the_doctor_measures_and_prints_what_is_used():
    result = run_command("doctor")
    assert result.returncode == 0, result.stderr
    for part in ("tensorflow", "GFLOP/s", "precision", "cores used", "trains on    CPU:0"):
        assert part in result.stdout
    rates = measure_rates()
    assert str(rates) in result.stdout  # a process measures once
    for rate in (rates.float32, rates.bfloat16):
        assert 1e8 < rate < 1e15
        assert math.isfinite(rate)


@pytest.mark.parametrize("rates", [Rates(1e9, 2e9), Rates(2e9, 2e9)])
def test_auto_upscales_almost_as_float32(small_run, rates, monkeypatch):
    monkeypatch.setattr(loading, "measure_rates", lambda: rates)
    model, exact = load_upscaler(small_run, "auto"), load_upscaler(small_run)
    image = noise_image(20, 24)
    a, b = model.upscale(image), exact.upscale(image)
    if rates.precision == "float32":
        assert np.array_equal(a.theta, b.theta)
    else:
        assert 0 < np.abs(a.theta - b.theta).max() < 0.1 * b.theta.max()
        assert np.abs(a.image.astype(int) - b.image).max() <= 4
