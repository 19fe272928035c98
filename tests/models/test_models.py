"""Contract of every network in BACKBONES and of the light form of EDSR, and properties of each."""

import json
from functools import cache

import keras
import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import CONTRACT, SMALL_NETWORKS, build_small

from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.models import (
    BACKBONES,
    build_model,
    check_contract,
    copy_weights,
    freeze_all_but_head,
    fused,
    mean_part,
    uncertainty_part,
)
from udl_tf.models.blocks import (
    BicubicDown,
    BicubicUp,
    Conv2DTranspose,
    DepthToSpace,
    NearestUpConv2D,
)
from udl_tf.models.dtype_policy import precision
from udl_tf.models.folding import as_convolution
from udl_tf.models.stages import run_chain


@cache
def shared(name, scale, **options):
    """A network of several tests, which must not change it."""
    return build_small(name, scale, **options)


def batch(height, width, count=1):
    return np.stack([noise_image(height, width, i) for i in range(count)]).astype("float32")


def trainable(network):
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def test_every_backbone_has_a_small_form():
    assert set(SMALL_NETWORKS) == set(BACKBONES)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", CONTRACT)
def test_shapes_at_any_size(name, scale):
    network = shared(name, scale)
    for height, width in ((16, 16), (7, 13), (2, 5)):
        outputs = network(batch(height, width, 2))
        assert set(outputs) == {"sr", "log_scale"}
        for value in outputs.values():
            assert tuple(value.shape) == (2, scale * height, scale * width, 3)
            assert keras.backend.standardize_dtype(value.dtype) == "float32"


@pytest.mark.parametrize(("channels", "head"), [(1, "light"), (4, "released"), (5, "light")])
@pytest.mark.parametrize("name", CONTRACT)
def test_any_number_of_channels(name, channels, head):
    network = build_small(name, 2, channels=channels, log_scale_head=head)
    lr = np.random.default_rng(0).uniform(0, 255, (2, 7, 6, channels)).astype(np.float32)
    expected = network(lr)
    for value in expected.values():
        assert tuple(value.shape) == (2, 14, 12, channels)
    if name != "light":  # whose upsampler has branches
        assert fused(network) is network
    chain = network.build_chain("sr", "log_scale")
    found = run_chain(chain, keras.ops.convert_to_tensor(lr))
    found = dict(zip(("sr", "log_scale"), found, strict=True))
    for key, value in fused(network)(lr).items():
        assert np.abs(value - expected[key]).max() <= 1e-3 * np.abs(expected[key]).max()
        assert np.abs(value - found[key]).max() <= 1e-3 * np.abs(expected[key]).max()
    copy = type(network).from_config(network.get_config())
    assert copy.input_shape == (None, None, None, channels)
    check_contract(name, 2, True, lambda: copy, channels)


def test_channels_are_one_to_64():
    for channels in (0, 65, 2.5):
        with pytest.raises(
            UserError, match=rf"model\.channels {channels}: expected a whole number"
        ):
            build_model("edsr_s", 2, channels)


@pytest.mark.parametrize("name", ["edsr_s", "span"])
@pytest.mark.parametrize("option", ["shift", "divide"])
def test_a_normalisation_of_other_channels_is_one_line(name, option):
    with pytest.raises(UserError, match=rf"{option} has 3 numbers: expected one, or .* 4 channels"):
        build_small(name, 2, channels=4, **{option: [1.0, 2.0, 3.0]})


def test_span_subtracts_the_mean_of_div2k_from_rgb_and_middle_grey_from_others():
    def shift(channels):
        return -np.array(build_small("span", 2, channels=channels).get_layer("normalize").offset)

    assert shift(3).tolist() == [114.444, 111.4605, 103.02]  # of 0.4488, 0.4371, 0.4040
    assert (shift(1), shift(4)) == (127.5, 127.5)


