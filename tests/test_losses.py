import keras
import numpy as np
import pytest
import tensorflow as tf

from udl_tf.losses import LOSSES, BetaNLLLoss, ESULoss, EULoss, GRAMLoss, L1Loss, MSELoss, UDLLoss

# Two pixels of one channel with errors 3 and -1, s = ln 2 and 0. Expected values are computed by
# hand.
HR = np.array([13.0, 9.0], "float32").reshape(1, 1, 2, 1)
PREDICTION = {
    "sr": np.array([10.0, 10.0], "float32").reshape(1, 1, 2, 1),
    "log_scale": np.array([np.log(2.0), 0.0], "float32").reshape(1, 1, 2, 1),
}


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (L1Loss(), (3 + 1) / 2),
        (MSELoss(), (9 + 1) / 2),
        (EULoss(), ((3 / 2 + np.log(2)) + (1 + 0)) / 2),
        (ESULoss(), ((3 / 2 + 2 * np.log(2)) + (1 + 0)) / 2),
        # theta^2 = 4 and 1
        (BetaNLLLoss(beta=2.0), (4 * (3 / 2 + 2 * np.log(2)) + (1 + 0)) / 2),
        # sigmoid(ln 2) = 2/3, sigmoid(0) = 1/2; the unit of e is 1.
        (GRAMLoss(unit=1.0), (2 / 3 * (9 / 2 + np.log(2)) + 1 / 2 * (1 + 0)) / 2),
        (GRAMLoss(unit=1.0, power=1.0), (2 / 3 * (3 / 2 + np.log(2)) + 1 / 2 * (1 + 0)) / 2),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_values_computed_by_hand(loss, expected):
    assert float(loss(HR, PREDICTION)) == pytest.approx(expected, rel=1e-6)


def test_udl_is_weighted_l1_and_needs_weights():
    w = np.array([0.5, 2.0], "float32").reshape(1, 1, 2, 1)
    only_sr = {"sr": PREDICTION["sr"]}
    assert float(UDLLoss()(HR, only_sr, sample_weight=w)) == pytest.approx((0.5 * 3 + 2 * 1) / 2)
    with pytest.raises(ValueError, match="sample_weight"):
        UDLLoss()(HR, only_sr)


@pytest.mark.parametrize("name", ["l1", "mse", "udl"])
def test_losses_without_s_read_only_sr(name):
    weight = np.ones_like(HR)
    value = LOSSES[name]()(HR, {"sr": PREDICTION["sr"]}, sample_weight=weight)
    assert np.isfinite(float(value))
    assert not LOSSES[name].needs_log_scale


def optimum(loss, errors):
    """s that minimises the loss over many pixels of given errors, found on a fine grid."""
    grid = np.linspace(-2, 4, 6001, dtype="float32")
    hr = np.broadcast_to(errors.reshape(1, 1, -1, 1), (1, 1, errors.size, 1))
    prediction = {"sr": np.zeros_like(hr)}
    mean = np.abs(errors).mean()
    values = np.exp(-grid) * mean + (2 if isinstance(loss, ESULoss) else 1) * grid
    best = grid[np.argmin(values)]
    at = float(loss(hr, {**prediction, "log_scale": np.full_like(hr, best)}))
    for other in (best - 0.3, best + 0.3):
        assert float(loss(hr, {**prediction, "log_scale": np.full_like(hr, other)})) > at
    return best


def test_eu_learns_the_laplace_scale_and_esu_half_of_it():
    errors = np.random.default_rng(0).laplace(0, 5, 4000).astype("float32")
    scale = np.abs(errors).mean()
    assert np.exp(optimum(EULoss(), errors)) == pytest.approx(scale, rel=0.01)
    assert np.exp(optimum(ESULoss(), errors)) == pytest.approx(scale / 2, rel=0.01)


def test_no_gradient_flows_through_the_attention_of_gram():
    sr, z = tf.constant(PREDICTION["sr"]), tf.Variable(PREDICTION["log_scale"])
    with tf.GradientTape() as tape:
        loss = GRAMLoss(unit=1.0)(HR, {"sr": sr, "log_scale": z})
    gradient = tape.gradient(loss, z)
    attention = np.array([2 / 3, 1 / 2])
    expected = attention * (-np.exp(-PREDICTION["log_scale"].ravel()) * [9, 1] + 1) / 2
    assert np.allclose(np.ravel(gradient), expected, rtol=1e-5)


def test_the_gradient_of_sr_for_beta_1_is_that_of_l1():
    sr, s = tf.Variable(PREDICTION["sr"]), tf.Variable(PREDICTION["log_scale"])
    with tf.GradientTape() as tape:
        loss = BetaNLLLoss()(HR, {"sr": sr, "log_scale": s})
    sr_gradient, s_gradient = tape.gradient(loss, [sr, s])
    assert np.allclose(np.ravel(sr_gradient), [-1 / 2, 1 / 2])
    assert np.allclose(np.ravel(s_gradient), [2 * (2 - 3 / 2) / 2, (2 - 1) / 2])


def test_losses_are_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        value = L1Loss()(HR + 0.001, PREDICTION)
    finally:
        keras.config.set_dtype_policy(before)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value) == pytest.approx((3.001 + 0.999) / 2, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_configs_round_trip(name):
    options = {"unit": 1.0, "power": 1.0} if name == "gram" else {}
    loss = LOSSES[name](**options)
    config = loss.get_config()
    assert {k: config[k] for k in options} == options


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("channels", [1, 5])
def test_the_loss_of_channels_is_the_mean_of_their_losses(name, channels):
    random = np.random.default_rng(0)
    hr, sr, s, w = random.uniform(0.5, 3, (4, 2, 3, 4, channels)).astype("float32")
    weights = {"sample_weight": w} if name == "udl" else {}
    loss = LOSSES[name]()
    found = float(loss(hr, {"sr": sr, "log_scale": s}, **weights))
    parts = [
        loss(
            hr[..., c : c + 1],
            {"sr": sr[..., c : c + 1], "log_scale": s[..., c : c + 1]},
            **{key: value[..., c : c + 1] for key, value in weights.items()},
        )
        for c in range(channels)
    ]
    assert found == pytest.approx(np.mean(parts), rel=1e-5)
