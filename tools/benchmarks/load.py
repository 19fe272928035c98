"""Many requests at a time to the stand-in for TensorFlow Serving: are all answered, and rightly?"""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from udl_tf.data.sources import bundled_dataset
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import read_rgb
from udl_tf.inference.upscaler import Upscaler
from udl_tf.saved.client import Client
from udl_tf.saved.exported import open_savedmodel


@contextmanager
def stand_in(folder: Path) -> Iterator[tuple[psutil.Process, str, str]]:
    """Runs python -m helpers.serving; yields (its process, its gRPC and its REST address)."""
    command = [sys.executable, "-m", "helpers.serving", str(folder)]
    command += ["--grpc-port", "0", "--rest-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            grpc, rest = process.stdout.readline().strip(), process.stdout.readline().strip()
            if not rest:
                raise UserError(f"{folder}: the stand-in did not start")
            yield psutil.Process(process.pid), grpc, rest
        finally:
            process.terminate()


def sample_images(count: int, sides: tuple[int, int]) -> list[np.ndarray]:
    """Pieces of the bundled pictures, of heights and widths between `sides`."""
    random = np.random.default_rng(0)
    sources = [read_rgb(source.hr) for source in bundled_dataset("test").sources]
    pieces = []
    for index in range(count):
        source = sources[index % len(sources)]
        height, width = random.integers(sides[0], sides[1] + 1, 2)
        top = random.integers(0, source.shape[0] - height + 1)
        left = random.integers(0, source.shape[1] - width + 1)
        pieces.append(source[top : top + height, left : left + width])
    return pieces


def run_load(
    folder: Path,
    direct: Upscaler | None = None,
    requests: int = 500,
    at_a_time: int = 16,
    sides: tuple[int, int] = (8, 64),
) -> list[dict[str, Any]]:
    """Sends pictures of mixed sizes by gRPC, then by REST.

    Args:
        folder: of a served model.
        direct: what the answers must equal; None: the exported model itself.
        requests: by each way.
        at_a_time: requests under way.
        sides: least and largest height and width, LR pixels.

    Returns:
        For each way: requests answered, largest difference of image (levels) and theta (grey
        levels) from direct upscaling, requests a second, median and 99th percentile of a request's
        seconds, and the server's memory, MB, after a tenth of the requests, at the end and at most.
    """
    direct = direct or open_savedmodel(folder)
    images = sample_images(25, sides)
    expected = [direct.upscale(image) for image in images]
    results = []
    with stand_in(folder) as (process, *urls):
        for url in urls:
            client, memory = Client(url), []

            def ask(index: int, client=client, memory=memory) -> tuple[float, float, float]:
                start = time.monotonic()
                made = client.upscale(images[index % len(images)])
                seconds = time.monotonic() - start
                memory.append(process.memory_info().rss / 1e6)
                right = expected[index % len(images)]
                image = np.abs(made.image.astype(int) - right.image).max()
                theta = 0.0 if right.theta is None else np.abs(made.theta - right.theta).max()
                return seconds, float(image), float(theta)

            start = time.monotonic()
            with ThreadPoolExecutor(at_a_time) as pool:
                answers = np.array(list(pool.map(ask, range(requests))))
            elapsed = time.monotonic() - start
            results.append(
                {
                    "way": url.split(":")[0],
                    "answered": len(answers),
                    "image_difference": answers[:, 1].max(),
                    "theta_difference": answers[:, 2].max(),
                    "requests_per_second": len(answers) / elapsed,
                    "median_seconds": float(np.median(answers[:, 0])),
                    "p99_seconds": float(np.quantile(answers[:, 0], 0.99)),
                    "memory_early_mb": memory[len(memory) // 10],
                    "memory_end_mb": memory[-1],
                    "memory_peak_mb": max(memory),
                }
            )
    return results
