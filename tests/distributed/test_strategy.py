import json

import pytest
import tensorflow as tf
from helpers.commands import run_process

from udl_tf.config import DistributionConfig
from udl_tf.distributed import join_group, strategy
from udl_tf.distributed.cluster import Cluster
from udl_tf.distributed.strategy import make_strategy
from udl_tf.errors import Lost, UserError


@pytest.mark.slow
def test_two_replicas_end_with_the_weights_of_one_device(tmp_path):
    result = run_process("helpers.two_replicas", tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.rstrip().endswith("equal")


def test_one_device_needs_no_strategy():
    assert make_strategy(DistributionConfig(strategy="none")) is None
    if len(tf.config.list_physical_devices("GPU")) < 2:
        assert make_strategy(DistributionConfig()) is None


@pytest.mark.parametrize("name", ["auto", "mirrored"])
def test_missing_devices_are_named(name):
    with pytest.raises(UserError, match=r"GPU:7 not found; this machine has .*CPU:0"):
        make_strategy(DistributionConfig(strategy=name, devices=["GPU:7"]))


def test_the_strategy_none_refuses_devices():
    with pytest.raises(UserError, match='strategy "none" does not accept devices: remove them, or'):
        join_group(DistributionConfig(strategy="none", devices=["CPU:0"]))


def test_multi_worker_takes_no_devices():
    config = DistributionConfig(strategy="multi_worker", devices=["GPU:0"])
    with pytest.raises(UserError, match="uses all GPUs of a machine: remove the devices"):
        make_strategy(config)


def test_multi_worker_waits_as_long_as_the_config_says(monkeypatch, capsys):
    cluster = Cluster(("localhost:1", "localhost:2"), 1)
    monkeypatch.setenv("TF_CONFIG", cluster.tf_config())

    def meet(*arguments):
        raise Lost(json.dumps([arguments[0].index, arguments[1]]))

    monkeypatch.setattr(strategy, "meet", meet)
    with pytest.raises(Lost, match=r"\[1, 6\.0\]"):
        make_strategy(DistributionConfig(strategy="multi_worker", wait_minutes=0.1))
    assert capsys.readouterr().err == "worker 1 of 2 (localhost:2): waiting for the others\n"
