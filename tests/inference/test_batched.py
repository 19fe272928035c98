import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.inference import batched
from udl_tf.inference.batched import BatchedUpscaler
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.saved.loading import load

SIZES = [(90, 70), (64, 101), (120, 64), (33, 47), (33, 47), (33, 47), (20, 90), (75, 75)]
PICTURES = [noise_image(*size, seed=index) for index, size in enumerate(SIZES)]


@pytest.fixture
def model(small_run):
    return load(small_run)


@pytest.mark.parametrize("tile", [None, 16])
def test_many_threads_get_what_each_picture_is_alone(model, tile):
    several = BatchedUpscaler(model)
    assert several.scale == 2
    assert several.has_uncertainty
    assert several.calibration is model.calibration
    with ThreadPoolExecutor(len(PICTURES)) as pool:
        made = list(pool.map(lambda picture: several.upscale(picture, tile=tile), PICTURES))
    for picture, result in zip(PICTURES, made, strict=True):
        alone = model.upscale(picture)
        assert np.abs(result.image.astype(int) - alone.image).max() <= 1  # a rounding
        assert np.mean(result.image != alone.image) < 1e-3
        assert np.allclose(result.theta, alone.theta, rtol=1e-4)


def test_windows_of_pictures_of_different_sizes_share_batches(model, monkeypatch):
    """No picture may have more than _AHEAD windows waiting: a larger batch is of several."""
    batches = []
    asked = threading.Barrier(4, timeout=60)

    def values(self, windows, rooms, original=ChainRunner.values):
        batches.append(windows.shape)
        return original(self, windows, rooms)

    class Together(batched.BatchRunner):
        def _ask(self, window):
            if not getattr(local, "asked", False):
                local.asked = True
                asked.wait()
            return super()._ask(window)

    local = threading.local()
    monkeypatch.setattr(ChainRunner, "values", values)
    runner = Together(ChainRunner(model.networks.mean.build_chain("sr")))
    pictures = [p.astype(np.float32) for p in PICTURES if min(p.shape[:2]) >= 64]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda lr: list(runner.run(lr, tile=8)), pictures))
    assert len({shape[1:] for shape in batches}) == 1
    assert max(shape[0] for shape in batches) > batched._AHEAD
    assert runner.windows == sum(shape[0] for shape in batches)
    assert runner.batches == len(batches)


def test_a_batch_too_large_for_the_memory_is_done_in_halves(model, monkeypatch):
    def values(self, windows, rooms, original=ChainRunner.values):
        if len(windows) > 1:
            raise MemoryError
        return original(self, windows, rooms)

    monkeypatch.setattr(ChainRunner, "values", values)
    several = BatchedUpscaler(model)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(several.upscale, PICTURES[3:6]))
    assert [result.image.shape for result in made] == [(66, 94, 3)] * 3


def test_an_error_reaches_the_picture_that_asked(model, monkeypatch):
    def values(self, windows, rooms):
        raise ValueError("broken")

    monkeypatch.setattr(ChainRunner, "values", values)
    with pytest.raises(ValueError, match="broken"):
        BatchedUpscaler(model).upscale(PICTURES[0])
