from dataclasses import replace

import numpy as np
import pytest
from helpers.models import laplace_samples

from udl_tf.errors import UserError
from udl_tf.uncertainty.fit import calibrate


def test_auto_chooses_the_scale_unless_the_affine_form_is_better():
    halved = calibrate(laplace_samples(10, lambda s: s - np.log(2)), "noise")
    assert halved.method == "scale"
    assert np.exp(halved.a) == pytest.approx([2, 2, 2], rel=0.03)
    assert halved.b == [1, 1, 1]
    bent = calibrate(laplace_samples(10, lambda s: (s - 0.4) / 1.5), "noise")
    assert bent.method == "affine"
    assert bent.a == pytest.approx([0.4] * 3, abs=0.03)
    assert bent.b == pytest.approx([1.5] * 3, abs=0.03)
    assert bent.quantile(0.9) == pytest.approx([np.log(10)] * 3, rel=0.05)
    assert (bent.images, bent.data, bent.conformal) == (10, "noise", None)
    forced = calibrate(laplace_samples(10, lambda s: s - np.log(2)), "noise", "affine")
    assert forced.method == "affine"


def test_one_image_is_enough_for_a_fit():
    fit = calibrate(laplace_samples(1, lambda s: s / 100), "noise")
    assert (fit.images, fit.method) == (1, "scale")


def test_channels_are_fitted_separately():
    factors = np.log([1.0, 2.0, 4.0])
    fit = calibrate(laplace_samples(6, lambda s: s - factors), "noise", "scale")
    assert np.exp(fit.a) == pytest.approx([1, 2, 4], rel=0.03)


def test_conformal_intervals_need_enough_distinct_images():
    samples = laplace_samples(60, size=200)
    fit = calibrate(samples, "noise", conformal=(0.1, 0.1))
    assert (fit.conformal.alpha, fit.conformal.delta, fit.conformal.images) == (0.1, 0.1, 60)
    # Images of one distribution: little wider than the interval of 90 % of a Laplace error.
    assert np.log(10) < fit.conformal.factor < 2 * np.log(10)
    copies = [replace(sample, key=0) for sample in samples]
    with pytest.raises(UserError, match=r"1 distinct images are too few .*give at least 50"):
        calibrate(copies, "noise", conformal=(0.1, 0.1))


def test_no_error_is_one_line():
    flat = [replace(s, error=np.zeros_like(s.error)) for s in laplace_samples(2)]
    with pytest.raises(UserError, match="flat: the error is zero everywhere in a channel"):
        calibrate(flat, "flat")


@pytest.mark.parametrize("method", ["auto", "affine"])
@pytest.mark.parametrize("limit", [1.23, 1.4])  # the mean of ln theta is 1.25
def test_no_error_where_theta_is_small_is_fitted_by_the_scale(method, limit):
    """The likelihood of the affine form has no maximum, or a steep one: it was NaN."""
    samples = [
        replace(s, error=np.where(s.log_theta > limit, s.error, 0)) for s in laplace_samples(6)
    ]
    fit = calibrate(samples, "noise", method)
    assert fit.b == [1, 1, 1]
    assert fit.a == calibrate(samples, "noise", "scale").a


def test_errors_in_a_single_image_are_fitted_by_the_scale():
    """In the fold without this image, no form can be fitted."""
    flat = [replace(s, error=np.zeros_like(s.error)) for s in laplace_samples(6)]
    fit = calibrate([*laplace_samples(1), *flat], "noise")
    assert fit.method == "scale"
    assert np.isfinite(fit.a).all()


def test_few_errors_where_theta_is_small_have_a_finite_fit():
    samples = laplace_samples(6)
    for sample in samples:
        sample.error[(sample.log_theta < sample.log_theta.mean()) & (sample.error < 1)] = 0
    fit = calibrate(samples, "noise", "affine")
    assert np.isfinite([fit.a, fit.b]).all()
    assert min(fit.b) > 1


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(channels):
    factors = np.log(np.arange(1.0, channels + 1))
    fit = calibrate(laplace_samples(6, lambda s: s - factors, channels=channels), "noise", "scale")
    assert np.exp(fit.a) == pytest.approx(np.arange(1, channels + 1), rel=0.03)
    assert fit.quantile(0.9) == pytest.approx([np.log(10)] * channels, rel=0.05)
    assert fit.channels == channels
    fit.check_channels(channels)
    with pytest.raises(UserError, match=rf"of {channels} channels: expected 3, those of the model"):
        fit.check_channels(3)