@pytest.mark.parametrize("head", ["released", "light"])
@pytest.mark.parametrize("name", CONTRACT)
def test_saved_and_loaded_without_custom_objects(name, head, tmp_path):
    network = shared(name, 3, log_scale_head=head)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert type(loaded) is type(network)
    assert loaded.get_config() == network.get_config()
    lr = batch(9, 6)
    for key, value in network(lr).items():
        assert np.array_equal(value, loaded(lr)[key])


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("edsr_s", "mixed_bfloat16"),
        ("edsr_s", "mixed_float16"),
        ("light", "mixed_bfloat16"),
        ("dpdnn", "mixed_bfloat16"),
        ("dpdnn", "mixed_float16"),
    ],
)
def test_heads_are_float32_under_mixed_precision(name, policy):
    with precision(policy):
        network = build_small(name, 2)
    assert keras.config.dtype_policy().name == "float32"
    full = shared(name, 2)
    copy_weights(full, network)
    lr = batch(12, 12)
    for key, value in network(lr).items():
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
        assert np.abs(value - full(lr)[key]).max() < 3.0
    assert all(v.dtype == "float32" for v in network.variables)
    inner = [layer for layer in network.layers if layer.name.startswith(("block0", "u_net"))]
    assert inner, "no inner layer to check"
    assert any(layer.compute_dtype == policy.removeprefix("mixed_") for layer in inner)


@pytest.mark.parametrize("name", CONTRACT)
def test_parts_yield_the_same_and_contain_nothing_else(name):
    network = shared(name, 4)
    lr = batch(8, 10)
    outputs = network(lr)
    mean, uncertainty = mean_part(network), uncertainty_part(network)
    assert np.array_equal(mean(lr)["sr"], outputs["sr"])
    assert np.array_equal(uncertainty(lr)["log_scale"], outputs["log_scale"])
    assert not any("log_scale" in layer.name for layer in mean.layers)
    assert not any(layer.name in ("tail", "sr", "upsample0") for layer in uncertainty.layers)
    bare = shared(name, 4, uncertainty=False)
    assert trainable(mean) == trainable(bare)
    assert set(bare(lr)) == {"sr"}
    with pytest.raises(ValueError, match="no log_scale"):
        uncertainty_part(bare)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", CONTRACT)
def test_a_light_head_adds_theta_to_the_same_image(name, scale):
    network = build_small(name, scale, log_scale_head="light")
    bare = shared(name, scale, uncertainty=False)
    # All layers but the head, which is one layer, a network of its own.
    assert copy_weights(bare, network) == ["log_scale"]
    for height, width in ((16, 16), (7, 13), (2, 5)):
        lr = batch(height, width, 2)
        outputs = network(lr)
        assert np.array_equal(outputs["sr"], bare(lr)["sr"])
        assert tuple(outputs["log_scale"].shape) == (2, scale * height, scale * width, 3)
        assert np.exp(outputs["log_scale"]).min() >= 0.05 * (1 - 1e-5)
        assert np.exp(outputs["log_scale"]).max() <= 255 * (1 + 1e-5)
    freeze_all_but_head(network)
    head = network.get_layer("log_scale")
    assert {id(v) for v in network.trainable_variables} == {id(v) for v in head.variables}


def test_a_light_head_is_a_thirtieth_of_edsr_s():
    """Weights of convolutions at LR size are multiplications per LR pixel."""
    with keras.StatelessScope(initialize_variables=False):
        light = build_model("edsr_s", 4, log_scale_head="light").get_layer("log_scale")
        # 1x1 of 64 + 48 to 32 channels, four of 32, one to 48; 1.98 million in EDSR-S.
        assert trainable(light) == (112 * 32 + 32) + 4 * (9 * 32 * 32 + 32) + (9 * 32 * 48 + 48)


@pytest.mark.parametrize("name", CONTRACT)
def test_copied_weights_yield_the_same_image(name):
    network = shared(name, 2)
    keras.utils.set_random_seed(1)  # other weights than those of `network`
    bare = build_small(name, 2, uncertainty=False)
    lr = batch(6, 7)
    assert not np.allclose(bare(lr)["sr"], network(lr)["sr"])
    assert copy_weights(network, bare) == []
    assert np.array_equal(bare(lr)["sr"], network(lr)["sr"])


