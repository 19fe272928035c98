"""Layers shared by the networks."""

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
    """Builds a convolution with PyTorch's default initialisation.

    Kernel and bias are uniform in +-1/sqrt(fan_in), as in the authors' released networks; Keras'
    default (Glorot, zero bias) has about 1.7 times the range if fan_in = fan_out.

    Args:
        filters: output channels.
        inputs: input channels, which determine fan_in.
        name: layer name, unique in its network; weights are copied and stored by it.
        kernel_size, padding, options: as in keras.layers.Conv2D.
    """
    initializers = _uniform(inputs * kernel_size**2)
    return keras.layers.Conv2D(
        filters, kernel_size, padding=padding, name=name, **initializers, **options
    )


def nearest_up_conv(
    filters: int, inputs: int, scale: int, name: str, **options
) -> keras.layers.Layer:
    """Builds a NearestUpConv2D with the initialisation of `conv`; arguments as there."""
    return NearestUpConv2D(filters, scale, name=name, **_uniform(inputs * 9), **options)


def normalize(
    shift: float | list[float], divide: float | list[float], channels: int
) -> keras.layers.Layer:
    """Builds a layer that computes (lr - shift) / divide, of numbers or one per channel.

    Raises:
        ValueError: for lists of another length than the channels, for numbers that are not finite,
            and for a `divide` of 0.
    """
    for name, values in (("shift", shift), ("divide", divide)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite. Received: {name}={values}")
        if np.size(values) not in (1, channels):
            raise ValueError(
                f"{name} has {np.size(values)} numbers: expected one, or one for each of the"
                f" {channels} channels"
            )
    if not np.all(divide):
        raise ValueError(f"divide must not be 0. Received: divide={divide}")
    factor = 1.0 / np.asarray(divide, "float64")
    offset = -np.asarray(shift) * factor
    return keras.layers.Rescaling(
        factor.tolist(), offset.tolist(), name="normalize", dtype="float32"
    )


def _uniform(fan_in: int) -> dict[str, keras.initializers.Initializer]:
    bound = fan_in**-0.5
    return {
        f"{part}_initializer": keras.initializers.RandomUniform(-bound, bound)
        for part in ("kernel", "bias")
    }


class _Rearrangement(keras.layers.Layer):
    """Base of layers that move values between channels and pixels."""

    def __init__(self, scale: int, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("udl_tf")
class DepthToSpace(_Rearrangement):
    """Rearranges channels into pixels: (n, h, w, scale^2 c) -> (n, scale h, scale w, c).

    The input channels are ordered (row, column, c), as in tf.nn.depth_to_space.
    """

    def call(self, x):
        return ops.depth_to_space(x, self.scale)

    def compute_output_shape(self, shape):
        n, h, w, c = shape
        return (n, h and h * self.scale, w and w * self.scale, c // self.scale**2)


@keras.saving.register_keras_serializable("udl_tf")
class SpaceToDepth(_Rearrangement):
    """Inverse of DepthToSpace: (n, scale h, scale w, c) -> (n, h, w, scale^2 c)."""

    def call(self, x):
        return ops.space_to_depth(x, self.scale)

    def compute_output_shape(self, shape):
        n, h, w, c = shape
        return (n, h and h // self.scale, w and w // self.scale, c * self.scale**2)


@keras.saving.register_keras_serializable("udl_tf")
class NearestUpConv2D(keras.layers.Conv2D):
    """Nearest-neighbour upsampling followed by a 3x3 convolution, in one layer.

    It is computed as a 2x2 convolution at the size of the input, with 4/9 of the multiplications
    and without the upsampled image. Four input pixels meet at each corner; of the output pixels
    around that corner, the nearest scale x scale depend on these four only.
    """

    def __init__(self, filters: int, scale: int, **kwargs):
        super().__init__(filters, 3, padding="same", **kwargs)
        self.scale = scale

    def call(self, x):
        # Along one axis, a corner is the border between two input pixels. The output pixels p
        # around it, 0 .. scale-1, have offsets from -before to scale-before-1, where negative
        # offsets lie in the input pixel q = 0 before the corner, the others in q = 1 after it.
        scale, before = self.scale, self.scale // 2
        offsets = np.arange(scale) - before
        # taps[p, q, t] = 1 if tap t (offset -1, 0, 1) of output pixel p reads input pixel q. All
        # taps that read the same input pixel add up to one weight of the 2x2 kernel.
        after = np.add.outer(offsets, np.arange(-1, 2)) >= 0
        taps = ops.cast(np.stack([~after, after], axis=1).astype("float32"), x.dtype)
        # Rows: p, q, t; columns: r, s, u; channels: i -> f. Output channels are ordered (p, r, f)
        # as depth_to_space expects.
        kernel = ops.einsum("pqt,rsu,tuif->qsiprf", taps, taps, ops.cast(self.kernel, x.dtype))
        kernel = ops.reshape(kernel, (2, 2, -1, scale**2 * self.filters))
        # A border of zeros, as with padding "same", adds the corners at the border: h + 1 in all.
        x = ops.conv(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), kernel, padding="valid")
        x = ops.depth_to_space(self.activation(x + ops.tile(self.bias, scale**2)), scale)
        # Of the output pixels around those corners, the outer ones are outside the image.
        beyond = scale - before
        return x[:, before:-beyond, before:-beyond]

    def compute_output_shape(self, shape):
        n, h, w, _ = shape
        return (n, h and h * self.scale, w and w * self.scale, self.filters)

    def get_config(self):
        config = super().get_config()
        del config["kernel_size"], config["padding"]
        return {**config, "scale": self.scale}


@keras.saving.register_keras_serializable("udl_tf")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Transpose of a 3x3 convolution with stride 2 around pixels 0, 2, 4, ...; doubles the size.

    It is computed as a 2x2 convolution that yields the four output pixels of each input pixel. This
    is faster than a transposed convolution and needs no shape computation in an exported graph. The
    class has the name and the weights of Keras' own layer, so weight files fit both.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(filters, 3, 2, "valid", use_bias=False, **kwargs)

    def call(self, x):
        # Along one axis, the convolution y[i] = sum over t of k[t] x[2i + t - 1] has the transpose
        #     x[2j] = k[1] y[j]    and    x[2j + 1] = k[2] y[j] + k[0] y[j + 1].
        kernel = ops.cast(self.kernel, x.dtype)  # (row, column, out, in)
        for axis in (0, 1):
            first, middle, last = ops.split(kernel, 3, axis=axis)
            even = ops.concatenate([middle, ops.zeros_like(middle)], axis=axis)
            odd = ops.concatenate([last, first], axis=axis)
            kernel = ops.stack([even, odd], axis=-3)  # new axis (even, odd) before (out, in)
        # (row, column, even or odd row, even or odd column, out, in) -> (row, column, in, ...)
        kernel = ops.transpose(kernel, (0, 1, 5, 2, 3, 4))
        kernel = ops.reshape(kernel, (2, 2, kernel.shape[2], 4 * self.filters))
        x = ops.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # y[j + 1] of the last pixel is zero
        return ops.depth_to_space(ops.conv(x, kernel, padding="valid"), 2)

    def compute_output_shape(self, shape):
        n, h, w, _ = shape
        return (n, h and 2 * h, w and 2 * w, self.filters)


@keras.saving.register_keras_serializable("udl_tf")
class CropLike(keras.layers.Layer):
    """Crops the first map at the bottom and right to the height and width of the second."""

    def call(self, x, like):
        shape = ops.shape(like)
        return x[:, : shape[1], : shape[2]]

    def compute_output_shape(self, x_shape, like_shape):
        return (x_shape[0], like_shape[1], like_shape[2], x_shape[3])


class _Resample(keras.layers.Layer):
    """Base of fixed bicubic resamplings of each channel, as one convolution in float32."""

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
    """Shrinks an image to 1/scale; with `antialias`, as MATLAB's imresize does before rounding.

    Height and width must be multiples of scale and at least 2 * scale.
    """

    def call(self, x):
        # Each output pixel is centred in a block of scale x scale input pixels, so one kernel suits
        # all of them: the cubic, widened `stretch` times against aliasing.
        scale = self.scale
        stretch = scale if self.antialias else 1
        center = (scale - 1) / 2.0  # in pixels of the block, 0 .. scale-1
        # The cubic is nonzero at distances below 2 * stretch: `reach` pixels beyond the block.
        reach = int(np.ceil(2 * stretch - center - 1e-9)) - 1
        offsets = np.arange(-reach, scale + reach)
        taps = cubic((offsets - center) / stretch)
        # Separable, and the identity matrix "cd" keeps the channels apart.
        taps /= taps.sum()
        kernel = np.einsum("i,j,cd->ijcd", taps, taps, np.eye(x.shape[-1])).astype("float32")
        return ops.conv(pad_symmetric(x, reach), kernel, strides=scale, padding="valid")

    def compute_output_shape(self, shape):
        n, h, w, c = shape
        return (n, h and h // self.scale, w and w // self.scale, c)


@keras.saving.register_keras_serializable("udl_tf")
class BicubicUp(_Resample):
    """Enlarges an image `scale` times, as MATLAB's imresize does before rounding.

    The image must have at least 2 pixels per side.
    """

    def call(self, x):
        # Each input pixel yields scale x scale output pixels, the phases (a, b). Phase a is centred
        # within +-0.5 of the input pixel, so its four taps are among the five pixels -2 .. 2; the
        # fifth weight is 0. The taps of a phase sum to 1.
        scale = self.scale
        center = (np.arange(scale) + 0.5) / scale - 0.5
        taps = cubic(center[:, None] - np.arange(-2, 3))  # (phase, pixel)
        channels = x.shape[-1]
        kernel = np.einsum("ai,bj,cd->ijcabd", taps, taps, np.eye(channels)).astype("float32")
        kernel = kernel.reshape(5, 5, channels, scale * scale * channels)
        phases = ops.conv(pad_symmetric(x, 2), kernel, padding="valid")
        return ops.depth_to_space(phases, scale)

    def compute_output_shape(self, shape):
        n, h, w, c = shape
        return (n, h and h * self.scale, w and w * self.scale, c)


def nearest_phases(image, scale: int):
    """Enlarges an image `scale` times by nearest neighbours, as phases: (n, h, w, scale^2 c).

    DepthToSpace turns phases into the enlarged image. They are computed by a convolution with ones,
    which is exact, and which ONNX Runtime computes much faster than copies of channels.
    """
    kernel = np.tile(np.eye(image.shape[-1], dtype=np.float32), scale**2)
    return ops.conv(image, kernel[None, None], padding="valid")


def pad_symmetric(x, amount: int):
    """Mirrors `amount` border pixels outwards, the edge repeated.

    ops.pad has a mode for it, but not all exporters support that.
    """
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
