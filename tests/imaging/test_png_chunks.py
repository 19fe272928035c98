import io
import zlib

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from udl_tf.imaging.png_chunks import itxt, itxt_text, keyword, read_chunks


def png() -> bytes:
    info, file = PngInfo(), io.BytesIO()
    info.add_text("Title", "A")
    info.add_itxt("Author", "Zoë", zip=True)
    Image.new("L", (2, 2)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_chunks_in_their_order():
    appended = b"\0\0\0\4junkjunkjunk"  # as by programs that append a file of their own
    found = list(read_chunks(io.BytesIO(png() + appended), 100))
    assert [kind for kind, _ in found] == [b"IHDR", b"tEXt", b"iTXt", b"IDAT"]
    assert found[1][1] == b"Title\0A"
    assert keyword(found[2][1]) == b"Author"
    assert itxt_text(found[2][1], 100) == "Zoë".encode()
    assert found[3][1] is None


def test_damaged_and_large_chunks_have_no_data():
    data = png().replace(b"Title\0A", b"Title\0B")  # a wrong checksum
    assert list(read_chunks(io.BytesIO(data), 100))[1] == (b"tEXt", None)
    assert list(read_chunks(io.BytesIO(png()), 6))[1] == (b"tEXt", None)


def test_text_is_bounded():
    kind, data = itxt(b"K", b"text")
    assert (kind, itxt_text(data, 9)) == (b"iTXt", b"text")
    packed = b"K\0\1\0\0\0" + zlib.compress(bytes(10**6))
    assert len(itxt_text(packed, 1000)) == 1000
    assert itxt_text(b"K\0\1\0\0\0no deflate", 1000) == b"no deflate"
