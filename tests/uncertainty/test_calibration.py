"""Compared with closed forms, and with known answers for Laplace noise."""

import tracemalloc

import numpy as np
import pytest
from helpers.models import plain_calibration
from scipy.stats import binom

from udl_tf import uncertainty as cal
from udl_tf.errors import UserError


@pytest.fixture(scope="module")
def synthetic():
    """(error, theta): 500,000 Laplace errors with scales of 0.5..50 grey levels."""
    random = np.random.default_rng(0)
    theta = np.exp(random.uniform(np.log(0.5), np.log(50), 500_000))
    return random.laplace(scale=theta), theta


def test_nll_of_one_value_and_its_expectation(synthetic):
    assert cal.laplace_nll(np.array([-3.0]), np.array([2.0])) == pytest.approx(np.log(4) + 1.5)
    error, theta = synthetic
    # E(|e|/theta) = 1
    assert cal.laplace_nll(error, theta) == pytest.approx(np.mean(np.log(2 * theta)) + 1, abs=0.005)


def test_fit_scale_has_a_closed_form(synthetic):
    error, theta = synthetic
    a, b = cal.fit_scale(error, np.log(theta / 2))
    assert (np.exp(a), b) == (pytest.approx(2.0, rel=0.005), 1.0)
    assert cal.fit_scale(np.array([1.0, 3.0]), np.zeros(2)) == (pytest.approx(np.log(2)), 1.0)


def test_fit_affine_inverts_an_affine_distortion(synthetic):
    error, theta = synthetic
    a, b = cal.fit_affine(error, (np.log(theta) - 0.7) / 1.3)
    assert a == pytest.approx(0.7, abs=0.01)
    assert b == pytest.approx(1.3, abs=0.01)


def test_fit_affine_is_a_minimum_and_accepts_a_constant_theta(synthetic):
    error, theta = synthetic[0][:5000], synthetic[1][:5000] ** 0.5

    def loss(a, b):
        return cal.laplace_nll(error, np.exp(a + b * np.log(theta)))

    a, b = cal.fit_affine(error, np.log(theta))
    for da, db in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert loss(a + da, b + db) > loss(a, b)
    constant = np.zeros_like(error)
    assert cal.fit_affine(error, constant) == cal.fit_scale(error, constant)


def test_coverage_and_quantiles_of_laplace_errors(synthetic):
    error, theta = synthetic
    ratio = np.abs(error) / theta
    levels = np.array([0.5, 0.8, 0.9, 0.95])
    factors = cal.laplace_factor(levels)
    assert factors == pytest.approx([np.log(2), np.log(5), np.log(10), np.log(20)])
    assert np.allclose(cal.coverage(ratio, factors), levels, atol=0.002)
    assert np.allclose(cal.measured_factors(ratio[:, None], levels)[:, 0], factors, rtol=0.01)
    assert cal.coverage(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 2.0, 9.0])).tolist() == [
        0.0, 0.5, 1.0]  # fmt: skip


def test_expected_psnr(synthetic):
    # A Laplace scale of two grey levels is a mean square of 8.
    assert cal.expected_psnr(np.full(5, 2.0)) == pytest.approx(10 * np.log10(255**2 / 8))
    error, theta = synthetic
    measured = 10 * np.log10(255**2 / np.mean(error**2))
    assert cal.expected_psnr(theta) == pytest.approx(measured, abs=0.05)


def test_expected_psnr_copies_no_map():
    """A copy in float64 was larger than everything else that the page holds of a result."""
    theta = np.random.default_rng(0).gamma(2.0, 3.0, (500, 400, 3)).astype(np.float32)
    expected = 10 * np.log10(255**2 / np.mean(2 * theta.astype(np.float64) ** 2))
    tracemalloc.start()
    try:
        assert cal.expected_psnr(theta) == pytest.approx(expected, rel=1e-12)
        assert tracemalloc.get_traced_memory()[1] < theta.nbytes / 4
    finally:
        tracemalloc.stop()


def test_sparsification_of_four_values():
    error = np.array([1.0, 2.0, 3.0, 6.0])
    curve = cal.sparsification(error, np.array([1.0, 2.0, 3.0, 4.0]))
    assert curve[0] == 1.0
    assert curve[25] == pytest.approx(2.0 / 3.0)  # without the 6
    assert curve[50] == pytest.approx(1.5 / 3.0)
    assert curve[75] == pytest.approx(1.0 / 3.0)
    assert cal.ause(curve, cal.sparsification(error, error)) == 0.0
    worst = cal.sparsification(error, -error)
    assert cal.ause(worst, curve) > 0.5
    assert cal.aurg(worst) < 0 < cal.aurg(curve)


