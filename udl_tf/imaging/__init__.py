"""Pixels: colour, rounding, resizing; image files and theta maps, read and written."""

from udl_tf.imaging.color import rgb_to_y
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.formats import READABLE, reason
from udl_tf.imaging.image_files import ImageFile, read_image
from udl_tf.imaging.image_writing import write_image
from udl_tf.imaging.metadata import Metadata, is_result
from udl_tf.imaging.opening import image_size
from udl_tf.imaging.resize import imresize, mod_crop
from udl_tf.imaging.rgb_files import read_rgb, write_rgb

__all__ = [
    "READABLE",
    "ImageFile",
    "Metadata",
    "image_size",
    "imresize",
    "is_result",
    "mod_crop",
    "read_image",
    "read_rgb",
    "reason",
    "rgb_to_y",
    "to_dtype",
    "write_image",
    "write_rgb",
]
