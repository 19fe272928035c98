"""PGM and PPM files of more than 8 bits; Pillow reads the others."""

import re
from typing import BinaryIO

import numpy as np

from udl_tf.imaging.decoded import Decoded
from udl_tf.imaging.pillow_files import PillowFile
from udl_tf.imaging.samples import to_full_range

_SPACE = rb"(?:\s|#[^\n\r]*[\n\r])+"
_HEADER = re.compile(rb"P([2356])" + (_SPACE + rb"(\d{1,9})") * 3 + rb"\s")
_LONGEST = 4096  # bytes of a header with comments


def open_pnm(file: BinaryIO) -> "PillowFile | DeepPnmFile":
    """Returns the decoder of a file of the Netpbm formats."""
    header = _HEADER.match(file.read(_LONGEST))
    file.seek(0)
    if header is None or not 255 < int(header[4]) < 65536:
        return PillowFile(file)
    return DeepPnmFile(file, header)


class DeepPnmFile:
    """A PGM or PPM file of 16 bits.

    Args:
        file: the file.
        header: its kind, width, height and white.
    """

    def __init__(self, file: BinaryIO, header: re.Match[bytes]):
        self._file, self._start = file, header.end()
        kind, self.width, self.height, self._white = map(int, header.groups())
        self._is_text, self._channels = kind <= 3, 3 if kind in (3, 6) else 1

    def decode(self) -> Decoded:
        count = self.width * self.height * self._channels
        self._file.seek(self._start)
        if self._is_text:
            text = re.sub(rb"#[^\n\r]*", b"", self._file.read())
            values = np.array(text.split()[:count], np.uint16)
        else:
            values = np.frombuffer(self._file.read(2 * count), ">u2").astype(np.uint16)
        shape = (self.height, self.width, self._channels)
        shape = shape if self._channels == 3 else shape[:2]
        return Decoded(to_full_range(values.reshape(shape), self._white))
