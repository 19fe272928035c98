"""Networks in simulated int8, through which a quantization-aware step trains.

The graph is that of an export: the chain of a network with its upsampler folded, in which kernels
and maps are rounded as TFLite rounds them. Kernels have 255 levels per output channel, symmetric
around zero; maps have 256 levels per tensor, between their smallest and largest value in the batch,
zero among them. Rounding has the gradient of the identity.

The ranges are those of the batch, whereas exporters take those of their representative images: the
simulation therefore has no state of its own besides the weights of the network.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from udl_tf.models.blocks import DepthToSpace, SpaceToDepth, pad_symmetric
from udl_tf.models.stages import chain_of, run_chain

_MOVING = DepthToSpace, SpaceToDepth, keras.layers.Identity
"""Layers that only move values, which have been rounded before."""

_MARGIN = 4
"""Mirrored LR pixels around a patch, in which a chain with `bordered` is not exact."""

_EXACT = "normalize", "phases", "sr"
"""Layers whose 256 levels are the grey levels of the image."""


def fake_quantized(network: keras.Model) -> Callable[[Any], dict[str, Any]]:
    """Returns the function lr -> outputs of a network in simulated int8, for training.

    It computes with the current weights of the network, to which gradients pass.

    Args:
        network: without branches, in float32.
    """
    outputs = tuple(network.output)
    chain = [
        replace(stage, network=_rounded(stage.network), parts=())
        for stage in chain_of(network, *outputs, bordered=True)
    ]
    edge = _MARGIN * chain[-1].scale

    def forward(lr):
        maps = run_chain(chain, pad_symmetric(lr, _MARGIN))
        maps = [values[:, edge:-edge, edge:-edge] for values in maps]
        return dict(zip(outputs, maps, strict=True))

    return forward


def round_kernel(kernel):
    """Rounds a kernel (..., out) to -127..127 steps, a step for each output channel."""
    step = ops.max(ops.abs(kernel), axis=range(len(kernel.shape) - 1), keepdims=True) / 127.0
    return _round(kernel, step)


def round_map(x):
    """Rounds a map to 256 levels between its smallest and largest value, zero among them."""
    low, high = ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0)
    return _round(x, (high - low) / 255.0)


def _round(x, step):
    """Rounds to multiples of a step; the gradient is that of the identity."""
    step = ops.stop_gradient(ops.maximum(step, keras.config.epsilon() ** 2))
    return x + ops.stop_gradient(step * ops.round(x / step) - x)


class _RoundedMap(keras.layers.Layer):
    """Rounds a map."""

    def call(self, x):
        return round_map(x)


class _RoundedKernel(keras.layers.Layer):
    """Computes a layer with rounded kernels.

    Args:
        layer: any with weights.
    """

    def __init__(self, layer: keras.layers.Layer):
        super().__init__(name=f"rounded_{layer.name}", dtype="float32")
        self.layer = layer

    def call(self, *maps):
        weights = self.layer.weights
        fold = getattr(self.layer, "fold", None)  # weights that depend on others
        values = [ops.convert_to_tensor(w) for w in weights] if fold is None else fold()
        values = [round_kernel(v) if len(v.shape) == 4 else v for v in values]
        with keras.StatelessScope(list(zip(weights, values, strict=True))):
            return self.layer(*maps)

    def compute_output_spec(self, *maps):
        return self.layer.compute_output_spec(*maps)


def _rounded(network: keras.Model) -> keras.Model:
    """Returns a network that shares the weights of another and rounds as int8 does."""
    # Exporters fold the factor of a convolution's result into its kernel.
    folded = {
        layer.input._keras_history.operation.name
        for layer in network.layers
        if isinstance(layer, keras.layers.Rescaling)
    }
    unrounded = {*folded, *_EXACT}

    def call(operation, *args, **kwargs):
        if isinstance(operation, keras.Model):
            return _rounded(operation)(*args)
        has_weights = isinstance(operation, keras.layers.Layer) and operation.weights
        result = (_RoundedKernel(operation) if has_weights else operation)(*args, **kwargs)
        if isinstance(operation, _MOVING) or operation.name in unrounded:
            return result
        return _RoundedMap(dtype="float32")(result)

    return keras.models.clone_model(
        network, clone_function=lambda operation: operation, call_function=call
    )
