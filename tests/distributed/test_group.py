import keras
import pytest

from udl_tf.config import DistributionConfig
from udl_tf.distributed import Group, join_group
from udl_tf.errors import UserError


def test_one_device_is_a_group_of_one_process():
    group = join_group(DistributionConfig(strategy="none"))
    assert type(group) is Group
    assert (group.replicas, group.writes) == (1, True)
    assert group.devices.endswith("(tensorflow)")
    assert group.share(lambda shares, num_shares: (shares, num_shares)) == (range(1), 1)


@pytest.mark.parametrize("name", ["mirrored", "multi_worker"])
def test_strategies_need_the_tensorflow_backend(name, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match=r"needs the TensorFlow backend, but .* 'jax': set"):
        join_group(DistributionConfig(strategy=name))
    assert type(join_group(DistributionConfig())) is Group


def test_data_parallel_needs_the_jax_backend_and_known_devices(monkeypatch):
    config = DistributionConfig(strategy="data_parallel", devices=["TPU:7"])
    with pytest.raises(UserError, match="needs the JAX backend: set KERAS_BACKEND=jax"):
        join_group(config)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match=r"distribution.devices: tpu:7 not found; this machine has"):
        join_group(config)
