"""One contract for every network in BACKBONES, and the facts of each."""

import json

import keras
import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import SMALL_NETWORKS

from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.models import BACKBONES, build_model, copy_weights, mean_part, uncertainty_part
from udl_tf.models.blocks import BicubicDown, BicubicUp, NearestUpConv2D
from udl_tf.models.precision import precision


def small(name, scale, **options):
    return build_model(name, scale, **{**SMALL_NETWORKS[name], **options})


def batch(height, width, count=1):
    return np.stack([noise_image(height, width, i) for i in range(count)]).astype("float32")


def trainable(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def test_every_backbone_has_a_small_form():
    assert set(SMALL_NETWORKS) == set(BACKBONES)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", BACKBONES)
def test_shapes_at_any_size(name, scale):
    network = small(name, scale)
    for height, width in ((16, 16), (7, 13), (2, 5)):
        outputs = network(batch(height, width, 2))
        assert set(outputs) == {"sr", "log_scale"}
        for value in outputs.values():
            assert tuple(value.shape) == (2, scale * height, scale * width, 3)
            assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert set(small(name, scale, uncertainty=False)(batch(4, 4))) == {"sr"}


@pytest.mark.parametrize("name", BACKBONES)
def test_saved_and_loaded_without_custom_objects(name, tmp_path):
    network = small(name, 3)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert type(loaded) is type(network)
    assert loaded.get_config() == network.get_config()
    lr = batch(9, 6)
    for key, value in network(lr).items():
        assert np.array_equal(value, loaded(lr)[key])
    rebuilt = type(network).from_config(json.loads(json.dumps(network.get_config())))
    assert [v.shape for v in rebuilt.variables] == [v.shape for v in network.variables]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", BACKBONES)
def test_heads_are_float32_under_mixed_precision(name, policy):
    with precision(policy):
        network = small(name, 2)
    assert keras.config.dtype_policy().name == "float32"
    full = small(name, 2)
    copy_weights(network, full)
    lr = batch(12, 12)
    for key, value in network(lr).items():
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
        assert np.abs(value - full(lr)[key]).max() < 3.0
    assert all(v.dtype == "float32" for v in network.variables)
    inner = [layer for layer in network.layers if layer.name.startswith(("block0", "u_net"))]
    assert inner, "no inner layer found to look at"
    assert any(layer.compute_dtype == policy.removeprefix("mixed_") for layer in inner)


@pytest.mark.parametrize("name", BACKBONES)
def test_parts_give_the_same_and_hold_nothing_else(name):
    network = small(name, 4)
    lr = batch(8, 10)
    outputs = network(lr)
    mean, uncertainty = mean_part(network), uncertainty_part(network)
    assert np.array_equal(mean(lr)["sr"], outputs["sr"])
    assert np.array_equal(uncertainty(lr)["log_scale"], outputs["log_scale"])
    assert not any("log_scale" in layer.name for layer in mean.layers)
    assert not any(layer.name in ("tail", "sr", "upsample0") for layer in uncertainty.layers)
    bare = small(name, 4, uncertainty=False)
    assert trainable(mean) == trainable(bare)
    with pytest.raises(ValueError, match="no log_scale"):
        uncertainty_part(bare)


@pytest.mark.parametrize("name", BACKBONES)
def test_copied_weights_make_the_same_picture(name):
    network = small(name, 2)
    bare = small(name, 2, uncertainty=False)
    lr = batch(6, 7)
    assert not np.allclose(bare(lr)["sr"], network(lr)["sr"])
    copy_weights(network, bare)
    assert np.array_equal(bare(lr)["sr"], network(lr)["sr"])


def test_parameter_counts(reference):
    counts = json.loads((reference / "parameters.json").read_text())
    for name in ("edsr_s", "edsr"):
        for scale in (2, 3, 4):
            expected = counts[name][f"x{scale}"]
            assert trainable(build_model(name, scale, uncertainty=False)) == expected
        network = build_model(name, 2)
        assert trainable(network) - trainable(mean_part(network)) == counts[name]["s_head"]
    expected = counts["dpdnn"]["any_scale"] + counts["dpdnn"]["stage_scalars"]
    for scale in (2, 3, 4):
        assert trainable(build_model("dpdnn", scale, uncertainty=False)) == expected


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 5, 7, 6), (2, 1, 1, 6), (1, 8, 2, 6)])
def test_a_convolution_of_repeated_pixels(scale, shape):
    layer = NearestUpConv2D(5, scale, activation="elu", bias_initializer="normal")
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made = layer(x)
    plain = keras.layers.Conv2D(5, 3, padding="same", activation="elu")
    plain.build(shape)
    plain.set_weights(layer.get_weights())
    expected = plain(x.repeat(scale, axis=1).repeat(scale, axis=2))
    assert np.allclose(made, expected, atol=1e-5)
    assert layer.compute_output_shape(shape) == made.shape
    assert NearestUpConv2D.from_config(layer.get_config()).scale == scale


