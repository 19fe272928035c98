"""PyTorch checkpoints of the UDL authors' EDSR-S and of EDSR-PyTorch.

Both use the same names for their layers. Step 1 of UDL adds the s head, `var_conv`. Checkpoints of
step 2 hold two networks: the frozen one with the prefix `EDSR_var.`, the student with `EDSR_U.`.
EDSR-PyTorch adds the constant convolutions `sub_mean` and `add_mean`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from udl_tf._support.files import complete_folder
from udl_tf.config import LogScaleHead, ModelConfig
from udl_tf.errors import UserError, needs_extra
from udl_tf.losses import ESULoss
from udl_tf.saved.bundle import (
    Manifest,
    NetworkFile,
    UncertaintyFile,
    build_network,
    save_weights,
    write_manifest,
)

State = dict[str, np.ndarray]

_MEANS = ("sub_mean", "add_mean")
_FROZEN, _STUDENT, _S_HEAD = "EDSR_var.", "EDSR_U.", "var_conv."


def import_torch(
    checkpoint: Path | str, output: Path | str, res_scale: float | None = None
) -> Manifest:
    """Writes a bundle with the weights of a checkpoint.

    Args:
        checkpoint: a state_dict written by torch.save; no code in the file is run.
        output: new folder for the bundle.
        res_scale: factor of the residual branches, which cannot be derived from the weights. None:
            as published, 0.1, or 1 for EDSR-PyTorch's networks of less than 256 channels.

    Returns:
        The content of the bundle's model.json.

    Raises:
        UserError: if the checkpoint has a missing, an unknown or a misshapen key, torch is not
            installed, or output exists.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    if output.exists():
        raise UserError(f"{output}: already exists: choose another output", argument="output")
    architecture, networks = _build_networks(checkpoint, read_checkpoint(checkpoint), res_scale)
    files = {part: f"weights/{part}.weights.h5" for part in networks}
    head: LogScaleHead | None = "released" if "log_scale" in networks["mean"].output else None
    uncertainty = None
    if head or "uncertainty" in networks:
        file = files.get("uncertainty", files["mean"])
        uncertainty = UncertaintyFile(
            weights=file, log_scale_head="released", unit=ESULoss.unit, power=ESULoss.power
        )
    manifest = Manifest(
        architecture=architecture,
        mean=NetworkFile(weights=files["mean"], log_scale_head=head),
        uncertainty=uncertainty,
        training={"imported": checkpoint.name},
    )
    with complete_folder(output) as folder:
        for part, network in networks.items():
            save_weights(network, folder / files[part])
        write_manifest(folder, manifest)
    return manifest


def _build_networks(
    checkpoint: Path, state: State, res_scale: float | None
) -> tuple[ModelConfig, dict[str, keras.Model]]:
    """Returns the architecture and the networks, "mean" and for step 2 "uncertainty", of a state.

    Raises:
        UserError: naming the checkpoint and the key that does not fit.
    """
    two_steps = any(key.startswith(_FROZEN) for key in state)
    prefixes = {"mean": _STUDENT, "uncertainty": _FROZEN} if two_steps else {"mean": ""}
    expected = (
        "two networks, with the prefixes EDSR_var. and EDSR_U.," if two_steps else "a network"
    )
    expected = f"expected {expected} of the UDL authors' EDSR-S or of EDSR-PyTorch"
    if two_steps:
        # The loss of step 2 does not train the student's s head.
        state = {k: v for k, v in state.items() if not k.startswith(_STUDENT + _S_HEAD)}
    for key in state:
        if not key.startswith(tuple(prefixes.values())):
            raise UserError(f"{checkpoint}: unknown key {key}: {expected}")
    networks: dict[str, keras.Model] = {}
    architectures: list[ModelConfig] = []
    for part, prefix in prefixes.items():
        own = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
        try:
            architecture, networks[part] = build_from_state(own, res_scale)
            architectures.append(architecture)
            if part == "uncertainty" and "log_scale" not in networks[part].output:
                raise ValueError(f"key {_S_HEAD}0.weight is missing")
            if architecture != architectures[0]:
                raise ValueError("its size or scale differs from the student's")
        except ValueError as error:
            place = f"{checkpoint}, keys {prefix}*" if prefix else f"{checkpoint}"
            raise UserError(f"{place}: {error}: {expected}") from None
    return architectures[0], networks


