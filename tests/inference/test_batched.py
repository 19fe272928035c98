import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.inference import batched
from udl_tf.inference.batched import BatchedUpscaler
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.saved.loading import load

SIZES = [(45, 35), (32, 50), (60, 32), (23, 37), (23, 37), (23, 37), (20, 45), (37, 37)]
IMAGES = [noise_image(*size, seed=index) for index, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def model(small_run):
    return load(small_run)


@pytest.mark.parametrize("tile", [None, 16])
def test_many_threads_get_the_results_of_each_image_alone(model, tile):
    batched_model = BatchedUpscaler(model)
    assert batched_model.scale == 2
    assert batched_model.has_uncertainty
    assert batched_model.calibration is model.calibration
    with ThreadPoolExecutor(len(IMAGES)) as pool:
        results = list(pool.map(lambda image: batched_model.upscale(image, tile=tile), IMAGES))
    for image, result in zip(IMAGES, results, strict=True):
        alone = model.upscale(image)
        assert np.abs(result.image.astype(int) - alone.image).max() <= 1  # a rounding
        assert np.mean(result.image != alone.image) < 1e-3
        assert np.allclose(result.theta, alone.theta, rtol=1e-4)


def test_windows_of_images_of_different_sizes_share_batches(model, monkeypatch):
    """No image has more than _AHEAD windows waiting: a larger batch holds those of several."""
    batches = []
    barrier = threading.Barrier(4, timeout=60)

    def values(self, windows, capacities, original=ChainRunner.values):
        batches.append(windows.shape)
        return original(self, windows, capacities)

    class Together(batched.BatchRunner):
        def _request(self, window):
            if not getattr(local, "waited", False):
                local.waited = True
                barrier.wait()
            return super()._request(window)

    local = threading.local()
    monkeypatch.setattr(ChainRunner, "values", values)
    runner = Together(ChainRunner(model.networks.mean.build_chain("sr")))
    images = [image.astype(np.float32) for image in IMAGES if min(image.shape[:2]) >= 32]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda lr: list(runner.run(lr, tile=4)), images))
    assert len({shape[1:] for shape in batches}) == 1
    assert max(shape[0] for shape in batches) > batched._AHEAD
    assert runner.windows == sum(shape[0] for shape in batches)
    assert runner.batches == len(batches)


def test_a_batch_too_large_for_the_memory_is_computed_in_halves(model, monkeypatch):
    def values(self, windows, capacities, original=ChainRunner.values):
        if len(windows) > 1:
            raise MemoryError
        return original(self, windows, capacities)

    monkeypatch.setattr(ChainRunner, "values", values)
    batched_model = BatchedUpscaler(model)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(batched_model.upscale, IMAGES[3:6]))
    assert [result.image.shape for result in results] == [(46, 74, 3)] * 3


def test_an_error_reaches_the_thread_of_its_image(model, monkeypatch):
    def values(self, windows, capacities):
        raise ValueError("broken")

    monkeypatch.setattr(ChainRunner, "values", values)
    with pytest.raises(ValueError, match="broken"):
        BatchedUpscaler(model).upscale(IMAGES[0])
