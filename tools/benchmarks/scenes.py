"""Time and peak memory of a large GeoTIFF, most of it without data."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from benchmarks.growth import memory_gb
from benchmarks.processes import results_of, start
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference import upscale_scene
from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
from udl_tf.models import build_model
from udl_tf.scenes import open_scene

_BLOCK = 512  # pixels
_TOP = 4000  # largest value


def run_scene(side: int, channels: int, share: float, memory: float) -> dict[str, Any]:
    """Upscales a synthetic scene x2 with theta by an untrained EDSR of one block in a new process.

    Args:
        side: of the scene, pixels.
        channels: of it, 16 bits each.
        share: of blocks that hold data.
        memory: limit of the process, GB.

    Returns:
        "seconds", "peak_gb" of the process, "windows" computed and "empty", and the sizes of scene
        and result on disk, "scene_gb" and "result_gb".
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.tif"
        write_scene(path, side, channels, share)
        (row,) = results_of([start(upscale_file, str(path), memory)])
    return row


def scene_table(row: dict[str, Any]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    header = ["windows computed", "empty", "s", "peak memory, GB", "scene, GB", "result, GB"]
    values = [f"{row['windows']}", f"{row['empty']}", f"{row['seconds']:.0f}"]
    sizes = (row["peak_gb"], row["scene_gb"], row["result_gb"])
    return [header, [*values, *(f"{size:.2f}" for size in sizes)]]


def write_scene(path: Path, side: int, channels: int, share: float) -> None:
    """Writes a tiled GeoTIFF of uint16 with nodata 0, which stores no blocks without data."""
    random = np.random.default_rng(0)
    blocks = -(-side // _BLOCK)
    chosen = random.permutation(blocks**2)[: max(1, round(share * blocks**2))]
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": channels,
        "height": side,
        "width": side,
        "nodata": 0,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000),
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "sparse_ok": True,
        "bigtiff": "if_safer",
    }
    with rasterio.open(path, "w", **profile) as file:
        for block in sorted(chosen.tolist()):
            top, left = (index * _BLOCK for index in divmod(block, blocks))
            size = (min(_BLOCK, side - top), min(_BLOCK, side - left))
            values = random.integers(1, _TOP, (channels, *size)).astype(np.uint16)
            values[:, random.random(size) < 0.05] = 0
            file.write(values, window=Window(left, top, size[1], size[0]))


def upscale_file(path: str, memory: float) -> dict[str, Any]:
    """Upscales a GeoTIFF in this process; see `run_scene`."""
    begin, result = time.perf_counter(), Path(path).with_name("result.tif")
    theta = result.with_name("theta.tif")
    with open_scene(path) as scene:
        network = build_model("edsr_s", 2, scene.channels, num_blocks=1)
        networks = Networks(2, network, network, value_range=ValueRange.of([0, _TOP]))
        summary = upscale_scene(KerasUpscaler(networks), scene, result, theta, memory_gb=memory)
    return {
        "seconds": time.perf_counter() - begin,
        "peak_gb": memory_gb("VmHWM"),
        "windows": summary.windows,
        "empty": summary.empty,
        "scene_gb": Path(path).stat().st_size / 1e9,
        "result_gb": (result.stat().st_size + theta.stat().st_size) / 1e9,
    }
