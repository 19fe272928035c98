"""Upscaling of measurements: units, nodata, flags."""

import numpy as np
import pytest
from helpers.upscalers import Repeating

from udl_tf.errors import UserError
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.measurements import FLAGS, coverage_by_flag


def measuring(scale: int = 2, channels: int = 1, low: float = -50.0, high: float = 460.0):
    """Returns an upscaler that repeats pixels, and whose grey level is 2 in the unit.

    Its theta is exp(value / 100) grey levels, of the value in 0..255.
    """
    model = Repeating(scale)
    model.channels, model.value_range = channels, ValueRange.of([low, high])
    return model


def repeated(values: np.ndarray, scale: int = 2) -> np.ndarray:
    return values.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u2", "u4", "u1", ">i4"])
def test_values_and_theta_have_the_unit_of_the_input_also_outside_the_range(dtype):
    low = 0 if "u" in dtype else -300
    high = 250 if dtype == "u1" else 3000
    values = np.random.default_rng(0).integers(low, high, (9, 8, 1)).astype(dtype)
    result = measuring().upscale(values)
    assert result.image.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(result.image, repeated(values), rtol=1e-6)
    assert result.theta is not None
    levels = (values.astype(np.float64) + 50) / 2
    np.testing.assert_allclose(result.theta, 2 * np.exp(repeated(levels) / 100), rtol=1e-4)
    assert result.value_range == (-50, 460)
    assert result.flags is not None
    assert not result.flags.any()


def test_a_plane_of_one_channel_needs_no_channel_axis_and_stacks_have_flags_too():
    values = np.random.default_rng(0).uniform(0, 400, (3, 7, 6, 1))
    values[1, 2, 2] = np.nan
    model = measuring()
    stack, single = model.upscale(values), model.upscale(values[1, ..., 0])
    for name in ("image", "theta"):
        one = getattr(stack, name)[1, ..., 0]
        np.testing.assert_array_equal(getattr(single, name), one)
    assert stack.flags is not None
    np.testing.assert_array_equal(stack.members()[1].flags, single.flags)


def test_nodata_stays_nodata_and_its_theta_is_nan():
    values = np.random.default_rng(0).uniform(0, 400, (20, 24, 2)).astype(np.float32)
    values[5, 6, 0] = np.nan
    values[7, 8, 1] = np.inf
    result = measuring(channels=2).upscale(values)
    missing = repeated(~np.isfinite(values))
    assert result.theta is not None
    assert (np.isnan(result.image) == missing).all()
    assert (np.isnan(result.theta) == missing).all()
    assert result.flags is not None
    assert (result.flags[~missing.any(axis=-1)] < 2).all()
    assert (result.flags[missing.any(axis=-1)] == 2).all()


@pytest.mark.parametrize("way", ["nodata", "mask", "mask without channels"])
def test_integers_keep_their_nodata_value(way):
    values = np.random.default_rng(0).integers(0, 400, (12, 10, 1)).astype(np.int16)
    values[3:5, 4] = -9999
    known = values != -9999
    masks = {"mask": known, "mask without channels": known[..., 0]}
    options = {"valid": masks[way]} if way in masks else {"nodata": -9999}
    result = measuring().upscale(values, **options)
    assert (result.image == repeated(values)).all()
    assert result.theta is not None
    assert (np.isnan(result.theta) == repeated(~known)).all()


def test_valid_integers_do_not_become_nodata():
    """As in files of scenes: a bug made the two differ."""

    class Darkening(Repeating):
        def run(self, *arguments, **options):
            for place, maps in super().run(*arguments, **options):
                yield place, 0 * maps

    model = Darkening(2, 1)
    model.value_range = ValueRange.of([-50, 460])  # so that results are -50, which becomes 0
    values = np.random.default_rng(0).integers(1, 400, (12, 10, 1)).astype(np.uint16)
    values[3, 4] = 0
    result = model.upscale(values, nodata=0)
    assert (result.image == 0).sum() == 4
    assert (result.image == 1).sum() == 4 * (12 * 10 - 1)


def test_the_largest_float_as_nodata_overflows_nothing():
    values = np.full((6, 6, 1), 100.0)
    values[2, 2] = lowest = np.finfo(np.float64).min
    result = measuring().upscale(values, nodata=lowest)
    assert np.nansum(result.image == 100) == 4 * 35


def test_nodata_changes_only_pixels_that_the_network_sees_from():
    """A NaN among the values would spoil all that a network computes in its window."""
    values = np.random.default_rng(0).uniform(0, 400, (20, 20, 1))
    punched = values.copy()
    punched[4, 4] = np.nan
    whole, holed = measuring().upscale(values), measuring().upscale(punched)
    same = whole.image == holed.image
    assert same.sum() == same.size - 4


