"""DPDNN: unrolled optimisation with a U-Net as prior (Dong et al., TPAMI 2019), and an s head."""

import math

import keras

from udl_tf.config import LogScaleHead
from udl_tf.models.blocks import (
    BicubicDown,
    BicubicUp,
    Conv2DTranspose,
    CropLike,
    SpaceToDepth,
    conv,
)
from udl_tf.models.heads import (
    LIGHT_RADIUS,
    LOG_SCALE,
    RELEASED_RADIUS,
    added_detail,
    apply_head,
)
from udl_tf.models.stages import Stage

# HR pixels on each side that a pixel of U's features may depend on. Each 3x3 convolution of level l
# adds 2^l: four in the encoder (the last with stride 2), one transposed and four more in the
# decoder. The one at the bottom adds 16.
_FEATURES_RADIUS = (4 + 5) * (1 + 2 + 4 + 8) + 16
_U_NET_GRID = 16  # HR pixels between the samples at the bottom, after four strides of 2


@keras.saving.register_keras_serializable("udl_tf")
class DPDNN(keras.Model):
    """Unrolled gradient descent on a data term and a learned prior, at HR size.

    Starting from x = Up(lr), each stage denoises x by v = x + U(x) and computes

        x <- x - delta (Up(Down(x) - lr) + eta (x - v)).

    All stages share one U-Net U; delta and eta are trainable scalars per stage. Images are in 0..1
    inside the network.

    Args:
        scale: 2, 3 or 4.
        num_stages: number of gradient steps; 6 as released.
        num_filters: channels of the U-Net; 64 as released.
        operator: Down is MATLAB's antialiased bicubic for "matlab", which is the degradation of the
            LR images, and the 4-tap bicubic of the released code for "released".
        uncertainty: whether the network also predicts s = ln theta, from the last stage's decoder.
        log_scale_head: "released" or "light"; see udl_tf.models.heads.
        log_scale_activation: activation of the released head: "elu" (released) or "linear" (for
            GRAM).
        channels: channels of lr and sr.

    Call arguments:
        lr: float (n, h, w, channels), in 0..255, at least 2 pixels per side.

    Returns:
        {"sr": (n, scale h, scale w, channels), "log_scale": the same shape}, float32; only
        "sr" if uncertainty=False.

    Source: released DPDNN code. RGB instead of luma and the position of the s head are
    reconstructions: the UDL paper does not specify them.
    """

    def __init__(
        self,
        scale: int,
        num_stages: int = 6,
        num_filters: int = 64,
        operator: str = "matlab",
        uncertainty: bool = True,
        log_scale_head: LogScaleHead = "released",
        log_scale_activation: str = "elu",
        channels: int = 3,
        **kwargs,
    ):
        if operator not in ("matlab", "released"):
            raise ValueError(f"operator must be 'matlab' or 'released'. Received: {operator!r}")
        if num_stages < 1:
            raise ValueError(f"num_stages must be at least 1. Received: {num_stages}")
        lr = keras.Input((None, None, channels), name="lr")
        y = keras.layers.Rescaling(1 / 255, name="normalize", dtype="float32")(lr)
        down = BicubicDown(scale, antialias=operator == "matlab", name="down")
        up = BicubicUp(scale, name="up")
        prior = _u_net(num_filters, channels)
        x = up(y)
        features = None
        for stage in range(num_stages):
            v_minus_x, features = prior(x)
            misfit = keras.layers.Subtract(name=f"misfit{stage}", dtype="float32")([down(x), y])
            x = _DescentStep(name=f"descent{stage}")(x, up(misfit), v_minus_x)
        outputs = {"sr": keras.layers.Rescaling(255.0, name="sr", dtype="float32")(x)}
        if uncertainty:
            phases = SpaceToDepth(scale, dtype="float32")(outputs["sr"])
            detail = added_detail(phases, lr, scale)
            outputs[LOG_SCALE] = apply_head(
                log_scale_head, features, detail, scale, log_scale_activation, enlarged=scale
            )
        super().__init__(lr, outputs, **kwargs)
        self.scale = scale
        self.settings = {
            "scale": scale,
            "num_stages": num_stages,
            "num_filters": num_filters,
            "operator": operator,
            "uncertainty": uncertainty,
            "log_scale_head": log_scale_head,
            "log_scale_activation": log_scale_activation,
            "channels": channels,
        }

    def build_chain(self, *outputs: str, bordered: bool = False) -> list[Stage]:
        """Builds the chain lr -> x1 -> x2 -> ... -> `outputs`; see udl_tf.models.stages."""
        scale, last = self.scale, self.settings["num_stages"] - 1
        light = LOG_SCALE in outputs and self.settings["log_scale_head"] == "light"
        released = LOG_SCALE in outputs and not light
        maps = [self.get_layer(f"descent{stage}").output for stage in range(last)]
        chain = []
        result = [self.output[output] for output in outputs]
        for index, x in enumerate([*maps, result]):
            inputs = [maps[index - 1], self.input] if index else self.input
            after_features = RELEASED_RADIUS if released and index == last else 1
            radius = math.ceil((_FEATURES_RADIUS + after_features) / scale)
            if index == 0:
                radius += 2  # the first also computes x = Up(lr), 5 x 5 taps
            if light and index == last:
                radius += LIGHT_RADIUS
            stage = Stage(
                keras.Model(inputs, x, name=f"{self.name}_stage{index}"),
                scale,
                radius,
                floats=7 * max(self.settings["num_filters"], self.settings["channels"]) * scale**2,
                align=_U_NET_GRID // math.gcd(_U_NET_GRID, scale),
            )
            chain.append(stage)
        return chain

    def get_config(self):
        return {"name": self.name, **self.settings}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable("udl_tf")