def test_layers_that_do_not_match_keep_their_weights():
    bare = shared("edsr_s", 2, uncertainty=False)
    target = build_small("edsr_s", 3)
    own = {layer.name: layer.get_weights() for layer in target.layers}
    given = {layer.name: layer.get_weights() for layer in bare.layers}
    kept = ["log_scale_conv0", "log_scale_conv1", "log_scale_conv2", "upsample0"]
    assert sorted(copy_weights(bare, target)) == kept
    for layer in target.layers:
        expected = own[layer.name] if layer.name in kept else given.get(layer.name, [])
        for a, b in zip(layer.get_weights(), expected, strict=True):
            assert np.array_equal(a, b)


def test_parameter_counts(reference):
    counts = json.loads((reference / "parameters.json").read_text())
    with keras.StatelessScope(initialize_variables=False):  # shapes without values
        for name in ("edsr_s", "edsr"):
            for scale in (2, 3, 4):
                network = build_model(name, scale)
                mean = trainable(mean_part(network))
                assert mean == counts[name][f"x{scale}"]
                assert trainable(network) - mean == counts[name]["s_head"]
        expected = counts["dpdnn"]["any_scale"] + counts["dpdnn"]["stage_scalars"]
        for scale in (2, 3, 4):
            assert trainable(mean_part(build_model("dpdnn", scale))) == expected


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 5, 7, 6), (2, 1, 1, 6), (1, 8, 2, 6)])
def test_a_convolution_after_nearest_neighbour_upsampling(scale, shape):
    layer = NearestUpConv2D(5, scale, activation="elu", bias_initializer="normal")
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    result = layer(x)
    plain = keras.layers.Conv2D(5, 3, padding="same", activation="elu")
    plain.build(shape)
    plain.set_weights(layer.get_weights())
    expected = plain(x.repeat(scale, axis=1).repeat(scale, axis=2))
    assert np.allclose(result, expected, atol=1e-5)
    assert layer.compute_output_shape(shape) == result.shape
    assert NearestUpConv2D.from_config(layer.get_config()).scale == scale


@pytest.mark.parametrize("shape", [(1, 5, 4, 6), (2, 1, 2, 6)])
def test_a_transposed_convolution(shape):
    layer = Conv2DTranspose(5)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    result = layer(x)
    plain = keras.layers.Conv2DTranspose(5, 3, 2, "valid", use_bias=False)
    plain.build(shape)
    plain.set_weights(layer.get_weights())
    # Keras starts at the tap before pixel 0, which is outside the image.
    assert np.allclose(result, plain(x)[:, 1:, 1:], atol=1e-5)
    assert layer.compute_output_shape(shape) == result.shape


@pytest.mark.parametrize("scale", [3, 4])
def test_a_folded_upsampler_equals_its_layers_away_from_the_border(scale):
    network = shared("edsr_s", scale)
    features, tail = (network.get_layer(name).output for name in ("long_skip", "tail"))
    linear = keras.Model(features, tail)
    folded = keras.Sequential([as_convolution(linear, 2), DepthToSpace(scale)])
    x = np.random.default_rng(0).normal(0, 50, (1, 9, 11, 8)).astype(np.float32)
    expected, result = np.asarray(linear(x)), np.asarray(folded(x))
    inner = np.s_[:, 2 * scale : -2 * scale, 2 * scale : -2 * scale]
    assert result.shape == expected.shape
    assert np.abs(expected[inner]).mean() > 1
    assert np.allclose(result[inner], expected[inner], atol=1e-3)
    assert not np.allclose(result, expected, atol=1e-3)  # zero padding of the inner maps


