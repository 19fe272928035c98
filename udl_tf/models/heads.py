"""Head that predicts s = ln theta, and the mean and uncertainty parts of a network with it."""

import keras

from udl_tf.models.blocks import conv, nearest_up_conv

LOG_SCALE = "log_scale"
LOG_SCALE_RADIUS = 3  # HR pixels on each side that the head's three convolutions depend on


def log_scale_head(features, filters: int, activation: str = "elu", scale: int = 1):
    """Applies three convolutions that predict s per pixel and channel.

    Args:
        features: (n, h, w, filters).
        filters: channels of the features and of the head.
        activation: activation of the last convolution: "elu" as released, so s > -1, or "linear"
            for GRAM.
        scale: HR size over the size of the features, which are upsampled by nearest neighbours.

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
    """Returns the sub-model lr -> {"sr"}, which shares the weights and computes no uncertainty."""
    return keras.Model(network.input, {"sr": network.output["sr"]}, name=f"{network.name}_mean")


def uncertainty_part(network: keras.Model) -> keras.Model:
    """Returns the sub-model lr -> {"log_scale"}, which shares the weights and computes no sr.

    Raises:
        ValueError: if the network was built with uncertainty=False.
    """
    if LOG_SCALE not in network.output:
        raise ValueError(f"{network.name} was built with uncertainty=False: it has no log_scale")
    output = {LOG_SCALE: network.output[LOG_SCALE]}
    return keras.Model(network.input, output, name=f"{network.name}_uncertainty")


def copy_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Copies the weights of each layer in `source` to the layer of the same name in `target`.

    A layer keeps its own weights if `source` lacks it (such as the s head) or has it with other
    shapes (such as the upsampler of another scale).

    Returns:
        Names of the layers that keep their own weights.
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
