"""Networks as int8 represents them well."""

import keras
import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import LIGHT_FUSED

from udl_tf.errors import UserError
from udl_tf.export.int8 import check_int8, quantizable
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
from udl_tf.models import build_model
from udl_tf.models.stages import chain_of, run_chain


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edsr_s", {}),
        ("edsr_s", {"shift": [10.3, 20.0, 127.5], "divide": [1.0, 20.0, 127.5]}),
        ("edsr_s", {**LIGHT_FUSED, "log_scale_head": "light"}),
        ("span", {"log_scale_head": "light"}),
    ],
)
def test_a_quantizable_chain_computes_the_same(name, options):
    network = build_model(name, 2, **{"num_blocks": 1, "num_filters": 4, **options})
    lr = keras.ops.convert_to_tensor(noise_image(24, 24)[None].astype(np.float32))
    chain = chain_of(network, "sr", "log_scale", bordered=True)
    pairs = zip(run_chain(chain, lr), run_chain([*map(quantizable, chain)], lr), strict=True)
    for expected, values in pairs:
        inside = np.s_[:, 20:-20, 20:-20]  # the zero padding differs by up to half a grey level
        difference = np.abs(np.asarray(values) - np.asarray(expected))[inside]
        assert difference.max() <= 1e-3 * max(1.0, np.abs(expected).max() / 255)


def test_the_levels_of_the_normalized_image_are_the_grey_levels():
    """With a shift of 127.5, zero, which is a level in int8, would be half-way between two."""
    network = build_model("edsr_s", 2, num_blocks=1, num_filters=4, shift=127.5, divide=127.5)
    trunk = quantizable(chain_of(network, "sr", bordered=True)[0]).network
    normalized = keras.Model(trunk.input, trunk.get_layer("normalize").output)
    lr = np.arange(256, dtype=np.float32)[None, None, :, None].repeat(3, -1)
    assert np.allclose(normalized(lr)[0, 0, :, 0] * 127.5, np.arange(256) - 128, atol=1e-4)
    assert not any(isinstance(layer, keras.layers.Rescaling) for layer in trunk.layers)


def test_a_model_of_measurements_has_no_int8():
    network = build_model("edsr_s", 2, num_blocks=1, num_filters=4, uncertainty=False)
    networks = Networks(2, network, None, value_range=ValueRange.of([0.0, 1.0]))
    with pytest.raises(UserError, match="int8 has too few values for a model with the value range"):
        check_int8(KerasUpscaler(networks))