def test_elu_keeps_s_above_minus_one_and_linear_does_not():
    lr = 50 * batch(16, 16)
    elu = small("edsr_s", 2)(lr)["log_scale"]
    linear = small("edsr_s", 2, log_scale_activation="linear")(lr)["log_scale"]
    assert np.min(elu) >= -1
    assert np.min(linear) < -1


def test_weights_start_as_in_pytorch():
    kernel, bias = build_model("edsr_s", 2).get_layer("block0_conv0").get_weights()
    bound = 1 / np.sqrt(9 * 64)
    for values in (kernel, bias):
        assert np.abs(values).max() <= bound * (1 + 1e-6)  # rounded to float32
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


def test_shift_and_divide_normalise_inside():
    plain = small("edsr_s", 2, uncertainty=False)
    shifted = small("edsr_s", 2, uncertainty=False, shift=[100.0, 110.0, 120.0], divide=2.0)
    copy_weights(plain, shifted)
    shift = np.array([100.0, 110.0, 120.0], "float32")
    lr = batch(8, 8)
    expected = plain((lr - shift) / 2)["sr"] * 2 + shift
    assert np.allclose(shifted(lr)["sr"], expected, atol=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_dpdnn_operators_are_matlabs_imresize(scale):
    hr = noise_image(6 * scale, 9 * scale).astype(np.float32)
    lr = imresize(hr, 1 / scale)
    assert np.abs(BicubicDown(scale)(hr[None])[0] - lr).max() < 1e-3
    assert np.abs(BicubicUp(scale)(lr[None])[0] - imresize(lr, scale)).max() < 1e-3
    released = BicubicDown(scale, antialias=False)(hr[None])[0]
    assert np.abs(released - lr).max() > 1
    flat = np.full((1, 4 * scale, 4 * scale, 3), 9, np.float32)
    assert np.allclose(BicubicDown(scale, antialias=False)(flat), 9)


def test_dpdnn_starts_as_bicubic_interpolation_when_its_prior_is_nothing():
    network = small("dpdnn", 3, uncertainty=False)
    lr = batch(8, 8)
    u_net = network.get_layer("u_net")
    u_net.get_layer("residual").set_weights(
        [np.zeros_like(w) for w in u_net.get_layer("residual").get_weights()]
    )
    up = imresize(lr[0], 3)
    sr = np.asarray(network(lr)["sr"])[0]
    # The data term alone sharpens towards Down(x) = lr, so lr is met more closely than by Up(lr).
    assert np.abs(imresize(sr, 1 / 3) - lr[0]).mean() < np.abs(imresize(up, 1 / 3) - lr[0]).mean()
    assert np.abs(sr - up).mean() < 5


def test_unknown_names_and_options_are_one_line():
    for arguments, part in (
        (("edsrs", 2), "nearest known: edsr"),
        (("edsr", 5), "known: 2, 3, 4"),
    ):
        with pytest.raises(UserError, match=part):
            build_model(*arguments)
    with pytest.raises(UserError, match="num_blokcs"):
        build_model("edsr_s", 2, num_blokcs=3)
    with pytest.raises(UserError, match=r"model\.options\.res_scale: got 'a'"):
        build_model("edsr_s", 2, res_scale="a")
    with pytest.raises(UserError, match="operator"):
        build_model("dpdnn", 2, operator="other")
