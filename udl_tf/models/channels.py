"""Weights of a network for images of another number of channels."""

import keras
import numpy as np


def adapt_channels(source: keras.Model, target: keras.Model) -> dict[str, str]:
    """Copies the weights of a network to the same network of another number of channels.

    Kernels that read or yield images are converted. With fewer channels, each gets the sum of the
    kernels that read several previous ones, and the mean of those that yield them. With more, the
    kernels are repeated, and those that read are divided by the number of repetitions. For images
    whose channels are equal, features and results stay the same therefore, if the network
    normalises all channels alike.

    Args:
        source: network without branches.
        target: the same network, but for the number of channels.

    Returns:
        What was done, such as "inputs summed", by the names of the converted layers.
    """
    links = _links(source.input_shape[-1], target.input_shape[-1])
    fewer = links.shape[1] < links.shape[0]
    inputs = "inputs summed" if fewer else "inputs repeated", links / links.sum(1, keepdims=True)
    outputs = "outputs averaged" if fewer else "outputs repeated", links / links.sum(0)
    changes = {}
    for layer in (layer for layer in target.layers if layer.weights):
        weights, done = source.get_layer(layer.name).get_weights(), set()
        for index, variable in enumerate(layer.weights):
            for axis, length in enumerate(variable.shape):
                if weights[index].shape[axis] != length:
                    change, factors = inputs if axis == len(variable.shape) - 2 else outputs
                    weights[index] = _convert(weights[index], axis, factors)
                    done.add(change)
        layer.set_weights(weights)
        if done:
            changes[layer.name] = " and ".join(sorted(done))
    return changes


def adapted_values(values: list[float], channels: int) -> list[float]:
    """Returns values per channel for another number of channels: repeated, or their means."""
    links = _links(len(values), channels)
    return (np.array(values) @ (links / links.sum(0))).tolist()


def _links(before: int, after: int) -> np.ndarray:
    """Returns which previous channels correspond to which new ones, (before, after) of 0 and 1."""
    i, j = np.arange(before)[:, None], np.arange(after)
    return (i % after == j % before).astype(np.float64)


def _convert(values: np.ndarray, axis: int, factors: np.ndarray) -> np.ndarray:
    """Converts an axis of image channels; those of several pixels follow each other, as phases."""
    moved = np.moveaxis(values, axis, -1)
    moved = moved.reshape(*moved.shape[:-1], -1, len(factors)) @ factors
    moved = moved.reshape(*moved.shape[:-2], -1)
    return np.moveaxis(moved, -1, axis).astype(values.dtype)