def test_ranking_by_noise_by_theta_and_by_the_oracle(synthetic):
    error, theta = synthetic
    oracle = cal.sparsification(error, np.abs(error))
    noise = cal.sparsification(error, np.random.default_rng(1).uniform(size=error.size))
    assert np.allclose(noise, 1, atol=0.06)  # the last point is the mean of 5,000 values
    assert cal.aurg(noise) == pytest.approx(0, abs=0.005)
    true = cal.sparsification(error, theta)
    assert 0 < cal.ause(true, oracle) < cal.ause(noise, oracle)
    # The remaining values have the smallest scales of a log-uniform law, whose mean is known.
    low, high = np.log(0.5), np.log(50)
    median = low + 0.5 * (high - low)
    expected = (np.exp(median) - 0.5) / (median - low) / ((50 - 0.5) / (high - low))
    assert true[50] == pytest.approx(expected, rel=0.01)
    error = error[:20_000]
    assert cal.spearman(error, np.abs(error)) == pytest.approx(1.0)
    assert cal.spearman(error, -np.abs(error)) == pytest.approx(-1.0)
    assert np.isnan(cal.spearman(error, np.ones_like(error)))


def test_the_curve_of_zero_errors_is_nan():
    assert np.isnan(cal.sparsification(np.zeros(4), np.arange(4))).all()


def test_uce_and_ence(synthetic):
    error, theta = synthetic
    assert cal.uce(error, theta) < 0.05
    assert cal.ence(error, theta) < 0.02
    # With half the true scale, each bin predicts half its error, and RMSE is twice RMV.
    assert cal.uce(error, theta / 2) == pytest.approx(np.mean(theta) / 2, rel=0.01)
    assert cal.ence(error, theta / 2) == pytest.approx(1.0, abs=0.02)
    rows = cal.reliability(error, theta, bins=10)
    assert rows.shape == (10, 4)
    assert np.allclose(rows[:, 0], rows[:, 1], rtol=0.03)
    assert np.allclose(rows[:, 2], rows[:, 3], rtol=0.03)


def test_hoeffding_bentkus():
    # Without any loss, Hoeffding's bound is (1 - alpha)^n and Bentkus' is e times that.
    assert cal.hoeffding_bentkus(0.0, 30, 0.1) == pytest.approx(0.9**30)
    assert cal.hoeffding_bentkus(0.1, 1000, 0.1) == 1.0
    assert cal.hoeffding_bentkus(0.5, 1000, 0.1) == 1.0
    tight = cal.hoeffding_bentkus(0.08, 1000, 0.1)
    assert tight <= np.e * binom.cdf(80, 1000, 0.1)
    assert 0 < tight < cal.hoeffding_bentkus(0.09, 1000, 0.1)


@pytest.mark.parametrize(
    ("n", "alpha", "delta"), [(50, 0.1, 0.1), (300, 0.05, 0.2), (80, 0.3, 0.01)]
)
def test_the_risk_bound_is_the_largest_risk_that_passes(n, alpha, delta):
    bound = cal.risk_bound(n, alpha, delta)
    assert 0 <= bound < alpha
    assert cal.hoeffding_bentkus(bound, n, alpha) <= delta
    assert cal.hoeffding_bentkus(bound + 1.01 / n, n, alpha) > delta


def test_too_few_images_for_a_guarantee():
    assert cal.fewest_images(0.1, 0.1) == 50
    assert cal.fewest_images(0.01, 0.1) == 230  # 0.99^229 > 0.1 >= 0.99^230
    with pytest.raises(UserError, match=r"49 distinct images are too few .* give at least 50"):
        cal.risk_bound(49, 0.1, 0.1)
    with pytest.raises(UserError, match="two numbers between 0 and 1"):
        cal.risk_bound(100, 0.0, 0.1)


def test_the_conformal_guarantee_holds():
    """Over many calibration sets, the true risk exceeds alpha in at most a fraction delta of them.

    The error of theta varies between images, so the risk of one says little about another's.
    """
    random, alpha, delta = np.random.default_rng(0), 0.1, 0.2

    def images(count):
        off = np.exp(random.normal(0, 0.4, count))
        return np.abs(random.laplace(size=(count, 200))) * off[:, None]

    unseen = images(3000)
    factors = [cal.conformal_factor(images(60), alpha, delta) for _ in range(60)]
    risks = [np.mean(unseen > factor) for factor in factors]
    assert np.mean(np.array(risks) > alpha) <= delta
    assert 0.03 < np.mean(risks) < alpha  # and the intervals are not needlessly wide


def test_quantiles_between_levels():
    fit = plain_calibration()
    assert fit.quantile(0.905) == pytest.approx([-np.log(0.095)] * 3, rel=1e-6)
    with pytest.raises(UserError, match="level 0"):
        fit.quantile(0.0)
