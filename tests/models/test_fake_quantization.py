"""Simulated int8."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.images import noise_image
from helpers.models import LIGHT_FUSED

from udl_tf.models import build_model
from udl_tf.models.fake_quantization import fake_quantized, round_kernel, round_map

SMALL = {"num_blocks": 1, "num_filters": 8}


def test_a_kernel_has_255_symmetric_levels_per_output_channel():
    kernel = np.array([[1.27, 254.0], [-0.504, -0.9], [0.016, 1.1]], np.float32)
    # steps of 1.27 / 127 and 254 / 127
    expected = [[1.27, 254], [-0.5, 0], [0.02, 2]]
    assert np.allclose(round_kernel(kernel), expected, atol=1e-5)
    assert np.array_equal(round_kernel(np.zeros((2, 3), np.float32)), np.zeros((2, 3)))


def test_a_map_has_256_levels_between_its_extremes_zero_among_them():
    x = np.array([-1.0, -0.006, 0.0, 0.004, 0.306, 1.55], np.float32)  # steps of 2.55 / 255
    assert np.allclose(round_map(x), [-1, -0.01, 0, 0, 0.31, 1.55], atol=1e-6)
    positive = np.array([1.0, 2.55], np.float32)  # a range without zero is extended to zero
    assert np.allclose(round_map(positive * 0.996), [1.0 * 0.996, 2.55 * 0.996], atol=1e-6)
    assert np.array_equal(round_map(np.zeros(3, np.float32)), np.zeros(3))


def test_rounding_has_the_gradient_of_the_identity():
    x = tf.constant([[0.1, -0.7], [0.33, 0.9]])
    for function in (round_kernel, round_map):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x) * [[1.0, 2.0], [3.0, 4.0]]
        assert np.array_equal(tape.gradient(y, x), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("name", "options"),
    [("edsr_s", {}), ("edsr_s", LIGHT_FUSED), ("span", {"log_scale_head": "light"})],
)
def test_all_weights_get_gradients_and_the_result_is_near(name, options):
    """A stepwise upsampler is folded into one convolution, through which gradients pass."""
    network = build_model(name, 2, **{**SMALL, **options})
    lr = noise_image(12, 12)[None].astype(np.float32)
    with tf.GradientTape() as tape:
        rounded = fake_quantized(network)(lr)
        total = sum(tf.reduce_mean(values) for values in rounded.values())
    gradients = tape.gradient(total, network.trainable_variables)
    assert all(g is not None and np.abs(g).max() > 0 for g in gradients)
    for key, values in network(lr).items():
        inside = np.s_[:, 8:-8, 8:-8]  # the simulation mirrors the border
        error = np.asarray(rounded[key])[inside] - np.asarray(values)[inside]
        assert 0 < np.abs(error).mean() < 0.05 * np.ptp(values)


def test_it_computes_with_the_current_weights():
    network = build_model("edsr_s", 2, uncertainty=False, **SMALL)
    simulated, lr = fake_quantized(network), noise_image(9, 9)[None].astype(np.float32)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    kernel, bias = network.get_layer("tail").get_weights()
    network.get_layer("tail").set_weights([kernel, bias + 7.0])
    assert np.allclose(simulated(lr)["sr"], 7.0, atol=1e-3)
