import keras
import numpy as np
import pytest
from helpers.models import build_small, plain_calibration

from udl_tf.export.theta_head import with_theta
from udl_tf.inference.keras_upscaler import Networks
from udl_tf.models.heads import LARGEST_THETA, SMALLEST_THETA
from udl_tf.models.stages import run_chain

OUTPUTS = "sr", "log_scale"
LR = keras.ops.convert_to_tensor(
    np.random.default_rng(0).uniform(0, 255, (2, 12, 13, 3)), "float32"
)


@pytest.mark.parametrize("name", ["edsr_s", "span", "dpdnn"])
def test_a_light_head_computes_theta_within_and_at_its_limits(name):
    """The calibration differs by channel."""
    network = build_small(name, 2, log_scale_head="light")
    last = network.get_layer("log_scale").get_layer("last")
    rng = np.random.default_rng(0)
    last.set_weights([rng.normal(0, 100, w.shape) for w in last.get_weights()])
    calibration = plain_calibration(a=(0.1, -0.2, 0.5), b=(1.0, 1.2, 0.8))
    networks = Networks(2, network, network, calibration=calibration)
    ((names, chain),) = networks.build_chains(True, bordered=True)
    sr, s = (keras.ops.convert_to_numpy(values) for values in run_chain(chain, LR))
    expected = networks.theta_of(s)
    lowest = networks.theta_of(np.full(3, np.log(SMALLEST_THETA)))
    assert np.isclose(expected, LARGEST_THETA).any()
    assert np.isclose(expected, lowest).any()

    names, changed = with_theta(names, chain, networks.log_theta_line)
    assert names == ("sr", "theta")
    same, theta = (keras.ops.convert_to_numpy(values) for values in run_chain(changed, LR))
    assert np.array_equal(same, sr)
    # log theta is a sum of terms of thousands here: float32 rounds it to about 1e-4.
    assert np.allclose(theta, expected, rtol=1e-3)


def test_a_released_head_stays():
    network = build_small("edsr_s", 2)
    chain = network.build_chain(*OUTPUTS)
    line = Networks(2, network, network).log_theta_line
    assert with_theta(OUTPUTS, chain, line) == (OUTPUTS, chain)
