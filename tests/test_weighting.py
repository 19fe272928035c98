import numpy as np
import pytest
import tensorflow as tf

from udl_tf.weighting import (
    error_map_weight,
    hr_gradient_weight,
    lr_gradient_weight,
    uncertainty_weight,
)

RANDOM = np.random.default_rng(0)
HR = RANDOM.uniform(0, 255, (2, 12, 16, 3)).astype("float32")
SR = HR + RANDOM.normal(0, 9, HR.shape).astype("float32")
LR = RANDOM.uniform(0, 255, (2, 6, 8, 3)).astype("float32")
S = RANDOM.normal(0, 1, HR.shape).astype("float32")

SOURCES = {
    "uncertainty": lambda **o: uncertainty_weight(S, **o),
    "error_map": lambda **o: error_map_weight(HR, SR, **o),
    "hr_gradient": lambda **o: hr_gradient_weight(HR, **o),
    "lr_gradient": lambda **o: lr_gradient_weight(LR, scale=2, **o),
}


@pytest.mark.parametrize("floor", [0.0, 1.0])
@pytest.mark.parametrize("source", SOURCES)
def test_the_minimum_of_each_image_and_channel_is_the_floor(source, floor):
    w = np.asarray(SOURCES[source](floor=floor))
    assert w.shape == HR.shape
    assert np.allclose(w.min(axis=(1, 2)), floor, atol=1e-6)
    assert w.max() > floor + 0.5


@pytest.mark.parametrize("source", SOURCES)
def test_normalised_weights_have_mean_one_in_each_image(source):
    w = np.asarray(SOURCES[source](floor=1.0, normalize=True))
    assert np.allclose(w.mean(axis=(1, 2, 3)), 1, atol=1e-5)


def test_uncertainty_weight_is_s_minus_its_minimum():
    w = np.asarray(uncertainty_weight(S, floor=0.0))
    assert np.allclose(w, S - S.min(axis=(1, 2), keepdims=True))


@pytest.mark.parametrize("source", SOURCES)
def test_a_quantile_replaces_the_minimum(source):
    w = np.asarray(SOURCES[source](floor=1.0, quantile=0.25))
    assert w.min() == 1.0
    at_floor = np.isclose(w, 1.0).mean(axis=(1, 2))
    assert (at_floor >= 0.24).all()
    assert w.max() > 1.5


def test_the_quantile_is_taken_of_each_image_and_channel():
    w = np.asarray(uncertainty_weight(S, floor=0.0, quantile=0.25))
    lowest = np.quantile(S, 0.25, axis=(1, 2), keepdims=True)
    assert np.allclose(w, np.maximum(S - lowest, 0), atol=1e-5)


def test_error_map_is_on_the_scale_of_s():
    # r = 2 e yields s* = ln(r / 2) = 1; r = 0 yields the minimum of ELU, -1.
    sr = HR.copy()
    sr[:, 0, 0] += 2 * np.e
    w = np.asarray(error_map_weight(HR, sr, floor=0.0))
    assert w[:, 0, 0] == pytest.approx(2.0, abs=1e-4)
    assert w[:, 1:].max() == 0


def test_gradient_of_a_ramp_is_its_slope():
    ramp = np.tile(8.0 * np.arange(20, dtype="float32"), (20, 1))[None, :, :, None].repeat(3, -1)
    for image in (ramp, ramp.transpose(0, 2, 1, 3)):
        w = np.asarray(hr_gradient_weight(image, floor=0.0))
        # Slope 8 inside, 4 at the mirrored border: ln(8/2) - ln(4/2) = ln 2.
        assert w[0, 5:15, 5:15] == pytest.approx(np.log(2), abs=1e-5)
    w = np.asarray(lr_gradient_weight(ramp, scale=3, floor=0.0))
    assert w.shape == (1, 60, 60, 3)
    assert w[0, 20:40, 20:40] == pytest.approx(np.log(2), abs=1e-5)


def test_no_gradient_flows_through_any_weight():
    s, sr = tf.Variable(S), tf.Variable(SR)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(uncertainty_weight(s, floor=1.0))
        total += tf.reduce_sum(error_map_weight(HR, sr, floor=1.0))
    assert tape.gradient(total, [s, sr]) == [None, None]


@pytest.mark.parametrize("channels", [1, 5])
def test_each_channel_has_weights_of_its_own(channels):
    random = np.random.default_rng(0)
    hr, sr = random.uniform(0, 255, (2, 2, 6, 8, channels)).astype("float32")
    lr = hr[:, ::2, ::2]
    functions = (
        lambda *c: uncertainty_weight(hr[c], floor=1.0),
        lambda *c: error_map_weight(hr[c], sr[c], floor=1.0),
        lambda *c: hr_gradient_weight(hr[c], floor=1.0),
        lambda *c: lr_gradient_weight(lr[c], scale=2, floor=1.0),
    )
    for weight in functions:
        parts = [weight(..., slice(c, c + 1)) for c in range(channels)]
        assert np.allclose(weight(...), np.concatenate(parts, axis=-1), rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"quantile": 0.3}, {"normalize": True}])
def test_pixels_without_data_count_nowhere(options):
    """Those with data get the weights that they have alone; a row without data is added."""
    s = np.concatenate([S, np.full_like(S[:, :1], -50)], axis=1)
    valid = np.ones(s.shape, bool)
    valid[:, -1] = False
    w = np.asarray(uncertainty_weight(s, floor=1.0, valid=valid, **options))
    alone = np.asarray(uncertainty_weight(S, floor=1.0, **options))
    np.testing.assert_allclose(w[:, :-1], alone, rtol=1e-5)
    assert np.isfinite(w).all()


@pytest.mark.parametrize("source", SOURCES)
def test_all_sources_take_images_without_data(source):
    """NaN in hr, also next to pixels with data, whose gradient it hides: they get the floor."""
    valid = np.ones(HR.shape, bool)
    valid[:, 5:9, 5:9] = False
    hr = np.where(valid, HR, np.nan).astype("float32")
    weights = {
        "hr_gradient": lambda **options: hr_gradient_weight(hr, **options),
        "error_map": lambda **options: error_map_weight(hr, SR, **options),
    }
    w = np.asarray(weights.get(source, SOURCES[source])(floor=1.0, valid=valid))
    assert np.isfinite(w).all()
    assert w[valid].min() == 1.0
