"""Upscaling of files: the memory that an image needs."""

import tracemalloc

import numpy as np
import pytest
from helpers.images import noise_image, write_noise
from helpers.upscalers import Repeating

from udl_tf.errors import UserError
from udl_tf.imaging.image_files import ImageFile
from udl_tf.inference import job_runner
from udl_tf.inference.job_runner import needed_memory, read_job, upscale_file, write_job
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
        upscale_file(Repeating(scale), ImageFile(image), options)
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
    ],
    ids=["plain", "theta", "ensemble", "theta+ensemble"],
)
def test_needed_memory_is_what_is_allocated(scale, options):
    height, width = 2000 // scale, 320 // scale  # tall: temporary bands of rows count for little
    peak = peak_memory(scale, noise_image(height, width), options)
    assert needed_memory(height, width, scale, options) == pytest.approx(peak, rel=0.2)


@pytest.mark.parametrize("uncertainty", ["none", "npy", "tiff", "png"])
@pytest.mark.parametrize("sizes", [{"outscale": 8}, {"size": (1500, 1700)}, {"outscale": 0.5}])
def test_needed_memory_includes_resizing_and_writing(sizes, uncertainty, tmp_path):
    options = Options(uncertainty=uncertainty, **sizes)
    image = ImageFile(noise_image(200, 200))
    (job,) = plan_jobs([write_noise(tmp_path / "a.png")], tmp_path / "out", options)
    tracemalloc.start()
    result = upscale_file(Repeating(2), image, options)
    computed = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    write_job(job, image, result)
    # Pillow's own copy has 4 bytes per pixel, which Python does not count.
    written = tracemalloc.get_traced_memory()[1] + 4 * result.image.size // 3
    tracemalloc.stop()
    needed = needed_memory(200, 200, 2, options)
    # Bands of rows need up to 5 MB in addition.
    assert needed == pytest.approx(max(computed, written), rel=0.15, abs=3e6)
