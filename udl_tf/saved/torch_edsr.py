"""PyTorch checkpoints of the UDL authors' EDSR-S and of EDSR-PyTorch.

Both use the same names for their layers. Step 1 of UDL adds the s head, `var_conv`. Checkpoints of
step 2 hold two networks: the frozen one with the prefix `EDSR_var.`, the student with `EDSR_U.`.
EDSR-PyTorch adds the constant convolutions `sub_mean` and `add_mean`.
"""

from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np

from udl_tf.config import ModelConfig
from udl_tf.saved.bundle import build_network
from udl_tf.saved.torch_layers import State, before_depth_to_space, convolution, set_checked

_MEANS = ("sub_mean", "add_mean")
_MEAN_SHAPES = (3, 3, 1, 1), (3,)  # of weight and bias
_FROZEN, _STUDENT, _S_HEAD = "EDSR_var.", "EDSR_U.", "var_conv."


def build_networks(
    state: State, res_scale: float | None
) -> tuple[ModelConfig, dict[str, keras.Model]]:
    """Builds the networks, "mean" and for step 2 "uncertainty", of a state_dict.

    Args:
        state: arrays by their names in PyTorch.
        res_scale: factor of the residual branches, which cannot be derived from the weights. None:
            as published, 0.1, or 1 for EDSR-PyTorch's networks of less than 256 channels.

    Returns:
        (architecture, networks by their part).

    Raises:
        ValueError: if a key is missing or unknown, or has another shape.
    """
    if not any(key.startswith(_FROZEN) for key in state):
        architecture, network = _build_network(state, res_scale)
        return architecture, {"mean": network}
    networks: dict[str, keras.Model] = {}
    architectures: list[ModelConfig] = []
    if unknown := sorted(key for key in state if not key.startswith((_FROZEN, _STUDENT))):
        raise ValueError(f"unknown key {unknown[0]} beside {_FROZEN}* and {_STUDENT}*")
    # The loss of step 2 does not train the student's s head.
    state = {k: v for k, v in state.items() if not k.startswith(_STUDENT + _S_HEAD)}
    for part, prefix in {"mean": _STUDENT, "uncertainty": _FROZEN}.items():
        own = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
        try:
            architecture, networks[part] = _build_network(own, res_scale)
            architectures.append(architecture)
            if part == "uncertainty" and "log_scale" not in networks[part].output:
                raise ValueError(f"key {_S_HEAD}0.weight is missing")
            if architecture != architectures[0]:
                raise ValueError("its size or scale differs from the student's")
        except ValueError as error:
            raise ValueError(f"keys {prefix}*: {error}") from None
    return architectures[0], networks


def _build_network(state: State, res_scale: float | None) -> tuple[ModelConfig, keras.Model]:
    """Builds one network, of a state_dict without prefix; returns its architecture too."""
    architecture = _find_architecture(state, res_scale)
    with_s = any(key.startswith(_S_HEAD) for key in state)
    network = build_network(architecture, "released" if with_s else None)
    names = [*_MEANS] if "shift" in architecture.options else []
    for layer, theirs in _names(network, architecture.options["num_blocks"]):
        names.append(theirs)
        weights = convolution(state, theirs)
        if layer.name.startswith("upsample"):
            weights = before_depth_to_space(weights, channels=weights[0].shape[2])
        set_checked(layer, weights, theirs)
    known = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if unknown := sorted(set(state) - known):
        raise ValueError(f"unknown key {unknown[0]}")
    return architecture, network


def _find_architecture(state: State, res_scale: float | None) -> ModelConfig:
    """Returns the architecture that the keys and shapes of a state_dict imply."""
    filters = len(convolution(state, "head.0")[1])
    blocks = sum(key.startswith("body.") and key.endswith(".body.0.weight") for key in state)
    factor = len(convolution(state, "tail.0.0")[1]) // filters
    # x4 upsamples twice by 2; each upsampling by r multiplies the channels by r^2.
    scales: dict[int, Literal[2, 3, 4]] = {4: 4 if "tail.0.2.weight" in state else 2, 9: 3}
    if factor not in scales:
        raise ValueError(f"tail.0.0.weight multiplies the channels by {factor}, expected 4 or 9")
    shifted = "sub_mean.weight" in state
    if res_scale is None:
        res_scale = 1.0 if shifted and filters < 256 else 0.1
    options: dict[str, Any] = {
        "num_blocks": blocks,
        "num_filters": filters,
        "res_scale": res_scale,
        **(_normalization(state) if shifted else {}),
    }
    name = "edsr" if (blocks, filters) == (32, 256) else "edsr_s"
    return ModelConfig(name=name, scale=scales[factor], options=options)


def _names(network: keras.Model, blocks: int) -> Iterator[tuple[keras.Layer, str]]:
    """Returns the layers that have weights, with their names in PyTorch."""
    theirs = {"head": "head.0", "body_end": f"body.{blocks}", "tail": "tail.1"}
    for block in range(blocks):
        theirs |= {f"block{block}_conv{i}": f"body.{block}.body.{2 * i}" for i in (0, 1)}
    theirs |= {f"upsample{i}": f"tail.0.{2 * i}" for i in (0, 1)}
    theirs |= {f"log_scale_conv{i}": f"{_S_HEAD}{2 * i}" for i in (0, 1, 2)}
    return ((layer, theirs[layer.name]) for layer in network.layers if layer.weights)


def _normalization(state: State) -> dict[str, Any]:
    """Returns shift and divide for the 1x1 convolutions that subtract and add the mean colour."""
    weights = {}
    for mean in _MEANS:
        weight, bias = state.get(f"{mean}.weight"), state.get(f"{mean}.bias")
        if weight is None or bias is None or (weight.shape, bias.shape) != _MEAN_SHAPES:
            raise ValueError(f"{mean} is incomplete")
        matrix = weight[:, :, 0, 0]
        if np.any(matrix != np.diag(np.diag(matrix))):
            raise ValueError(f"{mean}.weight mixes colours")
        weights[mean] = np.diag(matrix).astype(float), bias.astype(float)
    divide, shift = weights["add_mean"]
    factor, offset = weights["sub_mean"]
    if not (np.allclose(factor * divide, 1) and np.allclose(offset, -shift * factor)):
        raise ValueError("add_mean is not the inverse of sub_mean")
    return {"shift": shift.tolist(), "divide": divide.tolist()}
