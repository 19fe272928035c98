from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import build_small, plain_calibration, transparent_model

from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
from udl_tf.saved.loading import load_upscaler

transparent = cache(transparent_model)


@cache
def small_model(name: str, scale: int = 2) -> KerasUpscaler:
    """An untrained model whose results are far from its inputs."""
    network = build_small(name, scale)
    return KerasUpscaler(Networks(scale, network, network))


def changed(model: KerasUpscaler, **fields) -> KerasUpscaler:
    return KerasUpscaler(replace(model.networks, **fields))


def repeated(image: np.ndarray, scale: int) -> np.ndarray:
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32", "float64", "float16"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_every_kind_of_image_keeps_its_values(scale, dtype, channels):
    """Through a network that repeats pixels: no swap, no truncation, no loss of depth."""
    levels = 65536 if np.dtype(dtype).itemsize == 2 and dtype != "float16" else 256
    shape = (7, 5) if channels is None else (7, 5, channels)
    image = np.random.default_rng(0).integers(1, levels, shape).astype(dtype)  # 0 alpha hides
    result = transparent(scale).upscale(image)
    assert result.image.dtype == np.dtype(dtype).newbyteorder("=")
    colors = {2: 1, 4: 3}.get(channels)
    if colors is None:
        expected, found = repeated(image, scale), result.image
    else:
        expected, found = repeated(image[..., :colors], scale), result.image[..., :colors]
        alpha = imresize(image[..., colors], scale)
        alpha = alpha.clip(0, 255) if "float" in dtype else alpha
        assert np.array_equal(result.image[..., colors], alpha)
    assert np.abs(found.astype(np.float64) - expected).max() <= (1e-3 if "float" in dtype else 0)
    assert result.theta.shape == found.shape
    assert np.allclose(result.theta, 1.0)
    assert result.theta.dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_plain_areas_keep_their_colour_whatever_the_network_does(dtype):
    """A trained EDSR-S turned plain (0, 255, 255) into a pattern of three levels."""
    image, color = noise_image(24, 50).astype(np.float32), np.array([7, 255, 31])
    image[:, 20:] = color
    model, level = small_model("edsr_s"), 257 if dtype == "uint16" else 1
    network = np.clip(model.predict(image, border=8)[0], 0, 255)
    for self_ensemble in (False, True):
        result = model.upscale((image * level).astype(dtype), self_ensemble=self_ensemble).image
        assert (result[:, 2 * 28 :] == color * level).all()
        if not self_ensemble:
            assert np.abs(result[:, : 2 * 28] / level - network[:, : 2 * 28]).max() <= 0.51
            assert np.abs(network[:, 2 * 28 :] - color).max() > 1


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (1, 128, 254)])
def test_plain_colours_stay_plain(color):
    image = np.full((12, 9, 3), color, np.uint8)
    for options in ({}, {"self_ensemble": True}, {"tile": 5}):
        result = transparent(4).upscale(image, **options)
        assert np.array_equal(result.image, np.full((48, 36, 3), color))


@pytest.mark.parametrize("name", ["edsr_s", "edsr", pytest.param("dpdnn", marks=pytest.mark.slow)])
def test_tiles_change_nothing_visible(name):
    model = small_model(name)
    for tile, size in ((1, (9, 8)), (11, (33, 40))) if name == "edsr_s" else ((11, (33, 40)),):
        image = noise_image(*size) // 4 + 96  # away from the clipping
        whole = model.upscale(image)
        tiled = model.upscale(image, tile=tile)
        assert np.abs(tiled.image.astype(int) - whole.image).max() <= 1
        assert np.abs(tiled.theta - whole.theta).max() <= 1e-3 * max(1, whole.theta.max())


def test_the_border_is_that_of_a_larger_image_mirrored():
    """The networks' zero padding is 8 LR pixels away; see BORDER."""
    model, image = small_model("edsr_s"), noise_image(20, 24)
    mirrored = np.pad(image, ((8, 8), (8, 8), (0, 0)), "symmetric")
    inside, _ = model.predict(mirrored)
    with_border, _ = model.predict(image, border=8)
    assert np.allclose(with_border, inside[16:-16, 16:-16], atol=1e-3)
    bare, _ = model.predict(image)
    expected = model.networks.mean(image[None].astype(np.float32))["sr"][0]
    assert np.allclose(bare, expected, atol=1e-3)


def members(model: KerasUpscaler, image: np.ndarray) -> list[np.ndarray]:
    """The output of the network for each flip and rotation, turned back."""
    outputs = []
    for flip in (False, True):
        for turns in range(4):
            turned = np.rot90(image[:, ::-1] if flip else image, turns)
            sr, _ = model.predict(np.ascontiguousarray(turned), border=8)
            back = np.rot90(sr, -turns)
            outputs.append(back[:, ::-1] if flip else back)
    return outputs


