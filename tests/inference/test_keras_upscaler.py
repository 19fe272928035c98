from dataclasses import replace

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import SMALL_NETWORKS, plain_calibration, transparent_model

from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.models import build_model


def repeated(image: np.ndarray, scale: int) -> np.ndarray:
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32", "float64", "float16"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_every_kind_of_picture_keeps_its_values(scale, dtype, channels):
    """Through a network that repeats pixels: no swap, no truncation, no loss of depth."""
    levels = 65536 if np.dtype(dtype).itemsize == 2 and dtype != "float16" else 256
    shape = (7, 5) if channels is None else (7, 5, channels)
    image = np.random.default_rng(0).integers(0, levels, shape).astype(dtype)
    made = transparent_model(scale).upscale(image)
    assert made.image.dtype == np.dtype(dtype).newbyteorder("=")
    colors = {2: 1, 4: 3}.get(channels)
    if colors is None:
        expected, found = repeated(image, scale), made.image
    else:
        expected, found = repeated(image[..., :colors], scale), made.image[..., :colors]
        assert np.array_equal(made.image[..., colors], imresize(image[..., colors], scale))
    assert np.abs(found.astype(np.float64) - expected).max() <= (1e-3 if "float" in dtype else 0)
    assert made.theta.shape == found.shape
    assert np.allclose(made.theta, 1.0)
    assert made.theta.dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_plain_areas_keep_their_colour_whatever_the_network_does(dtype):
    """A trained EDSR-S turned plain (0, 255, 255) into a pattern of three levels."""
    image, color = noise_image(40, 60).astype(np.float32), np.array([7, 255, 31])
    image[:, 20:] = color
    model, level = small_model("edsr_s"), 257 if dtype == "uint16" else 1
    network = np.clip(model.predict(image, border=8)[0], 0, 255)
    for self_ensemble in (False, True):
        made = model.upscale((image * level).astype(dtype), self_ensemble=self_ensemble).image
        assert (made[:, 2 * 28 :] == color * level).all()
        if not self_ensemble:
            assert np.abs(made[:, : 2 * 28] / level - network[:, : 2 * 28]).max() <= 0.51
            assert np.abs(network[:, 2 * 28 :] - color).max() > 1


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (1, 128, 254)])
def test_plain_colours_stay_plain(color):
    image = np.full((20, 17, 3), color, np.uint8)
    for options in ({}, {"self_ensemble": True}, {"tile": 5}):
        made = transparent_model(4).upscale(image, **options)
        assert np.array_equal(made.image, np.full((80, 68, 3), color))


def small_model(name: str, scale: int = 2) -> KerasUpscaler:
    network = build_model(name, scale, **SMALL_NETWORKS[name])
    return KerasUpscaler(scale, network, network)


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_tiles_change_nothing_that_is_seen(name):
    model, image = small_model(name), noise_image(33, 50)
    image = image // 4 + 96  # away from the clipping
    whole = model.upscale(image)
    for tile in (1, 11) if name == "edsr_s" else (11,):
        tiled = model.upscale(image, tile=tile)
        assert np.abs(tiled.image.astype(int) - whole.image).max() <= 1
        assert np.abs(tiled.theta - whole.theta).max() <= 1e-3 * max(1, whole.theta.max())


def test_the_border_is_that_of_a_larger_picture_mirrored():
    """The networks' zero padding is 8 LR pixels away; see BORDER."""
    model, image = small_model("edsr_s"), noise_image(20, 24)
    mirrored = np.pad(image, ((8, 8), (8, 8), (0, 0)), "symmetric")
    inside, _ = model.predict(mirrored)
    with_border, _ = model.predict(image, border=8)
    assert np.allclose(with_border, inside[16:-16, 16:-16], atol=1e-3)
    bare, _ = model.predict(image)
    assert np.allclose(bare, model.mean(image[None].astype(np.float32))["sr"][0], atol=1e-3)


