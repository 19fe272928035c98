"""PyTorch checkpoints, imported as bundles."""

from pathlib import Path

import keras

from udl_tf._support.files import complete_folder
from udl_tf.config import LogScaleHead, ModelConfig
from udl_tf.errors import UserError, needs_extra
from udl_tf.losses import ESULoss
from udl_tf.saved import torch_edsr, torch_span
from udl_tf.saved.bundle import (
    Manifest,
    NetworkFile,
    UncertaintyFile,
    save_weights,
    write_manifest,
)
from udl_tf.saved.torch_layers import State

KNOWN = "the UDL authors' EDSR-S, of EDSR-PyTorch or of SPAN"


def import_torch(
    checkpoint: Path | str, output: Path | str, res_scale: float | None = None
) -> Manifest:
    """Writes a bundle with the weights of a checkpoint.

    Args:
        checkpoint: a state_dict written by torch.save, possibly as the entry "params_ema" or
            "params" of a dict; no code in the file is run.
        output: new folder for the bundle.
        res_scale: factor of EDSR's residual branches, which cannot be derived from the weights.
            None: as published, 0.1, or 1 for EDSR-PyTorch's networks of less than 256 channels.

    Returns:
        The content of the bundle's model.json.

    Raises:
        UserError: if the checkpoint has a missing, an unknown or a misshapen key, torch is not
            installed, or output exists.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    if output.exists():
        raise UserError(f"{output}: already exists: choose another output", argument="output")
    architecture, networks = _build_networks(checkpoint, res_scale)
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
    checkpoint: Path, res_scale: float | None
) -> tuple[ModelConfig, dict[str, keras.Model]]:
    """Returns the architecture and the networks, "mean" and for step 2 "uncertainty", of a file.

    Raises:
        UserError: naming the checkpoint and the key that does not fit.
    """
    state = read_checkpoint(checkpoint)
    try:
        if not torch_span.is_span(state):
            return torch_edsr.build_networks(state, res_scale)
        if res_scale is not None:
            raise ValueError(f"res_scale {res_scale} is given, which SPAN does not have")
        return torch_span.build_networks(state)
    except ValueError as error:
        raise UserError(f"{checkpoint}: {error}: expected a network of {KNOWN}") from None


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
    if isinstance(content, dict):  # as BasicSR writes it; the moving average is what is published
        content = content.get("params_ema", content.get("params", content))
    if not (
        isinstance(content, dict)
        and all(isinstance(key, str) for key in content)
        and all(map(torch.is_tensor, content.values()))
    ):
        raise UserError(f"{path}: expected a dict of tensors, torch.save(network.state_dict())")
    return {key: value.detach().float().numpy() for key, value in content.items()}