def test_self_ensemble_is_the_mean_of_eight_with_their_spread():
    model, image = small_model("edsr"), noise_image(11, 17).astype(np.float32)
    outputs = members(model, image)
    result = model.upscale(image, self_ensemble=True)
    assert np.allclose(result.image, np.clip(np.mean(outputs, axis=0), 0, 255), atol=1e-2)
    assert np.allclose(result.spread, np.std(outputs, axis=0), atol=1e-2)
    assert np.allclose(result.total**2, result.theta**2 + result.spread**2 / 2, rtol=1e-4)
    assert model.upscale(image).spread is None
    assert model.upscale(image).total is None


def test_the_members_of_a_grey_image_are_averaged_over_channels_before_they_are_clipped():
    """An untrained network leaves 0..255, so that clipping each member would change the mean."""
    model, image = small_model("edsr"), noise_image(11, 17)[..., 0].astype(np.float32)
    outputs = np.mean(members(model, image[..., None].repeat(3, axis=-1)), axis=-1)
    assert outputs.min() < -1
    result = model.upscale(image, self_ensemble=True)
    assert np.allclose(result.image, np.clip(outputs.mean(axis=0), 0, 255), atol=1e-2)
    assert np.allclose(result.spread, outputs.std(axis=0), atol=1e-2)


def test_without_uncertainty():
    model = small_model("edsr_s")
    assert model.upscale(noise_image(6, 6), uncertainty=False).theta is None
    plain = changed(model, uncertainty=None)
    assert plain.upscale(noise_image(6, 6)).theta is None
    with pytest.raises(UserError, match=r"no calibrated theta: calibrate the model"):
        plain.upscale(noise_image(6, 6)).interval(0.9)


def test_calibrated_theta_and_intervals():
    fit = plain_calibration(a=[0.5, 0.0, -0.5], b=[1.0, 2.0, 1.0])
    model = changed(small_model("edsr_s"), unit=3.0, power=2.0)
    image = noise_image(8, 9)
    raw, result = model.upscale(image).theta, changed(model, calibration=fit).upscale(image)
    expected = np.exp(np.array([0.5, 0.0, -0.5]) + np.array([1.0, 2.0, 1.0]) * np.log(raw))
    assert 255 < expected.max() < np.inf  # theta is at most the width of the value range
    assert np.allclose(result.theta, np.minimum(expected, 255), rtol=1e-4)
    low, high = result.interval(0.9)
    assert np.allclose((low + high) / 2, result.image, atol=1e-2)
    assert np.allclose(high - low, 2 * result.theta * -np.log(0.1), rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match=r"level 1\.0: expected 0\.01\.\.0\.999"):
        result.interval(1.0)
    with pytest.raises(UserError, match="no conformal factor") as caught:
        result.conformal_interval()
    assert caught.value.argument == "conformal"


def test_intervals_are_in_the_unit_of_the_image_for_grey_and_alpha_too():
    model = changed(transparent(2), calibration=plain_calibration())
    deep = noise_image(6, 7)[..., :2].astype(np.uint16) * 257
    for image in (deep, deep[..., 0]):
        result = model.upscale(image)
        low, high = result.interval(0.5)
        assert low.shape == result.theta.shape
        assert np.allclose(high - low, 2 * 257 * np.log(2), rtol=1e-3)


def test_the_receptive_field_is_stated():
    assert small_model("edsr_s", 4).receptive_field == 2 * (2 * 2 + 2 + 2) + 1


def test_a_loaded_model_is_shown_in_one_line(small_run):
    assert repr(load_upscaler(small_run)) == "KerasUpscaler(x2, calibrated theta)"
    model = small_model("edsr_s", 4)
    assert repr(model) == "KerasUpscaler(x4, theta not calibrated)"
    assert repr(changed(model, uncertainty=None)) == "KerasUpscaler(x4, no theta)"


@pytest.mark.parametrize("name", ["edsr_s", "dpdnn", "light", "span"])
def test_tiles_equal_the_whole_with_a_light_head(name):
    """Its convolutions at LR size see further than those of the released head."""
    options = {"num_stages": 1} if name == "dpdnn" else {"num_blocks": 1}
    network = build_small(name, 3, num_filters=4, log_scale_head="light", **options)
    model = KerasUpscaler(Networks(3, network, network))
    image = noise_image(70, 83)
    whole, tiled = model.upscale(image), model.upscale(image, tile=9)
    assert np.array_equal(whole.image, tiled.image)
    assert np.allclose(whole.theta, tiled.theta, rtol=1e-5)


@pytest.mark.parametrize(("name", "channels"), [("edsr_s", 1), ("dpdnn", 4), ("span", 5)])
def test_tiles_equal_the_whole_of_any_channels(name, channels):
    options = {"num_stages": 1} if name == "dpdnn" else {"num_blocks": 1}
    network = build_small(name, 2, channels=channels, log_scale_head="light", **options)
    model = KerasUpscaler(Networks(2, network, network))
    assert model.channels == channels
    image = np.random.default_rng(0).integers(0, 256, (40, 33, channels), dtype=np.uint8)
    whole, tiled = model.upscale(image), model.upscale(image, tile=9)
    assert whole.image.shape == (80, 66, channels)
    assert np.array_equal(whole.image, tiled.image)
    assert np.allclose(whole.theta, tiled.theta, rtol=1e-5)