def test_flags_mark_pixels_near_nodata_within_the_reach():
    class Near(Repeating):
        nodata_reach = 2

    model = Near(2)
    model.channels, model.value_range = 1, ValueRange.of([0, 1])
    values = np.zeros((9, 9, 1))
    values[4, 4] = np.nan
    flags = model.upscale(values).flags
    expected = np.zeros((9, 9), np.uint8)
    expected[2:7, 2:7] = 1
    expected[4, 4] = 2
    np.testing.assert_array_equal(flags, repeated(expected))


def test_images_become_measurements_with_a_mask_and_keep_their_values():
    """Without one, they are computed as images; with one, black and white are as for images."""
    image = np.random.default_rng(0).integers(0, 65536, (10, 12, 3)).astype(np.uint16)
    result = Repeating(2).upscale(image, nodata=0)
    np.testing.assert_allclose(result.image, repeated(image), atol=1)
    assert result.value_range == (0, 65535)
    assert Repeating(2).upscale(image).flags is None
    floats = Repeating(2).upscale(image / 65535, nodata=0, value_range=(0, 1))
    np.testing.assert_allclose(floats.image, repeated(image / 65535), atol=1e-6)


def test_intervals_are_in_the_unit():
    from udl_tf.uncertainty import LEVELS, Calibration, laplace_factor

    factors = [[float(laplace_factor(level))] for level in LEVELS]
    model = measuring()
    model.calibration = Calibration(
        method="scale", a=[0], b=[1], levels=list(LEVELS), factors=factors, data="", images=1
    )
    values = np.full((6, 6, 1), 110, np.uint16)  # 80 grey levels
    values[0, 0] = 7
    result = model.upscale(values, nodata=7)
    low, high = result.interval(0.8)
    half = 2 * np.exp(0.8) * np.log(5)  # the Laplace quantile, -ln(1 - 0.8)
    assert (high - low)[-1, -1, 0] == pytest.approx(2 * half, rel=1e-3)
    assert np.isnan(low[0, 0, 0])
    assert result.half_width(0.8) == pytest.approx(half, rel=0.05)


def test_a_model_of_one_channel_upscales_each_channel_of_a_file(tmp_path):
    model, values = measuring(), np.random.default_rng(0).uniform(0, 400, (2, 7, 6, 3))
    values[1, 2, 2, 1] = np.nan
    np.save(tmp_path / "bands.npy", values)
    result = model.upscale(tmp_path / "bands.npy")
    alone = model.upscale(values[1, ..., 1])
    np.testing.assert_array_equal(result.image[1, ..., 1], alone.image)
    np.testing.assert_array_equal(result.theta[1, ..., 1], alone.theta)
    with pytest.raises(UserError, match=r"shape \(2, 7, 6, 3\): expected \(h, w, 1\)"):
        model.upscale(values)  # of arrays, it could be (n, h, w)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((4, 4, 3)), {}, r"shape \(4, 4, 3\): expected \(h, w, 2\)"),
        (np.zeros((4, 4)), {}, r"shape \(4, 4\): expected \(h, w, 2\)"),
        (np.zeros((4, 0, 2)), {}, r"shape \(4, 0, 2\)"),
        (np.zeros((4, 4, 2), np.int64), {}, "dtype int64: expected floats, or integers"),
        (np.zeros((4, 4, 2)), {"value_range": (0, 1)}, "the model has its own"),
        (np.zeros((4, 4, 2)), {"valid": np.ones((4, 5), bool)}, r"shape \(4, 5\): expected"),
        (np.zeros((4, 4, 2)), {"valid": np.ones((4, 4))}, "dtype float64: expected bool"),
        (np.zeros((4, 4, 2)), {"valid": [[True, False]]}, r"shape \(1, 2\): expected"),
        (np.zeros((4, 4, 2), np.uint8), {"nodata": -9999}, r"whole number in 0\.\.255"),
        (np.zeros((4, 4, 2), np.uint8), {"nodata": float("nan")}, "nodata nan; expected a value"),
        (np.zeros((4, 4, 2), np.int16), {"nodata": 0.5}, "of the dtype int16, a whole number"),
    ],
)
def test_what_is_no_measurement_is_one_line(values, options, message):
    with pytest.raises(UserError, match=message) as caught:
        measuring(channels=2).upscale(values, **options)
    assert "\n" not in str(caught.value)


def test_results_of_measurements_are_not_resized():
    with pytest.raises(UserError, match="the model's scale only"):
        measuring().upscale(np.zeros((4, 4, 1))).resized((3, 3))


def test_coverage_is_reported_apart_for_pixels_near_nodata():
    flags = np.array([[0, 0], [1, 2]], np.uint8)
    covered = np.array([[[1, 1], [1, 0]], [[0, 1], [0, 0]]], bool)
    assert coverage_by_flag(covered, flags) == {"valid": 0.75, "near nodata": 0.5}
    assert coverage_by_flag(covered[:1], flags[:1]) == {"valid": 0.75}
    assert FLAGS[2] == "nodata"
