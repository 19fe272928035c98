"""Weights that pass from one network to another, layer by layer."""

import keras

from udl_tf.models.branches import BranchedConv2D
from udl_tf.models.dtype_policy import precision


def copy_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Copies the weights of each layer in `source` to the layer of the same name in `target`.

    A layer keeps its own weights if `source` lacks it (such as the s head) or has it with other
    shapes (such as the upsampler of another scale). Where one of both is a plain convolution and
    the other has branches, the target computes the same as the source.

    Returns:
        Names of the layers that keep their own weights.
    """
    given = {layer.name: layer for layer in source.layers}
    return [
        layer.name
        for layer in target.layers
        if layer.weights and not _copy_layer(given.get(layer.name), layer)
    ]


def has_branches(network: keras.Model) -> bool:
    """Returns whether a network has branches; one without `settings` has none."""
    return bool(getattr(network, "settings", {}).get("branches"))


def fused(network: keras.Model) -> keras.Model:
    """Returns the same network with plain convolutions in place of branches.

    Without branches, that is the network itself.
    """
    if not has_branches(network):
        return network
    with precision(network.dtype_policy.name):
        plain = type(network).from_config({**network.get_config(), "branches": False})
    copy_weights(network, plain)
    return plain


def _copy_layer(source: keras.layers.Layer | None, target: keras.layers.Layer) -> bool:
    """Copies the weights of a layer; returns whether there are any of these shapes."""
    if source is None:
        return False
    weights = source.get_weights()
    shapes, set_weights = [tuple(w.shape) for w in target.weights], target.set_weights
    if isinstance(source, BranchedConv2D) != isinstance(target, BranchedConv2D):
        if isinstance(source, BranchedConv2D):
            weights = source.plain_weights()
        else:
            shapes, set_weights = target.plain_shapes, target.set_plain_weights
    if [w.shape for w in weights] != shapes:
        return False
    set_weights(weights)
    return True
