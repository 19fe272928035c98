from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.inference import batched
from udl_tf.inference.batched import SharedBatches, device_threads
from udl_tf.inference.tiling import OUT_OF_MEMORY
from udl_tf.saved.loading import load_upscaler

SIZES = [(45, 35), (32, 50), (60, 32), (23, 37), (23, 37), (23, 37), (20, 45), (37, 37)]
IMAGES = [noise_image(*size, seed=index) for index, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def model(small_run):
    return load_upscaler(small_run)


@pytest.mark.parametrize("tile", [None, 16])
def test_many_threads_get_the_results_of_each_image_alone(model, tile):
    alone = [model.upscale(image) for image in IMAGES]
    with ThreadPoolExecutor(len(IMAGES)) as pool:
        results = list(pool.map(lambda image: model.upscale(image, tile=tile), IMAGES))
    for result, expected in zip(results, alone, strict=True):
        assert np.abs(result.image.astype(int) - expected.image).max() <= 1  # a rounding
        assert np.mean(result.image != expected.image) < 1e-3
        assert np.allclose(result.theta, expected.theta, rtol=1e-4)


class Held:
    """Stands for the device's threads: computes when it is told to."""

    def __init__(self):
        self.calls = []

    def submit(self, call):
        self.calls.append(call)

    def release(self):
        for call in self.calls:
            call()


class Doubling:
    """Doubles windows, up to `most` at a time; remembers (windows, side, capacities) per batch."""

    def __init__(self, most: int = 100):
        self.batches, self.most = [], most

    def __call__(self, windows, capacities, notes, report):
        if len(windows) > self.most:
            raise MemoryError
        self.batches.append((len(windows), windows.shape[1], capacities))
        return 2 * windows


@pytest.fixture
def held(monkeypatch):
    held = Held()
    monkeypatch.setattr(batched, "device_threads", lambda: held)
    return held


def windows_of(count: int, side: int = 4) -> np.ndarray:
    return np.random.default_rng(count).uniform(size=(count, side, side, 3))


def test_windows_that_wait_share_batches_of_one_shape(held):
    compute = Doubling()
    shared = SharedBatches(compute)
    sides = [(1, 4), (2, 4), (1, 8), (2, 4), (2, 8), (1, 4), (2, 4)]  # windows and side
    inputs = [windows_of(*size) for size in sides]
    results = [shared.request(x, [9.0], 4, {}) for x in inputs]
    held.release()
    for x, result in zip(inputs, results, strict=True):
        assert np.array_equal(result.result(0), 2 * x)
    # By turns: 1 + 2 of side 4, for the next 2 would be 5; 1 + 2 of side 8; 2 + 1; 2.
    assert [batch[:2] for batch in compute.batches] == [(3, 4), (3, 8), (3, 4), (2, 4)]
    assert (shared.windows, shared.batches) == (11, 4)


def test_a_batch_has_the_smallest_capacities_of_its_requests(held):
    """Budgets follow the free memory, and therefore differ from image to image."""
    compute = Doubling()
    shared = SharedBatches(compute)
    for capacities, most in (([9.0, 9.0], 9), ([5.0, 7.0], 3), ([6.0, 4.0], 3), ([8.0, 8.0], 9)):
        shared.request(windows_of(1), capacities, most, {})
    held.release()
    assert compute.batches == [(3, 4, [5.0, 4.0]), (1, 4, [8.0, 8.0])]


def test_a_batch_too_large_for_the_memory_is_computed_in_halves(held):
    compute = Doubling(most=1)
    shared, notes = SharedBatches(compute), [{} for _ in range(3)]
    inputs = [windows_of(1) for _ in notes]
    results = [shared.request(x, [9.0], 4, n) for x, n in zip(inputs, notes, strict=True)]
    held.release()
    for x, result in zip(inputs, results, strict=True):
        assert np.array_equal(result.result(0), 2 * x)
    assert [batch[0] for batch in compute.batches] == [1, 1, 1]
    assert [list(n) for n in notes] == [[OUT_OF_MEMORY]] * 3


def test_an_error_reaches_every_request_of_its_batch():
    def broken(windows, capacities, notes, report):
        raise ValueError("broken")

    shared = SharedBatches(broken)
    for result in [shared.request(windows_of(1), [1e9], 4, {}) for _ in range(3)]:
        with pytest.raises(ValueError, match="broken"):
            result.result(10)


def test_a_request_that_is_stopped_leaves_the_others_of_its_batch_alone(held):
    def stop(share):
        raise CancelledError

    def compute(windows, capacities, notes, report):
        report(0.5)
        computed.append(len(windows))
        return 2 * windows

    shared, shares, computed = SharedBatches(compute), [], []
    stopped = shared.request(windows_of(1), [9.0], 4, {}, stop)
    other = shared.request(windows_of(1), [9.0], 4, {}, shares.append)
    held.release()
    with pytest.raises(CancelledError):
        stopped.result(0)
    assert np.array_equal(other.result(0), 2 * windows_of(1))
    assert (shares, computed) == ([0.5], [2])
    alone = shared.request(windows_of(1), [9.0], 4, {}, stop)
    held.release()
    with pytest.raises(CancelledError):
        alone.result(0)
    assert computed == [2]  # nothing is computed for nobody


@pytest.mark.parametrize(("gpu", "threads"), [(False, 1), (True, 2)])
def test_a_gpu_gets_a_batch_while_the_previous_one_is_copied(monkeypatch, gpu, threads):
    monkeypatch.setattr(batched, "has_gpu", lambda: gpu)
    assert device_threads.__wrapped__()._max_workers == threads
