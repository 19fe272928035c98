from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf
from tensorflow.python.client import device_lib

from udl_tf._support import hardware
from udl_tf._support.device_memory import free_gpu_memory, free_memory


def test_this_machine_has_memory():
    assert free_memory() > 1e8


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(hardware, "has_gpu", lambda: False)
    assert free_gpu_memory() is None


def test_the_free_memory_of_a_gpu_under_tensorflow(monkeypatch):
    """Stand-ins for the two functions of TensorFlow, with a pool of 70 GB of which 4 are used."""
    devices = [
        SimpleNamespace(device_type="CPU", memory_limit=2**28),
        SimpleNamespace(device_type="GPU", memory_limit=70e9),
    ]
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(device_lib, "list_local_devices", lambda: devices)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda name: {"current": 4e9})
    assert free_gpu_memory() == 66e9


def test_the_free_memory_of_a_gpu_under_jax(monkeypatch):
    jax = pytest.importorskip("jax")
    stats = {"bytes_limit": 60e9, "bytes_in_use": 1e9}
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    device = SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert free_gpu_memory() == 59e9
