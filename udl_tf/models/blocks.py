"""Layers that the networks share."""

import keras
import numpy as np
from keras import ops

from udl_tf.imaging.resize import cubic


def conv(
    filters: int,
    inputs: int,
    name: str,
    kernel_size: int = 3,
    padding: str = "same",
    **options,
) -> keras.layers.Layer:
    """A convolution with PyTorch's default initialisation.

    Kernel and bias are uniform in +-1/sqrt(fan_in), as in the networks the authors released;
    Keras' default (Glorot, zero bias) starts about 1.7 times larger at equal fans.

    Args:
        filters: output channels.
        inputs: input channels, from which fan_in follows.
        name: layer name, unique in its network: weights are exchanged by it.
    """
    initializers = _uniform(inputs * kernel_size**2)
    return keras.layers.Conv2D(
        filters, kernel_size, padding=padding, name=name, **initializers, **options
    )


def nearest_up_conv(
    filters: int, inputs: int, scale: int, name: str, **options
) -> keras.layers.Layer:
    """NearestUpConv2D with the initialisation of `conv`, which see."""
    return NearestUpConv2D(filters, scale, name=name, **_uniform(inputs * 9), **options)


def _uniform(fan_in: int) -> dict[str, keras.initializers.Initializer]:
    bound = fan_in**-0.5
    return {
        f"{part}_initializer": keras.initializers.RandomUniform(-bound, bound)
        for part in ("kernel", "bias")
    }


@keras.saving.register_keras_serializable("udl_tf")
class DepthToSpace(keras.layers.Layer):
    """(n, h, w, scale^2 c) -> (n, scale h, scale w, c); channels are ordered (row, column, c)."""

    def __init__(self, scale: int, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, x):
        return ops.depth_to_space(x, self.scale)

    def compute_output_shape(self, shape):
        n, h, w, c = shape
        return (n, h and h * self.scale, w and w * self.scale, c // self.scale**2)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("udl_tf")
class NearestUpConv2D(keras.layers.Conv2D):
    """A 3x3 convolution of an image enlarged `scale` times, each pixel repeated: as one layer.

    It is computed as a 2x2 convolution of the small image. Around each corner where four of its
    pixels meet lie scale x scale pixels of the result, and they see these four only: so it takes
    4/9 of the multiplications, and no enlarged image is written.
    """

    def __init__(self, filters: int, scale: int, **kwargs):
        super().__init__(filters, 3, padding="same", **kwargs)
        self.scale = scale

    def call(self, x):
        scale, before = self.scale, self.scale // 2
        # taps[p, q, t]: whether tap t of pixel p, counted from the first before a corner, sees the
        # small pixel before (q = 0) or behind (q = 1) the corner.
        behind = np.add.outer(np.arange(scale) - before, np.arange(-1, 2)) >= 0
        taps = np.stack([~behind, behind], axis=1).astype("float32")
        taps = ops.cast(taps, x.dtype)
        kernel = ops.einsum("pqt,rsu,tuif->qsiprf", taps, taps, ops.cast(self.kernel, x.dtype))
        kernel = ops.reshape(kernel, (2, 2, -1, scale**2 * self.filters))
        x = ops.conv(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), kernel, padding="valid")
        x = ops.depth_to_space(self.activation(x + ops.tile(self.bias, scale**2)), scale)
        after = scale - before
        return x[:, before:-after, before:-after]

    def compute_output_shape(self, shape):
        n, h, w, _ = shape
        return (n, h and h * self.scale, w and w * self.scale, self.filters)

    def get_config(self):
        config = super().get_config()
        del config["kernel_size"], config["padding"]
        return {**config, "scale": self.scale}


