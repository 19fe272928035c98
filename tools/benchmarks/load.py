"""Many simultaneous requests to running servers: speed, memory, and whether results are right."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil

from udl_tf.data.sources import bundled_dataset
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import read_rgb
from udl_tf.inference.result import Upscaled
from udl_tf.inference.upscaler import Upscaler
from udl_tf.saved.client import Client

_IMAGES = 25


def run_load(
    urls: Sequence[str],
    direct: Upscaler | None = None,
    pid: int | None = None,
    requests: int = 500,
    at_a_time: int = 16,
    sides: tuple[int, int] = (8, 64),
) -> list[dict[str, Any]]:
    """Sends images of mixed sizes to each URL in turn.

    Args:
        urls: of served models, grpc://HOST:8500/NAME or http://HOST:8501/NAME.
        direct: the same model in this process, whose results the answers are compared with; None:
            they are not compared.
        pid: process of the server on this machine, whose memory is measured; None: it is not.
        requests: per URL.
        at_a_time: simultaneous requests.
        sides: smallest and largest height and width, LR pixels.

    Returns:
        Per URL: "url", "answered", "requests_per_second", median and 99th percentile of the seconds
        per request; with `direct` the largest difference of image and theta, grey levels; with
        `pid` the memory of the server in MB after a tenth of the requests, at the end and at most.

    Raises:
        UserError: if a server does not answer, or there is no such process.
    """
    images = sample_images(_IMAGES, sides)
    expected = [direct.upscale(image) for image in images] if direct is not None else []
    process = None if pid is None else _find_process(pid)
    return [_load(url, images, expected, process, requests, at_a_time) for url in urls]


def load_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    keys = list(rows[0])
    cells = [[r[k] if isinstance(r[k], str) else f"{r[k]:.4g}" for k in keys] for r in rows]
    return [[key.replace("_", " ") for key in keys], *cells]


def sample_images(count: int, sides: tuple[int, int]) -> list[np.ndarray]:
    """Returns crops of the bundled test images, with heights and widths between `sides`."""
    random = np.random.default_rng(0)
    sources = [read_rgb(source.hr) for source in bundled_dataset("test").sources]
    crops = []
    for index in range(count):
        source = sources[index % len(sources)]
        height, width = random.integers(sides[0], sides[1] + 1, 2)
        top = random.integers(0, source.shape[0] - height + 1)
        left = random.integers(0, source.shape[1] - width + 1)
        crops.append(source[top : top + height, left : left + width])
    return crops


def _find_process(pid: int) -> psutil.Process:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        raise UserError(f"pid {pid}: no such process on this machine", argument="pid") from None


def _load(
    url: str,
    images: Sequence[np.ndarray],
    expected: Sequence[Upscaled],
    process: psutil.Process | None,
    requests: int,
    at_a_time: int,
) -> dict[str, Any]:
    client = Client(url)
    memory: list[float] = []

    def ask(number: int) -> tuple[float, float, float]:
        index = number % len(images)
        start = time.monotonic()
        result = client.upscale(images[index])
        seconds = time.monotonic() - start
        if process is not None:
            memory.append(process.memory_info().rss / 1e6)
        return seconds, *(_differences(result, expected[index]) if expected else (0.0, 0.0))

    start = time.monotonic()
    with ThreadPoolExecutor(at_a_time) as pool:
        answers = np.array(list(pool.map(ask, range(requests))))
    elapsed = time.monotonic() - start
    row: dict[str, Any] = {
        "url": url,
        "answered": len(answers),
        "requests_per_second": len(answers) / elapsed,
        "median_seconds": float(np.median(answers[:, 0])),
        "p99_seconds": float(np.quantile(answers[:, 0], 0.99)),
    }
    if expected:
        image, theta = answers[:, 1:].max(axis=0)
        row |= {"image_difference": float(image), "theta_difference": float(theta)}
    if memory:
        row |= {"memory_early_mb": memory[len(memory) // 10], "memory_end_mb": memory[-1]}
        row["memory_peak_mb"] = max(memory)
    return row


def _differences(result: Upscaled, right: Upscaled) -> tuple[float, float]:
    """Returns the largest difference of image and of theta, grey levels."""
    image = np.abs(result.image.astype(int) - right.image).max()
    if result.theta is None or right.theta is None:  # one of them has no uncertainty
        return float(image), 0.0 if right.theta is None else np.nan
    return float(image), float(np.abs(result.theta - right.theta).max())
