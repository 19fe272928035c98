import pytest

from udl_tf.imaging.xmp import clean_xmp

NAMESPACES = (
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    " xmlns:tiff=\"http://ns.adobe.com/tiff/1.0/\" xmlns:e='http://ns.adobe.com/exif/1.0/'"
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
)


def packet(attributes: str = "", content: str = "", namespaces: str = NAMESPACES) -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {namespaces}>'
        f'<rdf:Description rdf:about=""{attributes}>{content}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta>   <?xpacket end="w"?>'
    ).encode()


def test_a_packet_that_describes_the_image_stays_as_it_is():
    data = packet(' tiff:Make="Maker" xmp:Rating="5"', "<dc:title>Caf\u00e9</dc:title>")
    assert clean_xmp(data) == data
    assert clean_xmp(data + b"\0\0") == data  # as some programs pad it


@pytest.mark.parametrize(
    ("attributes", "content"),
    [
        (" tiff:ImageWidth=\"32\" tiff:Orientation='6'", ""),
        (' e:PixelXDimension="32"\n e:PixelYDimension = "24"', ""),
        ("", "<tiff:Orientation>6</tiff:Orientation><e:PixelXDimension >3</e:PixelXDimension>"),
        ("", '<dc:format>image/jpeg</dc:format><tiff:ImageLength rdf:datatype="x" />'),
        ("", "<xmp:Thumbnails>\n<rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>"),
    ],
)
def test_properties_of_the_file_are_removed(attributes, content):
    kept = ' xmp:Rating="5"', "<tiff:Make>Maker</tiff:Make>"
    cleaned = clean_xmp(packet(kept[0] + attributes, content + kept[1]))
    assert cleaned == packet(*kept)


@pytest.mark.parametrize(
    "data",
    [
        packet()[:200],  # damaged
        b"no XML at all",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
        packet(' xmlns:g="http://ns.google.com/photos/1.0/panorama/" g:FullPanoWidthPixels="9"'),
        packet(' xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/" h:Version="1.0"'),
        packet(' xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="AB"'),
        packet(' tiff:Orientation="6"').decode().encode("utf-16"),
    ],
)
def test_a_packet_that_cannot_hold_for_the_result_is_omitted(data):
    assert clean_xmp(data) is None
