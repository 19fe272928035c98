"""Consistency of results with their inputs, and back projection."""

import numpy as np
import pytest

from udl_tf.imaging.bicubic import enlarge, shrink
from udl_tf.inference.consistency import MARGIN, TOLERANCE, Consistency, back_project


def noisy_pair(scale: int, size=(30, 26)) -> tuple[np.ndarray, np.ndarray]:
    """Returns an LR image and a result with errors of two grey levels."""
    rng = np.random.default_rng(0)
    lr = rng.uniform(0, 255, (*size, 2)).astype(np.float32)
    sr = enlarge(lr, scale)
    return lr, sr + rng.normal(0, 2, sr.shape).astype(np.float32)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_back_projected_result_equals_its_input_when_degraded(scale):
    """White noise is the worst input: bicubic enlarging alone is off by tens of levels."""
    lr, sr = noisy_pair(scale)
    before = np.abs(shrink(sr, scale) - lr)
    after = np.abs(shrink(back_project(sr, lr, scale), scale) - lr)
    assert before.mean() > 20
    assert after.max() < 0.02 * before.max()
    assert (after <= TOLERANCE).mean() > 0.5


def test_a_consistent_result_stays_as_it_is():
    sr = np.random.default_rng(0).uniform(0, 255, (20, 24, 1)).astype(np.float32)
    lr = shrink(sr, 2) + np.float32(0.9 * TOLERANCE)
    np.testing.assert_array_equal(back_project(sr, lr, 2), sr)


def test_parts_with_a_margin_equal_the_whole_to_the_bit():
    lr, sr = noisy_pair(2, (2 * MARGIN + 20, 12))
    lr[:MARGIN] = shrink(sr, 2)[:MARGIN]  # nothing to do there: rounds may end early in a part
    whole = back_project(sr, lr, 2)
    part = back_project(sr[: 2 * (MARGIN + 10)], lr[: MARGIN + 10], 2)
    np.testing.assert_array_equal(part[:20], whole[:20])
    part = back_project(sr[20:], lr[10:], 2)
    np.testing.assert_array_equal(part[2 * MARGIN :], whole[20 + 2 * MARGIN :])


def test_the_report_has_the_numbers_of_numpy_over_valid_pixels():
    rng = np.random.default_rng(0)
    lr = rng.uniform(0, 255, (9, 8, 2)).astype(np.float32)
    degraded = (lr + rng.normal(1, 3, lr.shape)).astype(np.float32)
    valid = rng.random(lr.shape) < 0.8
    total = Consistency.of(2)
    lr_with_nan = np.where(valid, lr, np.nan)
    total.add(lr_with_nan[:4], degraded[:4], valid[:4])
    total.add(lr_with_nan[4:], degraded[4:], valid[4:])
    for channel, found in enumerate(total.report(step=10.0)):
        x, y = (values[..., channel][valid[..., channel]] for values in (lr, degraded))
        assert found["mean"] == pytest.approx(10 * (y - x).mean(), rel=1e-4)
        assert found["rms"] == pytest.approx(10 * np.sqrt(np.mean((y - x) ** 2)), rel=1e-4)
        assert found["correlation"] == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-6)


def test_a_channel_without_data_has_no_numbers():
    total = Consistency.of(1)
    total.add(np.zeros((2, 2, 1)), np.zeros((2, 2, 1)), np.zeros((2, 2, 1), bool))
    assert all(np.isnan(value) for value in total.report()[0].values())
