from functools import partial

import numpy as np
import pytest

from udl_tf.inference.tiling import OUT_OF_MEMORY, plan_axis, run_tiles, scaled


@pytest.mark.parametrize("align", [1, 4, 16])
@pytest.mark.parametrize("margin", [0, 3, 40])
@pytest.mark.parametrize("side", [1, 7, 1000])
@pytest.mark.parametrize("length", [1, 2, 17, 101, 128])
def test_spans_cover_the_axis_with_equal_windows(length, side, margin, align):
    spans = plan_axis(slice(0, length), length, side, margin, align)
    assert [i for s in spans for i in range(length)[s.core]] == list(range(length))
    assert len({s.window.stop - s.window.start for s in spans}) == 1
    for span in spans:
        assert span.core.stop - span.core.start <= side
        assert span.window.start % align == 0
        assert span.window.start == 0 or span.core.start - span.window.start >= margin
        assert span.window.stop == length or span.window.stop - span.core.stop >= margin
        assert span.window.start >= 0
        assert span.window.stop <= length


def blurred(image: np.ndarray, radius: int) -> np.ndarray:
    """Box sum with zeros outside, twice as large: it depends on `radius` pixels on each side."""
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)))
    size = 2 * radius + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
    return windows.sum(axis=(-1, -2)).repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("most", [10**9, 120, 60])
@pytest.mark.parametrize("batch", [1, 5])
def test_tiles_equal_the_whole_even_when_memory_runs_out(most, batch):
    image = np.random.default_rng(0).integers(0, 100, (23, 31, 2))
    refused, batches = [], []

    def compute(tiles):
        windows = [image[rows.window, columns.window] for rows, columns in tiles]
        if sum(w.shape[0] * w.shape[1] for w in windows) > most:
            refused.append(len(windows))
            raise MemoryError
        batches.append(len(windows))
        return np.stack([blurred(window, 2) for window in windows])

    out = np.full((46, 62, 2), -1)
    notes = {}
    for tile, values in run_tiles(
        partial(partial, compute), (23, 31), side=12, margin=2, batch=batch, notes=notes
    ):
        rows, columns = scaled(tile, 2)
        assert (out[rows, columns] == -1).all(), "computed twice"
        out[rows, columns] = values
    assert np.array_equal(out, blurred(image, 2))
    assert (len(refused) > 0) == (most < 1000)
    assert list(notes) == ([OUT_OF_MEMORY] if refused else [])
    assert max(batches) == (batch if most > 1000 else 1)


def test_other_errors_and_too_little_memory_for_one_pixel_are_raised():
    def broken(tiles):
        raise ValueError("something else")

    def greedy(tiles):
        raise RuntimeError("RESOURCE_EXHAUSTED: OOM when allocating tensor")

    with pytest.raises(ValueError, match="something else"):
        list(run_tiles(partial(partial, broken), (9, 9), side=4, margin=1))
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        list(run_tiles(partial(partial, greedy), (9, 9), side=4, margin=1))


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_batches_are_started_ahead_of_the_results(ahead):
    """So that a device computes a batch while the results of the previous one are used."""
    started, finished = [], []

    def start(tiles):
        started.append(tiles)
        return partial(finish, tiles)

    def finish(tiles):
        finished.append(tiles)
        return np.zeros((len(tiles), 2, 2, 1))

    results = run_tiles(start, (2, 8), side=2, margin=0, ahead=ahead)
    for index, _ in enumerate(results):
        assert len(finished) == index + 1
        assert len(started) == min(index + 1 + ahead, 4)
