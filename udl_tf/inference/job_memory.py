"""Estimates of the memory that images need while they are upscaled and written."""

from udl_tf.inference.jobs import Options

_BYTE, _FLOAT = 1, 4  # per value of an 8-bit image, and of a float32 map
_WRITING = 2  # bytes per 8-bit value that is written, at most: filtered and encoded as PNG
_DRAWING = 10  # bytes per pixel of a map in colour, in addition: two images of Pillow, a copy


def needed_memory(height: int, width: int, scale: int, options: Options, channels: int = 3) -> int:
    """Estimates the bytes that an 8-bit image needs at the peak, without working memory.

    Args:
        height, width: of the input.
        scale, channels: of the model.
        options: of the job.
    """
    values, results = height * width * channels, height * width * channels * scale**2
    maps = 2 if options.computes_theta else 1
    if options.averages:  # the means, one member's maps, and the squared deviations of sr
        kept, copies = (2 * maps + 1) * _FLOAT, 3
    else:
        kept, copies = _BYTE + maps * _FLOAT, 2
    if options.consistent:  # then: maps and spread, a second sr, a third one that is being enlarged
        back_projected = maps + int(options.averages) + 2 + 4 / scale
        kept = max(kept, back_projected * _FLOAT)
    # Copies of the LR image in float32: as it is, with its mirrored border, and turned.
    needed = values * (_BYTE + copies * _FLOAT) + int(results * kept)
    return max(needed, _resizing_memory(height, width, scale, options, channels))


def _resizing_memory(height: int, width: int, scale: int, options: Options, channels: int) -> int:
    """Estimates the bytes for resizing the result as the options ask, and for writing it."""
    size = options.result_size(height, width)
    if size is None:
        return 0
    maps = int(options.computes_theta) + int(options.averages)
    result = channels * (_BYTE + maps * _FLOAT)
    writing = _WRITING * channels + (_DRAWING if options.uncertainty == "png" else 0)
    pixels, resized = height * width * scale**2, size[0] * size[1]
    return max(result * (pixels + resized), (result + writing) * resized)
