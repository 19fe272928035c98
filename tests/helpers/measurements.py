"""Small measurements: files and configs of runs on them."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter


def field(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Returns smooth noise in 0..1, float64 (h, w, channels), whose channels are correlated."""
    random = np.random.default_rng(seed)
    common = gaussian_filter(random.normal(size=(height, width, 1)), (1.5, 1.5, 0))
    own = gaussian_filter(random.normal(size=(height, width, channels)), (1.5, 1.5, 0))
    values = common + 0.5 * own
    return (values - values.min()) / np.ptp(values)


def write_heights(folder: Path, count: int = 4) -> Path:
    """Writes elevations, float32 (40, 44) in 900..1100 m; the first has a hole of NaN."""
    folder.mkdir(parents=True)
    for index in range(count):
        metres = (900 + 200 * field(40, 44, 1, index)[..., 0]).astype(np.float32)
        if index == 0:
            metres[4:12, 6:20] = np.nan
        np.save(folder / f"{index}.npy", metres)
    return folder


def write_bands(folder: Path, count: int = 4) -> Path:
    """Writes four bands, uint16 (40, 44, 4) in 0..10000."""
    folder.mkdir(parents=True)
    for index in range(count):
        values = np.round(10000 * field(40, 44, 4, index)).astype(np.uint16)
        np.save(folder / f"{index}.npy", values)
    return folder


def tiny_config(name: str, images: Path) -> dict[str, Any]:
    """Returns a shipped config at tiny size, for training and testing on a folder."""
    from udl_tf._support.config_file import load_config

    config = load_config(f"science/{name}").model_dump()
    config["model"]["options"] |= {"num_blocks": 1, "num_filters": 4}
    config["data"] |= {
        **{"root": None, "train": [str(images)], "test": [str(images)]},
        **{"hr_patch_size": 16, "batch_size": 2, "validation_images": 1},
    }
    config["optimizer"] |= {"name": "adam", "learning_rate": 1e-3}
    config["steps"] = config["steps"][:2]
    for step in config["steps"]:
        step["updates"] = 6
    config["training"] |= {"precision": "float32", "interval": 3, "cache_uncertainty": True}
    config["evaluation"]["figures"] = 1 if config["model"]["channels"] > 1 else 0
    return config
