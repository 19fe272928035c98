"""OME-XML, the metadata of OME-TIFF: what of them applies to a result."""

import copy
import uuid
from typing import Any
from xml.etree import ElementTree

import numpy as np

from udl_tf.imaging.metadata import MARK
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.result_files import Content

# They refer to other images, or to places in pixels of this one.
_DROPPED = {"Project", "Dataset", "Folder", "Experiment", "Plate", "Screen", "ROI"}
_DROPPED_OF_IMAGE = {"ROIRef", "ExperimentRef", "MicrobeamManipulationRef"}
_STORED = {"BinData", "TiffData", "MetadataOnly"}  # where pixels are in the source
_TYPES = {"float32": "float", "float64": "double"}  # OME's other names
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


class OmeXml:
    """OME-XML of a file.

    Args:
        text: the XML.

    Raises:
        ValueError: if it describes no pixels.
    """

    def __init__(self, text: str):
        self._text = text
        self._root = ElementTree.fromstring(text)
        self._namespace = self._root.tag.rpartition("}")[0] + "}"
        self._images = self._root.findall(self._name("Image"))
        if not self._images or self._pixels is None:
            raise ValueError("its OME-XML describes no pixels; they may be in a companion file")

    def notes(self) -> list[str]:
        """Returns what of the file is not carried over to a result."""
        notes = []
        if len(self._images) > 1:
            notes.append(f"only the first of {len(self._images)} images read")
        if self._root.find(self._name("ROI")) is not None:
            notes.append("regions of interest not carried over")
        return notes

    def arranged(self, axes: Axes, content: Content) -> Axes:
        """Returns the axes of a result, still of the size of the source: samples are the last."""
        names = (*(name for name in axes.names if name != "S"), "S")
        return Axes(names, tuple(axes.size(name) for name in names))

    def options(self, axes: Axes, scale: int, content: Content, dtype: np.dtype) -> dict[str, Any]:
        """Returns the options of tifffile that write the metadata.

        Args:
            axes: of the result; pages are stored in their order, samples last.
            scale: whole number of result pixels per pixel.
            content: of the result.
            dtype: of the result.
        """
        result = OmeXml(self._text)
        root, image, pixels = result._root, result._images[0], result._pixels
        for child in list(root):
            if result._local(child) in _DROPPED or child in result._images[1:]:
                root.remove(child)
        for child in list(image):
            if result._local(child) in _DROPPED_OF_IMAGE:
                image.remove(child)
        root.set("UUID", f"urn:uuid:{uuid.uuid4()}")
        root.set("Creator", MARK.decode())
        result._set_pixels(pixels, axes, scale, dtype)
        result._set_channels(pixels, axes, content)
        if self._namespace != "}":
            ElementTree.register_namespace("", self._namespace.strip("{}"))
        ElementTree.register_namespace("xsi", _XSI)
        text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
        return {"description": text, "metadata": None}

    def _set_pixels(self, pixels, axes: Axes, scale: int, dtype: np.dtype) -> None:
        """Sets sizes, type and place of the pixels."""
        name = dtype.name
        if pixels.get("Type") != _TYPES.get(name, name):
            pixels.attrib.pop("SignificantBits", None)
        pixels.attrib.pop("BigEndian", None)
        pixels.set("Type", _TYPES.get(name, name))
        pixels.set("SizeX", str(axes.width))
        pixels.set("SizeY", str(axes.height))
        pixels.set("SizeC", str(axes.channels))
        if axes.size("S") > 1:
            pixels.set("Interleaved", "true")
        else:
            pixels.attrib.pop("Interleaved", None)
        for key in ("PhysicalSizeX", "PhysicalSizeY"):
            if key in pixels.attrib:
                pixels.set(key, repr(float(pixels.get(key)) / scale))
        for child in list(pixels):
            if self._local(child) in _STORED:
                pixels.remove(child)
        for plane in pixels.findall(self._name("Plane")):
            for digest in plane.findall(self._name("HashSHA1")):
                plane.remove(digest)

    def _set_channels(self, pixels, axes: Axes, content: Content) -> None:
        """Sets channels, and after them the place of the pages, as the schema orders them."""
        channels = pixels.findall(self._name("Channel"))
        if not channels:
            count = axes.size("C") // (2 if content is Content.BOTH else 1)
            channels = [ElementTree.Element(self._name("Channel")) for _ in range(count)]
        for channel in channels:
            channel.set("SamplesPerPixel", str(axes.size("S")))
        names = content.names([channel.get("Name", "") for channel in channels])
        elements = [copy.deepcopy(channels[n % len(channels)]) for n in range(len(names))]
        for number, (element, name) in enumerate(zip(elements, names, strict=True)):
            element.set("ID", f"Channel:0:{number}")
            if name:
                element.set("Name", name)
        for channel in pixels.findall(self._name("Channel")):
            pixels.remove(channel)
        pages = axes.planes * axes.size("C")
        place = {"IFD": "0", "PlaneCount": str(pages)}
        elements.append(ElementTree.Element(self._name("TiffData"), place))
        for number, element in enumerate(elements):
            pixels.insert(number, element)
        if content is Content.FLAGS:  # one channel: the planes of the others are missing
            for plane in pixels.findall(self._name("Plane")):
                if plane.get("TheC") != "0":
                    pixels.remove(plane)

    @property
    def _pixels(self):
        return self._images[0].find(self._name("Pixels"))

    def _name(self, local: str) -> str:
        return f"{self._namespace}{local}" if self._namespace != "}" else local

    def _local(self, element) -> str:
        return element.tag.rpartition("}")[2]
