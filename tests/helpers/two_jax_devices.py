"""Run as a program under JAX with two devices: a run on both has the losses of a run on one."""

import json
import sys
from pathlib import Path

import numpy as np

from helpers.images import noise_image
from helpers.runs import train_weights
from udl_tf.imaging.rgb_files import write_rgb

SECTIONS = {
    "model": {"name": "edsr_s", "scale": 2, "options": {"num_blocks": 1, "num_filters": 8}},
    "data": {
        "train": ["images"],
        "test": ["images"],
        "hr_patch_size": 16,
        "batch_size": 8,
        "validation_images": 1,
    },
    "steps": [{"loss": "esu", "updates": 6}, {"loss": "udl", "updates": 6, "weighting": {}}],
    "training": {"interval": 3, "log_every": 3, "steps_per_execution": 3, "precision": "float32"},
    "evaluation": {"figures": 0},
}


def losses(folder: Path, name: str, **distribution) -> list[float]:
    """Trains and returns the PSNR of all validations."""
    data = SECTIONS["data"] | {"root": str(folder)} | distribution.pop("data", {})
    config = SECTIONS | {"data": data, "distribution": distribution}
    notes = train_weights(config, folder / name)
    return [row["psnr_y"] for step in notes["steps"] for row in step["validation"]]


def main(folder: Path) -> None:
    for index in range(4):
        write_rgb(folder / f"images/{index}.png", noise_image(40, 40, index))
    one = losses(folder, "one", strategy="none")
    two = losses(folder, "two", strategy="data_parallel")
    resident = losses(folder, "resident", strategy="data_parallel", data={"resident": True})
    print(json.dumps([one, two, resident]))
    assert len(one) == 4
    assert np.allclose(one, two, atol=1e-4)
    assert np.allclose(one, resident, atol=1e-4)
    assert "device: CPU:0 + CPU:1" in (folder / "two/log.txt").read_text()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
