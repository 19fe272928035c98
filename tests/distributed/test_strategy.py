import keras
import pytest
import tensorflow as tf
from helpers.commands import ROOT, run_process

from udl_tf.config import DistributionConfig
from udl_tf.distributed.strategy import device_names, make_strategy, precision
from udl_tf.errors import UserError


def test_two_replicas_end_with_the_weights_of_one_device(tmp_path):
    result = run_process("two_replicas", tmp_path, cwd=ROOT / "tests", PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.rstrip().endswith("equal")


def test_one_device_needs_no_strategy():
    assert make_strategy(DistributionConfig(strategy="none")) is None
    if len(tf.config.list_physical_devices("GPU")) < 2:
        assert make_strategy(DistributionConfig()) is None
    assert device_names(None).endswith("(tensorflow)")


def test_missing_devices_are_named():
    with pytest.raises(UserError, match=r"GPU:7 not found; this machine has .*CPU:0"):
        make_strategy(DistributionConfig(strategy="mirrored", devices=["GPU:7"]))


def test_precision_is_given_back():
    with precision("mixed_bfloat16"):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == "float32"
