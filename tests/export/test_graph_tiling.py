import itertools

import numpy as np
import tensorflow as tf

from udl_tf.export.graph_tiling import _Axis, run_tiled
from udl_tf.inference.tiling import plan_axis


def test_an_axis_is_cut_as_outside_the_graph():
    cases = itertools.product((1, 7, 40, 97), (1, 5, 16, 99), (0, 3, 8), (1, 4, 16))
    for length, side, margin, align in cases:
        expected = plan_axis(slice(0, length), length, side, margin, align)
        axis = _Axis(tf.constant(length), tf.constant(side), margin, align)
        assert int(axis.count) == len(expected)
        for index, span in enumerate(expected):
            first, (start, stop) = axis.span(index)
            window = slice(int(first), int(first) + int(axis.size))
            assert (window, slice(int(start), int(stop))) == (span.window, span.core)


def test_tiles_together_equal_the_whole():
    """A mean over 3x3 pixels has radius 1; the windows hold at most 30 of 15 x 22 pixels."""
    image = np.random.default_rng(0).uniform(0, 255, (2, 15, 22, 3)).astype(np.float32)
    windows = []

    def compute(window):
        windows.append(window.shape)
        mean = tf.nn.avg_pool2d(window, 3, 1, "SAME")
        return mean, tf.cast(mean[..., :2], tf.uint8)

    results = (3, tf.float32), (2, tf.uint8)
    tiled = run_tiled(compute, [(tf.constant(image), 1)], 60.0, 1, 1, 1, results)
    for result, expected in zip(tiled, compute(tf.constant(image)), strict=True):
        assert result.dtype == expected.dtype
        assert np.allclose(result, expected, atol=1e-4)
    *windows, _ = windows
    assert len(windows) > 10
    assert all(n == 2 and height * width <= 30 for n, height, width, _ in windows)
