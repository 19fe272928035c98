import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.inference import batched
from udl_tf.inference.batched import SharedBatches, device_threads
from udl_tf.inference.tiling import OUT_OF_MEMORY
from udl_tf.saved.loading import load

SIZES = [(45, 35), (32, 50), (60, 32), (23, 37), (23, 37), (23, 37), (20, 45), (37, 37)]
IMAGES = [noise_image(*size, seed=index) for index, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def model(small_run):
    return load(small_run)


@pytest.mark.parametrize("tile", [None, 16])
def test_many_threads_get_the_results_of_each_image_alone(model, tile):
    alone = [model.upscale(image) for image in IMAGES]
    with ThreadPoolExecutor(len(IMAGES)) as pool:
        results = list(pool.map(lambda image: model.upscale(image, tile=tile), IMAGES))
    for result, expected in zip(results, alone, strict=True):
        assert np.abs(result.image.astype(int) - expected.image).max() <= 1  # a rounding
        assert np.mean(result.image != expected.image) < 1e-3
        assert np.allclose(result.theta, expected.theta, rtol=1e-4)


class Doubling:
    """Doubles windows, once it may; remembers its batches."""

    def __init__(self):
        self.batches, self.may = [], threading.Event()
        self.most = 100

    def __call__(self, windows, capacities, notes):
        assert self.may.wait(10)
        if len(windows) > self.most:
            raise MemoryError
        self.batches.append(windows.shape)
        return 2 * windows


def windows_of(count: int, side: int = 4) -> np.ndarray:
    return np.random.default_rng(count).uniform(size=(count, side, side, 3))


def test_windows_that_wait_share_batches_of_one_shape():
    """The first request is computed alone; those that wait meanwhile are computed together."""
    compute = Doubling()
    shared = SharedBatches(compute)
    sides = [4, 4, 8, 4, 8, 4, 4]
    inputs = [windows_of(1 + index % 2, side) for index, side in enumerate(sides)]
    while device_threads()._work_queue.qsize():  # of other tests
        pass
    results = [shared.request(x, [1e9], 4, {}) for x in inputs]
    compute.may.set()
    for x, result in zip(inputs, results, strict=True):
        assert np.array_equal(result.result(10), 2 * x)
    # Queue of side 4: 1, then 2 + 2 of four; side 8 in its turn; then 2 + 1.
    assert sum(shape[0] for shape in compute.batches) == sum(map(len, inputs))
    assert max(shape[0] for shape in compute.batches) == 4
    assert shared.batches == len(compute.batches) < len(inputs)
    assert shared.windows == 10


def test_a_batch_too_large_for_the_memory_is_computed_in_halves():
    compute = Doubling()
    compute.most = 1
    shared, notes = SharedBatches(compute), [{} for _ in range(4)]
    inputs = [windows_of(1) for _ in range(4)]
    results = [shared.request(x, [1e9], 4, n) for x, n in zip(inputs, notes, strict=True)]
    compute.may.set()
    for x, result in zip(inputs, results, strict=True):
        assert np.array_equal(result.result(10), 2 * x)
    assert {shape[0] for shape in compute.batches} == {1}
    assert list(notes[-1]) == [OUT_OF_MEMORY]


def test_an_error_reaches_every_request_of_its_batch():
    def broken(windows, capacities, notes):
        raise ValueError("broken")

    shared = SharedBatches(broken)
    for result in [shared.request(windows_of(1), [1e9], 4, {}) for _ in range(3)]:
        with pytest.raises(ValueError, match="broken"):
            result.result(10)


@pytest.mark.parametrize(("gpu", "threads"), [(False, 1), (True, 2)])
def test_a_gpu_gets_a_batch_while_the_previous_one_is_copied(monkeypatch, gpu, threads):
    monkeypatch.setattr(batched, "has_gpu", lambda: gpu)
    assert device_threads.__wrapped__()._max_workers == threads