@keras.saving.register_keras_serializable("udl_tf")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """The transpose of a 3x3 convolution with stride 2 around pixels 0, 2, 4, ...: twice the size.

    It is computed as a 2x2 convolution that makes the four pixels of each place at once, which is
    quicker than a transposed one and leaves no shape to be computed in an exported graph. Weight
    files name it after Keras' layer, whose weights it has.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(filters, 3, 2, "valid", use_bias=False, **kwargs)

    def call(self, x):
        kernel = ops.cast(self.kernel, x.dtype)  # (row, column, out, in)
        for axis in (0, 1):
            first, middle, last = ops.split(kernel, 3, axis=axis)
            # Even pixels see their own place alone, odd ones their own and the next.
            even = ops.concatenate([middle, ops.zeros_like(middle)], axis=axis)
            odd = ops.concatenate([last, first], axis=axis)
            kernel = ops.stack([even, odd], axis=-3)  # before (out, in): the pixels of a place
        kernel = ops.transpose(kernel, (0, 1, 5, 2, 3, 4))
        kernel = ops.reshape(kernel, (2, 2, kernel.shape[2], 4 * self.filters))
        x = ops.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
        return ops.depth_to_space(ops.conv(x, kernel, padding="valid"), 2)

    def compute_output_shape(self, shape):
        n, h, w, _ = shape
        return (n, h and 2 * h, w and 2 * w, self.filters)


@keras.saving.register_keras_serializable("udl_tf")
class CropLike(keras.layers.Layer):
    """Crops the first image at the bottom and right to the height and width of the second."""

    def call(self, x, like):
        shape = ops.shape(like)
        return x[:, : shape[1], : shape[2]]

    def compute_output_shape(self, x_shape, like_shape):
        return (x_shape[0], like_shape[1], like_shape[2], x_shape[3])


class _Resample(keras.layers.Layer):
    """A fixed bicubic resampling of 3-channel images, as one convolution in float32."""

    def __init__(self, scale: int, antialias: bool = True, **kwargs):
        super().__init__(dtype="float32", trainable=False, **kwargs)
        self.scale = scale
        self.antialias = antialias

    def get_config(self):
        config = super().get_config()
        del config["dtype"], config["trainable"]
        return {**config, "scale": self.scale, "antialias": self.antialias}


@keras.saving.register_keras_serializable("udl_tf")
class BicubicDown(_Resample):
    """Shrinks an image by 1/scale; with `antialias` it is MATLAB's imresize before rounding.

    Height and width must be multiples of scale, 2 * scale at least.
    """

    def call(self, x):
        scale = self.scale
        stretch = scale if self.antialias else 1
        center = (scale - 1) / 2.0
        reach = int(np.ceil(2 * stretch - center - 1e-9)) - 1  # samples beyond the block's border
        offsets = np.arange(-reach, scale + reach)
        taps = cubic((offsets - center) / stretch)
        kernel = np.einsum("i,j,cd->ijcd", *[taps / taps.sum()] * 2, np.eye(3)).astype("float32")
        return ops.conv(pad_symmetric(x, reach), kernel, strides=scale, padding="valid")

    def compute_output_shape(self, shape):
        n, h, w, c = shape
        return (n, h and h // self.scale, w and w // self.scale, c)


@keras.saving.register_keras_serializable("udl_tf")
class BicubicUp(_Resample):
    """Enlarges an image scale times: MATLAB's imresize before rounding.

    The image must have 2 pixels a side at least.
    """

    def call(self, x):
        scale = self.scale
        center = (np.arange(scale) + 0.5) / scale - 0.5
        taps = cubic(center[:, None] - np.arange(-2, 3))
        kernel = np.einsum("ai,bj,cd->ijcabd", taps, taps, np.eye(3)).astype("float32")
        kernel = kernel.reshape(5, 5, 3, scale * scale * 3)
        phases = ops.conv(pad_symmetric(x, 2), kernel, padding="valid")
        return ops.depth_to_space(phases, scale)

    def compute_output_shape(self, shape):
        n, h, w, c = shape
        return (n, h and h * self.scale, w and w * self.scale, c)


def pad_symmetric(x, amount: int):
    """Mirrors `amount` border pixels outwards, the edge repeated, with ops every exporter knows."""
    if amount == 0:
        return x
    for axis in (1, 2):
        index = [slice(None)] * 4
        index[axis] = slice(None, amount)
        before = ops.flip(x[tuple(index)], axis=axis)
        index[axis] = slice(-amount, None)
        after = ops.flip(x[tuple(index)], axis=axis)
        x = ops.concatenate([before, x, after], axis=axis)
    return x
