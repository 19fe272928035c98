"""Makes a bundle, which every command takes for a run, of a PyTorch checkpoint.

    python tools/import_torch.py EDSR_S_X4.pt --output runs/edsr_s_x4_released

Takes the UDL authors' EDSR-S (either step) and EDSR-PyTorch's networks. Needs "udl_tf[torch]".
"""

from pathlib import Path

from udl_tf import cli


def main(arguments: list[str] | None = None) -> None:
    parser = cli.make_parser("python tools/import_torch.py", __doc__)
    parser.add_argument("checkpoint", type=Path, help="what torch.save made of a state_dict")
    parser.add_argument("--output", required=True, type=Path, help="folder of the bundle, new")
    parser.add_argument(
        "--res-scale",
        type=float,
        help="factor of the residual branches (default: as published, 0.1; 1 for EDSR-PyTorch's"
        " small networks)",
    )
    options = parser.parse_args(arguments)
    cli.check_positive(options, "res_scale")

    with cli.quiet():
        from udl_tf.torch_weights import import_torch

    manifest = import_torch(options.checkpoint, options.output, options.res_scale)
    made, theta = manifest.architecture, manifest.uncertainty
    settings = ", ".join(f"{key} {value}" for key, value in made.options.items())
    print(f"{made.name} x{made.scale} ({settings}), {'with' if theta else 'without'} theta")
    if theta:
        print(f"theta is not calibrated: python -m udl_tf.calibrate --model {options.output} ...")
    print(f"written: {options.output}")


if __name__ == "__main__":
    cli.run(main)
