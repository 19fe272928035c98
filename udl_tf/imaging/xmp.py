"""XMP packets without the properties that describe the file they come from."""

import re
from xml.etree import ElementTree

_TIFF = "http://ns.adobe.com/tiff/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_STALE = {
    _TIFF: "ImageWidth ImageLength BitsPerSample Compression PhotometricInterpretation Orientation"
    " SamplesPerPixel PlanarConfiguration YCbCrSubSampling YCbCrPositioning XResolution YResolution"
    " ResolutionUnit NativeDigest",
    _EXIF: "PixelXDimension PixelYDimension CompressedBitsPerPixel ComponentsConfiguration"
    " SubjectArea SubjectLocation FocalPlaneXResolution FocalPlaneYResolution"
    " FocalPlaneResolutionUnit NativeDigest",
    "http://ns.adobe.com/xap/1.0/": "Thumbnails",
    "http://purl.org/dc/elements/1.1/": "format",
    "http://ns.adobe.com/photoshop/1.0/": "ColorMode ICCProfile",
}
"""Properties that are wrong after upscaling or in another file format, by namespace."""

_FOREIGN = (
    "http://ns.google.com/photos/1.0/",  # panoramas, depth maps, motion photos: sizes and offsets
    "http://ns.adobe.com/hdr-gain-map/",  # a second image in the file
    "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "http://ns.adobe.com/xmp/note/",  # the packet continues in other parts of the file
)
"""Beginnings of namespaces that do not apply to the result: the packet is not carried over."""


def clean_xmp(packet: bytes) -> bytes | None:
    """Removes the properties that describe the file: sizes, orientation, resolution, format.

    Args:
        packet: as stored.

    Returns:
        The packet, otherwise unchanged; None if it is damaged, or still describes the file.
    """
    packet = packet.strip(b"\0")
    for namespace, names in _STALE.items():
        for prefix in set(re.findall(rb"xmlns:(\w+)\s*=\s*[\"']" + _escaped(namespace), packet)):
            for name in names.encode().split():
                packet = _without(packet, prefix + b":" + name)
    return packet if _is_sound(packet) else None


def _escaped(namespace: str) -> bytes:
    return re.escape(namespace.encode()) + rb"[\"']"


def _without(packet: bytes, name: bytes) -> bytes:
    """Removes a property, stored as an attribute or as an element."""
    if name not in packet:
        return packet
    packet = re.sub(rb"\s+" + name + rb"\s*=\s*(\"[^\"]*\"|'[^']*')", b"", packet)
    packet = re.sub(rb"<" + name + rb"(\s[^>]*)?/>", b"", packet)
    return re.sub(rb"<" + name + rb"(\s[^>]*)?>.*?</" + name + rb"\s*>", b"", packet, flags=re.S)


def _is_sound(packet: bytes) -> bool:
    """Returns whether a packet is XML without any of the properties above."""
    if b"<!DOCTYPE" in packet:  # XMP has none; entities could expand without limit
        return False
    try:
        elements = list(ElementTree.fromstring(packet).iter())
    except (ElementTree.ParseError, ValueError, LookupError):
        return False
    properties = [element.tag for element in elements]
    properties += [name for element in elements for name in element.attrib]
    return not any(_is_stale(*name[1:].split("}")) for name in properties if name[0] == "{")


def _is_stale(namespace: str, name: str) -> bool:
    return name in _STALE.get(namespace, "").split() or namespace.startswith(_FOREIGN)
