"""What a run needs of a network, with networks that lack something."""

from functools import partial

import keras
import pytest

from udl_tf.errors import UserError
from udl_tf.models import BACKBONES, build_model, check_contract
from udl_tf.models.blocks import DepthToSpace
from udl_tf.models.stages import chain_of


def conv(filters, name, size=3, **options):
    return keras.layers.Conv2D(filters, size, padding="same", name=name, **options)


def network(
    scale,
    width=4,
    uncertainty=False,
    log_scale_head="released",
    name="own",
    radius=1,
    last="last",
    keys=("sr",),
    dtype="float32",
    global_mean=False,
    head="log_scale_last",
    height=None,
    halved=False,
    channels=3,
    **kwargs,
):
    """A network of one convolution, and what can be wrong with it."""
    lr = keras.Input((height, None, channels), name="lr")
    x = lr
    if global_mean:
        x = x + keras.layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    if halved:
        small = conv(channels, "down", strides=2)(x)
        x = keras.layers.Add(name="sum")([x, keras.layers.UpSampling2D(2, name="up")(small)])
    sr = DepthToSpace(scale, dtype=dtype)(conv(channels * scale**2, last, dtype=dtype)(x))
    outputs = dict.fromkeys(keys, sr)
    if uncertainty:
        s = conv(channels * scale**2, head, dtype="float32")(x)
        outputs["log_scale"] = DepthToSpace(scale, dtype="float32")(s)
    model = keras.Model(lr, outputs, name=name)
    if radius is not None:
        model.radius = radius
    return model


def check(uncertainty=False, **options):
    build = partial(network, 2, uncertainty=uncertainty, **options)
    check_contract("own", 2, uncertainty, build)


@pytest.mark.parametrize("uncertainty", [False, True])
def test_a_network_is_one_stage_of_its_radius(uncertainty):
    check(uncertainty)
    outputs = ("sr", "log_scale") if uncertainty else ("sr",)
    (stage,) = chain_of(network(2, uncertainty=uncertainty), *outputs)
    assert (stage.scale, stage.radius, stage.channels) == (2, 1, 3 * len(outputs))
    assert stage.floats == 4 * 12 * 4  # maps of 12 channels at HR size, an upper estimate


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"radius": None}, "network own: its radius is None; expected an attribute radius"),
        ({"radius": 0}, "LR pixels at a distance of 1, but its radius is 0"),
        ({"global_mean": True}, "LR pixels at a distance of 5, but its radius is 1"),
        ({"last": None}, "its layers conv2d.* have another name each time; expected fixed names"),
        ({"keys": ("hr",)}, r"its output is \['hr'\]; expected .* a dict of sr"),
        ({"keys": ("sr", "log_scale")}, r"its output is \['log_scale', 'sr'\]; expected"),
        ({"dtype": None}, "sr has dtype bfloat16 in mixed precision; expected float32"),
        ({"uncertainty": True, "head": "s"}, "no layer with weights .* begins with log_scale"),
        ({"halved": True}, r"it does not accept an image of 7x13 pixels \(.*; expected images of"),
        ({"height": 8}, r"its input has shape \(None, 8, None, 3\); expected"),
        ({"channels": 4}, r"its input has shape \(None, None, None, 4\); expected .* 3\), images"),
    ],
)
def test_what_a_network_lacks_is_one_line(options, part):
    with pytest.raises(UserError, match=part):
        check(**options)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_of_other_channels(channels):
    build = partial(network, 2, uncertainty=True, channels=channels)
    check_contract("own", 2, True, build, channels)
    (stage,) = chain_of(build(), "sr", "log_scale")
    assert (stage.channels, stage.floats) == (2 * channels, 4 * max(4 * channels, 4) * 4)


def test_another_scale_is_one_line():
    with pytest.raises(
        UserError, match=r"sr has shape \(1, 21, 39, 3\) .* expected \(1, 14, 26, 3\)"
    ):
        check_contract("own", 2, False, partial(network, 3))


def test_a_subclass_without_a_graph_is_one_line():
    class Bare(keras.Model):
        def call(self, lr):
            return {"sr": lr}

    with pytest.raises(UserError, match=r"its output is NoneType; expected a keras.Model over a"):
        check_contract("own", 2, False, Bare)


class Later:
    """A type that annotations name as text."""


def annotated(
    scale,
    uncertainty,
    log_scale_head,
    free=1,
    width: "int" = 4,
    kind: "Unknown" = None,  # noqa: F821
    **kwargs,
):
    return network(scale, width, uncertainty, **kwargs)


def short(scale, width: int = 4, uncertainty=True):
    return network(scale, width, uncertainty)


def test_options_are_checked_by_annotations_if_there_are_any(monkeypatch):
    monkeypatch.setitem(BACKBONES, "own", annotated)
    given = {"uncertainty": False, "log_scale_head": "released"}
    build_model("own", 2, free="anything", kind=3, **given)

    def resolved(scale, uncertainty, log_scale_head, width: "int" = 4, **kwargs):
        return network(scale, width, uncertainty, **kwargs)

    monkeypatch.setitem(BACKBONES, "own", resolved)
    build_model("own", 2, width=8, **given)
    with pytest.raises(
        UserError, match=r"model\.options\.width: got 'a'; Input should be a valid int"
    ):
        build_model("own", 2, width="a", **given)
    with pytest.raises(UserError, match=r"model\.options\.wdth is not an option of own, .*: width"):
        build_model("own", 2, wdth=8, **given)


def test_a_constructor_without_the_arguments_of_every_network_is_one_line(monkeypatch):
    monkeypatch.setitem(BACKBONES, "own", short)
    with pytest.raises(
        UserError, match="network own: its constructor lacks log_scale_head; expected"
    ):
        build_model("own", 2)


def test_a_constructor_without_channels_has_three(monkeypatch):
    monkeypatch.setitem(BACKBONES, "own", annotated)
    given = {"uncertainty": False, "log_scale_head": "released"}
    assert build_model("own", 2, **given).input_shape[-1] == 3
    with pytest.raises(UserError, match=r"model\.channels 4: network own supports only 3, .*: add"):
        build_model("own", 2, 4, **given)
