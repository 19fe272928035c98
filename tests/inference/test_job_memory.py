"""Upscaling of files: the memory that an image needs."""

import tracemalloc

import numpy as np
import pytest
from helpers.images import noise_image, write_noise
from helpers.upscalers import Repeating
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging.image_files import ImageFile
from udl_tf.inference import job_runner
from udl_tf.inference.job_memory import needed_memory
from udl_tf.inference.job_runner import read_job, run_jobs, upscale_file
from udl_tf.inference.jobs import Options, plan_jobs


@pytest.mark.parametrize(
    ("free", "options"),
    [
        (700, Options()),
        (800 * 600 * 6, Options(outscale=100)),
        (900 * 500 * 6, Options(size=(900, 500))),
    ],
    ids=["x2", "x100", "size"],
)
def test_results_larger_than_the_memory_are_refused_before_decoding(
    tmp_path, monkeypatch, free, options
):
    path = write_noise(tmp_path / "a.png")
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": free}))
    monkeypatch.setattr(job_runner, "read_image", None)
    (job,) = plan_jobs([path], tmp_path / "out", options)
    with pytest.raises(UserError, match=r"8x6 pixels; the result needs 0\.0 GB of memory, 0\.0 GB"):
        read_job(job, 2, options)


def peak_memory(scale: int, image: np.ndarray, options: Options) -> int:
    """Bytes that upscaling allocates, as Python counts them (NumPy's arrays), and the image's."""
    tracemalloc.start()
    try:
        upscale_file(Repeating(scale, image.shape[2]), ImageFile(image), options)
        return tracemalloc.get_traced_memory()[1] + image.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(theta=True),
        Options(self_ensemble=True),
        Options(theta=True, ensemble=True),
        Options(consistent=True),
        Options(consistent=True, theta=True, ensemble=True),
    ],
    ids=["plain", "theta", "ensemble", "theta+ensemble", "consistent", "consistent+all"],
)
def test_needed_memory_is_what_is_allocated(scale, options):
    height, width = 2000 // scale, 320 // scale  # tall: temporary bands of rows count for little
    peak = peak_memory(scale, noise_image(height, width), options)
    assert needed_memory(height, width, scale, options) == pytest.approx(peak, rel=0.2)


@pytest.mark.parametrize("channels", [1, 4])
def test_needed_memory_grows_with_the_channels(channels):
    image = np.random.default_rng(0).integers(0, 256, (900, 160, channels), dtype=np.uint8)
    options = Options(theta=True)
    peak = peak_memory(2, image, options)
    assert needed_memory(900, 160, 2, options, channels) == pytest.approx(peak, rel=0.25)


@pytest.mark.parametrize(
    "options",
    [
        Options(outscale=8),
        Options(outscale=8, uncertainty="npy"),
        Options(size=(1200, 1400), uncertainty="png"),
        Options(outscale=0.5, uncertainty="tiff"),
    ],
    ids=["plain", "npy", "size+png", "shrunk+tiff"],
)
def test_needed_memory_includes_resizing_and_writing(options, tmp_path):
    Image.fromarray(noise_image(200, 200)).save(tmp_path / "a.png")
    jobs = plan_jobs([tmp_path / "a.png"], tmp_path / "out", options)
    tracemalloc.start()
    summary = run_jobs(Repeating(2), jobs, options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Bands of rows need up to 5 MB in addition, and Pillow's own copy of what it writes, which
    # Python does not count, 4 bytes per pixel.
    needed = needed_memory(200, 200, 2, options)
    assert 0.9 * peak - 3e6 < needed < 1.1 * peak + 4 * summary.pixels
