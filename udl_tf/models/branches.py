"""Branches in weight space: convolutions that train as products and ship as plain kernels."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("udl_tf")
class BranchedConv2D(keras.layers.Layer):
    """3x3 convolution whose kernel is a product of three kernels beside a shortcut.

        kernel = first (1x1) * middle (3x3) * last (1x1) + shortcut (1x1, at the centre)

    Networks of linear branches train better than plain convolutions. Here the branches are joined
    before they meet the image, as one kernel: an update costs hardly more than with a plain
    convolution, and the border is exact. The kernel is computed in float32.

    At the start, the output has the variance that it has with `udl_tf.models.blocks.conv`; product
    and shortcut contribute half of it each.

    Args:
        filters: output channels.
        inputs: input channels.
        name: layer name, unique in its network.
        expansion: inner channels of the product over its outer ones.
        activation: as in keras.layers.Conv2D.

    Source: the linear blocks of SESR (Bhardwaj et al., MLSys 2022) and the Conv3XC of SPAN (Wan et
    al., CVPRW 2024), which has biases inside too.
    """

    def __init__(
        self,
        filters: int,
        inputs: int,
        name: str,
        expansion: int = 2,
        activation: str | None = None,
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.filters = filters
        self.inputs = inputs
        self.expansion = expansion
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        wide_inputs, wide_filters = self.expansion * self.inputs, self.expansion * self.filters
        # The variance of a product is that of its factors times the channels summed over. `conv`
        # has an output of 1/3 of the variance of its input; here, `first` and `middle` preserve
        # it, and `last` and `shortcut` yield 1/6 each.
        shapes_and_variances = {
            "first": ((1, 1, self.inputs, wide_inputs), 1 / self.inputs),
            "middle": ((3, 3, wide_inputs, wide_filters), 1 / (9 * wide_inputs)),
            "last": ((1, 1, wide_filters, self.filters), 1 / (6 * wide_filters)),
            "shortcut": ((1, 1, self.inputs, self.filters), 1 / (6 * self.inputs)),
            "bias": ((self.filters,), 1 / (27 * self.inputs)),
        }
        for part, (shape, variance) in shapes_and_variances.items():
            bound = (3 * variance) ** 0.5
            uniform = keras.initializers.RandomUniform(-bound, bound)
            setattr(self, part, self.add_weight(shape, uniform, name=part, autocast=False))

    def call(self, x):
        kernel = ops.matmul(ops.matmul(self.first, self.middle), self.last)
        kernel += ops.pad(self.shortcut, ((1, 1), (1, 1), (0, 0), (0, 0)))
        x = ops.conv(x, ops.cast(kernel, x.dtype), padding="same")
        return self.activation(x + ops.cast(self.bias, x.dtype))

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "inputs": self.inputs,
            "expansion": self.expansion,
            "activation": keras.activations.serialize(self.activation),
        }

    def plain_weights(self) -> list[np.ndarray]:
        """Returns kernel and bias of the plain convolution that computes the same."""
        *factors, shortcut, bias = (weight.astype(np.float64) for weight in self.get_weights())
        first, middle, last = factors
        kernel = first @ middle @ last
        kernel[1, 1] += shortcut[0, 0]
        with np.errstate(over="ignore"):  # of a network that diverges
            return [kernel.astype(np.float32), bias.astype(np.float32)]

    def set_plain_weights(self, weights: list[np.ndarray]) -> None:
        """Sets weights with which the layer computes the same as a plain convolution.

        The product carries the kernel through the first half of its inner channels. The others keep
        their current weights, but contribute only what they learn.

        Args:
            weights: kernel and bias of the plain convolution.
        """
        kernel, bias = weights
        first, middle, last, shortcut, _ = self.get_weights()
        first[..., : self.inputs] = np.eye(self.inputs)
        middle[..., : self.filters] = 0
        middle[..., : self.inputs, : self.filters] = kernel
        last[:] = np.eye(*last.shape[-2:])
        self.set_weights([first, middle, last, np.zeros_like(shortcut), bias])

    @property
    def plain_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of kernel and bias of a plain convolution."""
        return [(3, 3, self.inputs, self.filters), (self.filters,)]