class _DescentStep(keras.layers.Layer):
    """Computes x - delta (gradient + eta (x - v)); delta and eta start at 0.1 and 0.9."""

    def __init__(self, **kwargs):
        super().__init__(dtype="float32", **kwargs)

    def build(self, x_shape, gradient_shape, v_minus_x_shape):
        self.delta = self.add_weight((), keras.initializers.Constant(0.1), name="delta")
        self.eta = self.add_weight((), keras.initializers.Constant(0.9), name="eta")

    def call(self, x, gradient, v_minus_x):
        return x - self.delta * (gradient - self.eta * v_minus_x)

    def compute_output_shape(self, x_shape, gradient_shape, v_minus_x_shape):
        return x_shape


def _u_net(filters: int, channels: int) -> keras.Model:
    """Builds U: image of any size -> (v - x in float32, features of the last decoder level)."""
    image = keras.Input((None, None, channels), name="image")
    x, inputs, skips = image, channels, []
    for level in range(4):
        for index in range(3):
            x = conv(filters, inputs, f"encoder{level}_conv{index}", activation="relu")(x)
            inputs = filters
        skips.append(x)
        x = _halve(x, filters, f"encoder{level}")
    x = conv(filters, filters, "bottom", activation="relu")(x)
    for level in reversed(range(4)):
        x = _double(x, filters, f"decoder{level}_up")
        x = CropLike(name=f"decoder{level}_crop")(x, skips[level])
        x = keras.layers.Concatenate(name=f"decoder{level}_concat")([x, skips[level]])
        name = f"decoder{level}_merge"
        x = conv(filters, 2 * filters, name, kernel_size=1, activation="relu")(x)
        for index in range(4):
            x = conv(filters, filters, f"decoder{level}_conv{index}", activation="relu")(x)
    residual = conv(channels, filters, "residual", dtype="float32")(x)
    return keras.Model(image, [residual, x], name="u_net")


def _halve(x, filters: int, name: str):
    """Applies a convolution with stride 2 around the pixels 0, 2, 4, ...

    Padding "same" would centre it on the pixels 1, 3, 5, ... for even sizes, so that the result for
    a part of an image would depend on whether its size is even.
    """
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    layer = conv(filters, filters, f"{name}_down", padding="valid", strides=2, activation="relu")
    return layer(x)


def _double(x, filters: int, name: str):
    """Applies the transpose of _halve's convolution."""
    bound = (filters * 9) ** -0.5
    initializer = keras.initializers.RandomUniform(-bound, bound)
    return Conv2DTranspose(filters, kernel_initializer=initializer, name=name)(x)
