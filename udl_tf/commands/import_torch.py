"""Imports a PyTorch checkpoint as a bundle, which all commands accept like a run folder.

    udl-tf import-torch EDSR_S_X4.pt --output runs/edsr_s_x4_released

Accepts EDSR-S as released by the UDL authors (either step), EDSR of EDSR-PyTorch, and SPAN as
released by its authors, as a .safetensors file or written by torch.save, which needs
"udl_tf[torch]".
"""

from pathlib import Path

from udl_tf._support import command_line
from udl_tf._support.backend import check_backend
from udl_tf._support.stderr import quiet


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf import-torch", __doc__)
    parser.add_argument(
        "checkpoint", type=Path, help="state_dict written by torch.save, or .safetensors file"
    )
    parser.add_argument("--output", required=True, type=Path, help="new folder for the bundle")
    parser.add_argument(
        "--res-scale",
        type=float,
        help="factor of EDSR's residual branches (default: as published: 1 for networks of"
        " EDSR-PyTorch with fewer than 256 filters, 0.1 for all others)",
    )
    options = parser.parse_args(arguments)
    command_line.check_positive(options, "res_scale")
    check_backend("tensorflow", "jax")
    with quiet():
        from udl_tf.saved import import_torch

    manifest = import_torch(options.checkpoint, options.output, options.res_scale)
    network, theta = manifest.architecture, manifest.uncertainty
    settings = ", ".join(f"{key} {value}" for key, value in network.options.items())
    print(f"{network.name} x{network.scale} ({settings}), {'with' if theta else 'without'} theta")
    if theta:
        print(f"theta is not calibrated: run udl-tf calibrate --model {options.output} --data ...")
    print(f"written: {options.output}")


if __name__ == "__main__":
    command_line.run(main)
