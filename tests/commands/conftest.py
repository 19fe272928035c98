"""A place to train in, for tests of commands."""

import json

import pytest
from helpers.images import noise_image

from udl_tf.imaging.rgb_files import write_rgb

TINY = {
    "model": {
        "name": "edsr_s",
        "scale": 2,
        "options": {"num_blocks": 1, "num_filters": 8, "branches": True},
    },
    "data": {
        "hr_patch_size": 16,
        "batch_size": 2,
        "degradations": [
            {"kind": "noise", "probability": 0.5, "sigma": [0, 4]},
            {"kind": "jpeg", "quality": [70, 95], "probability": 0.8},
        ],
    },
    "optimizer": {"name": "muon", "learning_rate": 1e-3, "schedule": "cosine", "ema": 0.9},
    "steps": [
        {"loss": "esu", "updates": 40},
        {"loss": "udl", "updates": 40, "weighting": {"floor": 1.0}},
    ],
    "training": {"precision": "float32", "interval": 10, "log_every": 1},
    "evaluation": {"figures": 1},
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with training images, test images, a cache and a config that uses them."""
    folder = tmp_path_factory.mktemp("work")
    for name, count in (("train", 6), ("test", 2)):
        for index in range(count):
            write_rgb(folder / name / f"{index}.png", noise_image(48, 40, index))
    config = json.loads(json.dumps(TINY))
    config["data"] |= {"train": [str(folder / "train")], "test": [str(folder / "test")]}
    config["data"]["cache_dir"] = str(folder / "cache")
    (folder / "tiny.json").write_text(json.dumps(config))
    return folder