def test_an_upsampler_is_folded_over_several_replicas_too(monkeypatch):
    """Each of them computes the same response, so that Keras returns it several times."""
    network = shared("edsr_s", 2)
    features, tail = (network.get_layer(name).output for name in ("long_skip", "tail"))
    linear = keras.Model(features, tail)
    expected, predict = as_convolution(linear, 2).get_weights(), linear.predict_on_batch
    monkeypatch.setattr(linear, "predict_on_batch", lambda x: np.repeat(predict(x), 2, axis=0))
    for values, correct in zip(as_convolution(linear, 2).get_weights(), expected, strict=True):
        assert np.array_equal(values, correct)


def test_elu_keeps_s_above_minus_one_and_linear_does_not():
    lr = 50 * batch(16, 16)
    elu = shared("edsr_s", 2)(lr)["log_scale"]
    linear = build_small("edsr_s", 2, log_scale_activation="linear")(lr)["log_scale"]
    assert np.min(elu) >= -1
    assert np.min(linear) < -1


def test_weights_start_as_in_pytorch():
    kernel, bias = build_model("edsr_s", 2).get_layer("block0_conv0").get_weights()
    bound = 1 / np.sqrt(9 * 64)
    for values in (kernel, bias):
        assert np.abs(values).max() <= bound * (1 + 1e-6)  # rounded to float32
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


def test_shift_and_divide_normalise_inside():
    plain = shared("edsr_s", 2, uncertainty=False)
    shifted = build_small("edsr_s", 2, uncertainty=False, shift=[100.0, 110.0, 120.0], divide=2.0)
    copy_weights(plain, shifted)
    shift = np.array([100.0, 110.0, 120.0], "float32")
    lr = batch(8, 8)
    expected = plain((lr - shift) / 2)["sr"] * 2 + shift
    assert np.allclose(shifted(lr)["sr"], expected, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_dpdnn_operators_are_matlabs_imresize(scale, channels):
    hr = np.random.default_rng(0).uniform(0, 255, (6 * scale, 9 * scale, channels))
    hr = hr.astype(np.float32)
    lr = imresize(hr, 1 / scale)
    assert np.abs(BicubicDown(scale)(hr[None])[0] - lr).max() < 1e-3
    assert np.abs(BicubicUp(scale)(lr[None])[0] - imresize(lr, scale)).max() < 1e-3
    released = BicubicDown(scale, antialias=False)(hr[None])[0]
    assert np.abs(released - lr).max() > 1
    flat = np.full((1, 4 * scale, 4 * scale, 3), 9, np.float32)
    assert np.allclose(BicubicDown(scale, antialias=False)(flat), 9)


def test_dpdnn_without_a_prior_is_bicubic_interpolation_with_a_data_term():
    network = build_small("dpdnn", 3, uncertainty=False)
    lr = batch(8, 8)
    u_net = network.get_layer("u_net")
    u_net.get_layer("residual").set_weights(
        [np.zeros_like(w) for w in u_net.get_layer("residual").get_weights()]
    )
    up = imresize(lr[0], 3)
    sr = np.asarray(network(lr)["sr"])[0]
    # The data term alone sharpens towards Down(x) = lr: Down(sr) is closer to lr than Down(Up(lr)).
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
    with pytest.raises(UserError, match=r"num_blocks: got \d+; expected at most 16384"):
        build_model("edsr_s", 2, num_blocks=2**70)
    with pytest.raises(UserError, match="operator"):
        build_model("dpdnn", 2, operator="other")
    for name, option, message in (
        ("edsr_s", {"num_blocks": -1}, "num_blocks must be at least 0"),
        ("span", {"num_blocks": 0}, "num_blocks must be at least 1"),
        ("edsr_s", {"divide": [1.0, 0.0, 1.0]}, "divide must not be 0"),
        ("span", {"shift": float("nan")}, "shift must be finite"),
        ("edsr_s", {"res_scale": float("inf")}, "res_scale must be finite"),
    ):
        with pytest.raises(UserError, match=message):
            build_model(name, 2, **option)
    with pytest.raises(UserError, match=r"num_stages must be at least 1\. Received: 0"):
        build_model("dpdnn", 2, num_stages=0)