def test_self_ensemble_is_the_mean_of_eight_and_tells_their_spread():
    model, image = small_model("edsr"), noise_image(11, 17).astype(np.float32)
    members = []
    for flip in (False, True):
        for turns in range(4):
            turned = np.rot90(image[:, ::-1] if flip else image, turns)
            sr, _ = model.predict(np.ascontiguousarray(turned), border=8)
            back = np.rot90(np.clip(sr, -1e9, 1e9), -turns)
            members.append(back[:, ::-1] if flip else back)
    made = model.upscale(image, self_ensemble=True)
    assert np.allclose(made.image, np.clip(np.mean(members, axis=0), 0, 255), atol=1e-2)
    assert np.allclose(made.spread, np.std(members, axis=0), atol=1e-2)
    assert np.allclose(made.total**2, made.theta**2 + made.spread**2 / 2, rtol=1e-4)
    assert model.upscale(image).spread is None
    assert model.upscale(image).total is None


def test_without_uncertainty():
    model = small_model("edsr_s")
    assert model.upscale(noise_image(6, 6), uncertainty=False).theta is None
    plain = replace(model, uncertainty=None)
    assert plain.upscale(noise_image(6, 6)).theta is None
    with pytest.raises(UserError, match=r"no calibrated theta.*udl_tf\.calibrate"):
        plain.upscale(noise_image(6, 6)).interval(0.9)


def test_calibrated_theta_and_intervals():
    fit = plain_calibration(a=[0.5, 0.0, -0.5], b=[1.0, 2.0, 1.0])
    model = replace(small_model("edsr_s"), unit=3.0, power=2.0)
    image = noise_image(8, 9)
    raw, made = model.upscale(image).theta, replace(model, calibration=fit).upscale(image)
    expected = np.exp(np.array([0.5, 0.0, -0.5]) + np.array([1.0, 2.0, 1.0]) * np.log(raw))
    assert np.allclose(made.theta, expected, rtol=1e-4)
    low, high = made.interval(0.9)
    assert np.allclose((low + high) / 2, made.image, atol=1e-2)
    assert np.allclose(high - low, 2 * made.theta * -np.log(0.1), rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match=r"level 1\.0: expected 0\.01\.\.0\.999"):
        made.interval(1.0)
    with pytest.raises(UserError, match="no conformal factor"):
        made.conformal_interval()


def test_intervals_are_in_the_unit_of_the_image_also_grey_and_with_alpha():
    model = replace(transparent_model(2), calibration=plain_calibration())
    deep = noise_image(6, 7)[..., :2].astype(np.uint16) * 257
    for image in (deep, deep[..., 0]):
        made = model.upscale(image)
        low, high = made.interval(0.5)
        assert low.shape == made.theta.shape
        assert np.allclose(high - low, 2 * 257 * np.log(2), rtol=1e-3)


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"shape \(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (None, r"shape \(\)"),
        ("photo.png", r"shape \(\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((4, 4, 3), np.int64), "dtype int64"),
        (np.full((4, 4, 3), np.nan), "float image with values nan"),
        (np.full((4, 4, 3), 300.0), r"values 300\.0\.\.300\.0: expected 0\.\.255"),
        (np.full((4, 4, 3), -1.0), "expected 0..255"),
    ],
)
def test_what_is_no_picture_is_one_line(image, part):
    with pytest.raises(UserError, match=part) as caught:
        transparent_model(2).upscale(image)
    assert "\n" not in str(caught.value)


def test_progress_adds_up_to_one():
    for options in ({}, {"tile": 4}, {"self_ensemble": True}, {"uncertainty": False}):
        shares = []
        transparent_model(2).upscale(noise_image(9, 13), progress=shares.append, **options)
        assert sum(shares) == pytest.approx(1.0)


def test_the_receptive_field_is_stated():
    assert small_model("edsr_s", 4).receptive_field == 2 * (2 * 2 + 2 + 2) + 1
    for memory in (0, -1, np.inf):
        with pytest.raises(UserError, match="expected a positive number"):
            small_model("edsr_s").upscale(noise_image(4, 4), memory_gb=memory)
    with pytest.raises(UserError, match="tile 0: expected a whole number"):
        small_model("edsr_s").upscale(noise_image(4, 4), tile=0)
