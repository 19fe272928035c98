"""Writes a random checkpoint of SPAN, an LR image and what spandrel computes of it, to a folder.

python span_in_torch.py FOLDER SCALE FILTERS NORM. It is a process of its own, because PyTorch's
libraries may clash with TensorFlow's.
"""

import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

# spandrel imports torchvision for other networks; SPAN works without it.
for module in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules.setdefault(module, MagicMock())

from spandrel.architectures.SPAN import SPAN  # noqa: E402


def main(folder: str, scale: str, filters: str, norm: str) -> None:
    torch.manual_seed(int(scale))
    network = SPAN(
        num_in_ch=3,
        num_out_ch=3,
        feature_channels=int(filters),
        upscale=int(scale),
        norm=norm == "True",
    ).eval()
    lr = np.random.default_rng(0).integers(0, 256, (14, 11, 3), np.uint8)
    x = torch.tensor(lr / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        # Larger weights, so that attention and activations are far from their linear range.
        for name, value in network.named_parameters():
            if name.endswith("conv.1.weight"):
                value *= 3
        spread = network(x).abs().max()
        for value in network.upsampler.parameters():
            value /= spread
        sr = 255 * network(x)[0].permute(1, 2, 0).numpy()
    torch.save({"params": {}, "params_ema": network.state_dict()}, Path(folder) / "span.pt")
    np.savez(Path(folder) / "images.npz", lr=lr, sr=sr)


if __name__ == "__main__":
    main(*sys.argv[1:])
