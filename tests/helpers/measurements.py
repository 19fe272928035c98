"""Small measurements: files and configs of runs on them."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
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


def write_stack(path: Path, planes: np.ndarray) -> Path:
    """Writes planes (n, h, w) as a z-stack: OME-Zarr by zarr, or OME-TIFF by tifffile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".zarr":
        tifffile.imwrite(path, planes, metadata={"axes": "ZYX"})
        return path
    import zarr

    scale = [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]
    image = {
        "axes": [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": scale}],
    }
    attributes = {"ome": {"version": "0.5", "multiscales": [image]}}
    group = zarr.create_group(path, attributes=attributes)
    array = group.create_array(
        "0", shape=planes.shape, dtype=planes.dtype, dimension_names=["z", "y", "x"]
    )
    array[...] = planes
    return path


def slices(count: int, seed: int = 0, height: int = 16, width: int = 20) -> np.ndarray:
    """Returns planes of a volume, uint16 (count, height, width) in 0..1000, similar ones."""
    values = field(height, width, count, seed)
    return np.round(1000 * np.moveaxis(values, -1, 0)).astype(np.uint16)


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
