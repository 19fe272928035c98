"""Weights of PyTorch convolutions in the layout of Keras."""

import numpy as np

State = dict[str, np.ndarray]
"""Arrays of a state_dict by their names."""


def convolution(state: State, name: str) -> list[np.ndarray]:
    """Returns kernel (rows, columns, inputs, outputs) and bias of a convolution.

    Raises:
        ValueError: if they are missing, or do not fit together.
    """
    for part in ("weight", "bias"):
        if f"{name}.{part}" not in state:
            raise ValueError(f"key {name}.{part} is missing")
    kernel, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if kernel.ndim != 4 or kernel.shape[:1] != bias.shape or kernel.size == 0:
        raise ValueError(f"{name}.weight has shape {kernel.shape}, its bias {bias.shape}")
    return [kernel.transpose(2, 3, 1, 0), bias]


def before_depth_to_space(weights: list[np.ndarray], channels: int) -> list[np.ndarray]:
    """Returns the weights of a convolution before a pixel_shuffle for one before depth_to_space.

    The outputs of the former are ordered (c, row, column), those of the latter (row, column, c).

    Args:
        weights: kernel and bias.
        channels: number of channels c after the shuffle.
    """
    order = np.arange(weights[1].size).reshape(channels, -1).T.ravel()
    return [part[..., order] for part in weights]


def set_checked(layer, weights: list[np.ndarray], name: str) -> None:
    """Sets the weights of a layer, which has this name in PyTorch.

    Raises:
        ValueError: if the shapes differ.
    """
    if [w.shape for w in weights] != [tuple(variable.shape) for variable in layer.weights]:
        shape = tuple(weights[0].shape[axis] for axis in (3, 2, 0, 1))
        raise ValueError(f"{name}.weight has shape {shape}")
    layer.set_weights(weights)
