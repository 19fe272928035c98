"""The head that predicts s = ln theta, and the two parts of a network that has one."""

import keras

from udl_tf.models.blocks import conv, nearest_up_conv

LOG_SCALE = "log_scale"
LOG_SCALE_RADIUS = 3  # HR pixels: of the head's three convolutions


def log_scale_head(features, filters: int, activation: str = "elu", scale: int = 1):
    """Three convolutions from features to s, one value a pixel and channel.

    Args:
        features: (n, h, w, filters).
        filters: channels of the features and of the head.
        activation: of the last convolution; "elu" as released, so s > -1; "linear" for GRAM.
        scale: HR over the features' size, to which they are brought by nearest neighbours.

    Returns:
        s, float32 (n, scale h, scale w, 3).

    Source: the authors' released EDSR (var_conv).
    """
    names = "log_scale_conv0", "log_scale_conv1"
    if scale == 1:
        first = conv(filters, filters, names[0], activation="elu")
    else:
        first = nearest_up_conv(filters, filters, scale, names[0], activation="elu")
    features = conv(filters, filters, names[1], activation="elu")(first(features))
    head = conv(3, filters, "log_scale_conv2", activation=activation, dtype="float32")
    return keras.layers.Identity(name=LOG_SCALE, dtype="float32")(head(features))


def mean_part(network: keras.Model) -> keras.Model:
    """The sub-model lr -> {"sr"}: it shares the weights and computes nothing of the uncertainty."""
    return keras.Model(network.input, {"sr": network.output["sr"]}, name=f"{network.name}_mean")


def uncertainty_part(network: keras.Model) -> keras.Model:
    """The sub-model lr -> {"log_scale"}: it shares the weights and computes no mean tail.

    Raises:
        ValueError: if the network was built with uncertainty=False.
    """
    if LOG_SCALE not in network.output:
        raise ValueError(f"{network.name} was built with uncertainty=False: it has no log_scale")
    output = {LOG_SCALE: network.output[LOG_SCALE]}
    return keras.Model(network.input, output, name=f"{network.name}_uncertainty")


def copy_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Copies into each layer of `target` the weights of the layer of that name in `source`.

    A layer keeps its own weights if source lacks it (the s head, when source has none), or has it
    with other shapes (the upsampler of another scale).

    Returns:
        The names of the layers that keep theirs.
    """
    given = {layer.name: layer.get_weights() for layer in source.layers}
    kept = []
    for layer in target.layers:
        weights = given.get(layer.name, [])
        if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(weights)
        else:
            kept.append(layer.name)
    return kept
