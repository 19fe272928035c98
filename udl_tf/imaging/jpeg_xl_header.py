"""The header of a JPEG XL codestream (ISO/IEC 18181-1): size, depth, colours."""

from udl_tf.imaging.decoded import Unsupported

_LINEAR, _SRGB = 8, 13  # transfer functions of ITU-T H.273


class JpegXlHeader:
    """The first fields of a JPEG XL codestream.

    Args:
        data: the codestream, from its marker FF 0A on.

    Attributes:
        width, height: size when upright.
        bits: per channel.
        is_float: whether channels are floats.
        alpha_type: 0: no alpha; 1: alpha; 2: premultiplied alpha.
        is_srgb: whether the colours are known to be sRGB, or its grey.
        is_linear: whether they are known to be linear, with the primaries of sRGB.
        is_animated: whether several frames may follow.
    """

    def __init__(self, data: bytes):
        self._value, self._place = int.from_bytes(data[2:200], "little"), 0
        self.width, self.height = self._size()
        self.bits, self.is_float, self.alpha_type = 8, False, 0
        self.is_srgb, self.is_linear, self.is_animated = True, False, False
        if not self._read(1):  # not all metadata are the defaults
            self._metadata()

    def _read(self, bits: int) -> int:
        """Returns the next bits as an unsigned number, the lowest bit first."""
        value = (self._value >> self._place) & ((1 << bits) - 1)
        self._place += bits
        return value

    def _choice(self, *choices: tuple[int, int]) -> int:
        """Reads a U32 of four (bits, offset), one of which two bits select."""
        bits, offset = choices[self._read(2)]
        return self._read(bits) + offset

    def _size(self) -> tuple[int, int]:
        eighths = self._read(1)
        height = self._side(eighths)
        ratio = self._read(3)
        if ratio == 0:
            return self._side(eighths), height
        over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return height * over // under, height

    def _side(self, eighths: int) -> int:
        if eighths:
            return 8 * (self._read(5) + 1)
        return self._choice((9, 1), (13, 1), (18, 1), (30, 1))

    def _metadata(self) -> None:
        if self._read(1):  # extra fields
            if self._read(3) >= 4:  # orientation 5..8: transposed
                self.width, self.height = self.height, self.width
            if self._read(1):  # intrinsic size
                self._size()
            if self._read(1):
                raise Unsupported(
                    "JPEG XL with a preview image is not supported: convert it to PNG or TIFF first"
                )
            self.is_animated = bool(self._read(1))
            if self.is_animated:
                self._choice((0, 100), (0, 1000), (10, 1), (30, 1))
                self._choice((0, 1), (0, 1001), (8, 1), (10, 1))
                self._choice((0, 0), (3, 0), (16, 0), (32, 0))
                self._read(1)
        self.bits, self.is_float = self._depth()
        self._read(1)  # 16-bit buffers suffice
        for _ in range(self._choice((0, 0), (0, 1), (4, 2), (12, 1))):
            if not self._extra_channel():
                self.is_srgb = False
                return
        self._read(1)  # XYB
        transfer = self._transfer()
        self.is_srgb, self.is_linear = transfer == _SRGB, transfer == _LINEAR

    def _depth(self) -> tuple[int, bool]:
        if self._read(1):
            bits = self._choice((0, 32), (0, 16), (0, 24), (6, 1))
            self._read(4)  # bits of the exponent
            return bits, True
        return self._choice((0, 8), (0, 10), (0, 12), (6, 1)), False

    def _extra_channel(self) -> bool:
        """Reads an extra channel; returns False if what follows cannot be located."""
        if self._read(1):
            self.alpha_type = 1
            return True
        kind = self._enum()
        if kind == 4:
            raise Unsupported("JPEG XL in CMYK is not supported: convert it to TIFF first")
        self._depth()
        self._choice((0, 0), (0, 3), (0, 4), (3, 1))  # subsampling
        self._place += 8 * self._choice((0, 0), (4, 0), (5, 16), (10, 48))  # name
        if kind == 0:
            self.alpha_type = 2 if self._read(1) else 1
        return kind in (0, 1, 3)  # others have fields of their own

    def _enum(self) -> int:
        return self._choice((0, 0), (0, 1), (4, 2), (6, 18))

    def _transfer(self) -> int | None:
        """Returns the transfer function; None if the primaries are not sRGB's."""
        if self._read(1):
            return _SRGB
        has_profile, space = self._read(1), self._enum()
        if has_profile or space not in (0, 1):  # RGB, grey
            return None
        if self._enum() != 1:  # white point D65
            return None
        if space == 0 and self._enum() != 1:  # primaries of sRGB
            return None
        return None if self._read(1) else self._enum()  # a gamma, or a transfer function
