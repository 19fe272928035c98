import keras
import numpy as np
import pytest

from udl_tf.models import precision
from udl_tf.models.blocks import conv
from udl_tf.models.branches import BranchedConv2D

X = np.random.default_rng(0).normal(size=(1, 7, 6, 5)).astype(np.float32)


def branched(filters=4, inputs=5, **options) -> BranchedConv2D:
    keras.utils.set_random_seed(0)
    layer = BranchedConv2D(filters, inputs, "layer", **options)
    layer.build((None, None, None, inputs))
    return layer


def convolved(x, kernel, padding="valid"):
    return keras.ops.conv(x, kernel, padding=padding)


@pytest.mark.parametrize("expansion", [1, 2])
def test_the_kernel_is_three_convolutions_in_a_row_beside_a_shortcut(expansion):
    """The image is padded with zeros before the first, so that the border is exact too."""
    layer = branched(expansion=expansion)
    first, middle, last, shortcut, bias = layer.get_weights()
    x = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)))
    row = convolved(convolved(convolved(x, first), middle), last)
    expected = row + convolved(X, shortcut) + bias
    assert np.allclose(layer(X), expected, atol=1e-5)
    kernel, bias = layer.plain_weights()
    assert np.allclose(convolved(X, kernel, "same") + bias, expected, atol=1e-5)


def test_an_activation_follows():
    layer = branched(activation="relu")
    linear = branched()
    assert np.array_equal(layer(X), np.maximum(linear(X), 0))


def test_a_plain_kernel_is_carried_exactly_and_all_parts_learn():
    layer, plain = branched(), conv(4, 5, "plain")
    plain.build((None, None, None, 5))
    layer.set_plain_weights(plain.get_weights())
    assert np.array_equal(layer.plain_weights()[0], plain.get_weights()[0])
    assert np.allclose(layer(X), plain(X), atol=1e-6)
    before = layer.get_weights()
    model = keras.Sequential([keras.Input((None, None, 5)), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, np.ones((1, 7, 6, 4), np.float32), epochs=2, verbose=0)
    for old, new in zip(before, layer.get_weights(), strict=True):
        assert not np.array_equal(old, new)
    # The half of the inner channels that contributed nothing does after two updates.
    assert np.abs(layer.get_weights()[2][..., 4:, :]).max() > 0


def test_the_output_starts_with_the_variance_of_a_convolution():
    """That is 1/3 of the variance of the input, plus the bias' 1/(27 inputs)."""
    layer = branched(filters=64, inputs=48)
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 48)).astype(np.float32)
    inner = np.asarray(layer(x))[:, 1:-1, 1:-1]
    assert inner.var() == pytest.approx(1 / 3 + 1 / (27 * 48), rel=0.05)


def test_kernels_are_computed_in_float32_under_mixed_precision():
    with precision("mixed_bfloat16"):
        half = branched()
    assert half(X).dtype == "bfloat16"
    expected = convolved(
        keras.ops.cast(X, "bfloat16"), keras.ops.cast(branched().plain_weights()[0], "bfloat16"),
        "same",
    ) + keras.ops.cast(half.bias, "bfloat16")  # fmt: skip
    assert np.array_equal(np.float32(half(X)), np.float32(expected))


def test_a_layer_is_rebuilt_from_its_config():
    layer = branched(expansion=3, activation="silu")
    again = BranchedConv2D.from_config(layer.get_config())
    again.build((None, None, None, 5))
    again.set_weights(layer.get_weights())
    assert np.array_equal(layer(X), again(X))
    assert layer.compute_output_shape(X.shape) == (1, 7, 6, 4)
