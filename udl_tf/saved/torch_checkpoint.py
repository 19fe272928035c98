"""PyTorch checkpoints, imported as bundles."""

from pathlib import Path

import keras

from udl_tf._support.files import complete_folder
from udl_tf.config import LogScaleHead, ModelConfig
from udl_tf.errors import UserError
from udl_tf.losses import ESULoss
from udl_tf.models.weight_files import save_weights
from udl_tf.saved import torch_edsr, torch_span
from udl_tf.saved.bundle import Manifest, NetworkFile, UncertaintyFile, write_manifest
from udl_tf.saved.state_dict import read_state_dict

KNOWN = "the UDL authors' EDSR-S, of EDSR-PyTorch or of SPAN"


def import_torch(
    checkpoint: Path | str, output: Path | str, res_scale: float | None = None
) -> Manifest:
    """Writes a bundle with the weights of a checkpoint.

    Args:
        checkpoint: a .safetensors file, or a state_dict written by torch.save, possibly as the
            entry "params_ema", "params", "state_dict" or "model" of a dict.
        output: new folder for the bundle.
        res_scale: factor of EDSR's residual branches, which cannot be derived from the weights.
            None: as published, 0.1, or 1 for EDSR-PyTorch's networks of less than 256 channels.

    Returns:
        The content of the bundle's model.json.

    Raises:
        UserError: if the checkpoint is damaged, has a missing, an unknown or a misshapen key or
            weights that are not finite, torch is not installed, or output exists.
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
    state = read_state_dict(checkpoint)
    try:
        if not torch_span.is_span(state):
            return torch_edsr.build_networks(state, res_scale)
        if res_scale is not None:
            raise ValueError(f"res_scale {res_scale} is given, which SPAN does not have")
        return torch_span.build_networks(state)
    except ValueError as error:
        raise UserError(f"{checkpoint}: {error}: expected a network of {KNOWN}") from None