def read_checkpoint(path: Path) -> State:
    """Reads the arrays of a saved state_dict.

    Raises:
        UserError: if the file holds no state_dict, or torch is not installed.
    """
    with needs_extra("torch"):
        import torch
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # unpickling fails in many ways
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: expected torch.save(network.state_dict()): {reason}") from None
    if not (
        isinstance(content, dict)
        and all(isinstance(key, str) for key in content)
        and all(map(torch.is_tensor, content.values()))
    ):
        raise UserError(f"{path}: expected a dict of tensors, torch.save(network.state_dict())")
    return {key: value.detach().float().numpy() for key, value in content.items()}


def build_from_state(
    state: State, res_scale: float | None = None
) -> tuple[ModelConfig, keras.Model]:
    """Builds a network with the weights of a state_dict, whose shapes determine its architecture.

    Args:
        state: arrays by their names in PyTorch, without prefix.
        res_scale: as for import_torch.

    Returns:
        (architecture, network).

    Raises:
        ValueError: if a key is missing or unknown, or has another shape.
    """
    architecture = _find_architecture(state, res_scale)
    with_s = any(key.startswith(_S_HEAD) for key in state)
    network = build_network(architecture, "released" if with_s else None)
    names = [*_MEANS] if "shift" in architecture.options else []
    for layer, theirs in _names(network, architecture.options["num_blocks"]):
        names.append(theirs)
        weights = _convolution(state, theirs, layer.name)
        shapes = [tuple(variable.shape) for variable in layer.weights]
        if [w.shape for w in weights] != shapes:
            raise ValueError(f"{theirs}.weight has shape {state[f'{theirs}.weight'].shape}")
        layer.set_weights(weights)
    known = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if unknown := sorted(set(state) - known):
        raise ValueError(f"unknown key {unknown[0]}")
    return architecture, network


def _find_architecture(state: State, res_scale: float | None) -> ModelConfig:
    """Returns the architecture that the keys and shapes of a state_dict imply."""
    if "head.0.weight" not in state:
        raise ValueError("key head.0.weight is missing")
    filters = state["head.0.weight"].shape[0]
    blocks = sum(key.startswith("body.") and key.endswith(".body.0.weight") for key in state)
    factor = state["tail.0.0.weight"].shape[0] // filters if "tail.0.0.weight" in state else 0
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


def _convolution(state: State, theirs: str, ours: str) -> list[np.ndarray]:
    """Returns kernel and bias in the layout of Keras."""
    for part in ("weight", "bias"):
        if f"{theirs}.{part}" not in state:
            raise ValueError(f"key {theirs}.{part} is missing")
    kernel, bias = state[f"{theirs}.weight"], state[f"{theirs}.bias"]
    if kernel.ndim != 4 or kernel.shape[:1] != bias.shape:
        raise ValueError(f"{theirs}.weight has shape {kernel.shape}, its bias {bias.shape}")
    if ours.startswith("upsample"):
        # The channels of pixel_shuffle are ordered (c, row, column), those of depth_to_space
        # (row, column, c).
        channels, inputs = len(bias), kernel.shape[1]
        order = np.arange(channels).reshape(inputs, -1).T.ravel()
        kernel, bias = kernel[order], bias[order]
    return [kernel.transpose(2, 3, 1, 0), bias]


def _normalization(state: State) -> dict[str, Any]:
    """Returns shift and divide for the 1x1 convolutions that subtract and add the mean colour."""
    weights = {}
    for mean in _MEANS:
        weight, bias = state.get(f"{mean}.weight"), state.get(f"{mean}.bias")
        if weight is None or bias is None or weight.shape != (3, 3, 1, 1):
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
