"""GeoTIFF files as the source of results: how these store values, and what they carry over."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from udl_tf.imaging.metadata import MARK
from udl_tf.scenes.result_files import Content
from udl_tf.scenes.samples import Samples

_LOSSLESS = {"NONE", "DEFLATE", "LZW", "ZSTD", "LZMA", "PACKBITS"}
_WIDEST_STRIP = 1024  # pixels; wider ones, written window by window, are compressed many times
_TILE = 256  # pixels
_OUTDATED = ("STATISTICS_", "NODATA_VALUES", "TIFFTAG_SOFTWARE")  # tags, untrue of a result
_NO_TAGS = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC", "TIFF", "xml:XMP"}  # namespaces
_RESOLUTIONS = {"TIFFTAG_XRESOLUTION", "TIFFTAG_YRESOLUTION"}  # pixels per unit
_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class GeoTiffSource:
    """The file that results come from.

    Attributes:
        file: open.
        bands: numbers of its channels, from 1.
        alpha: number of its alpha band; None: it has none.
        is_masked: whether it has alpha, or a mask of all bands.
        dtype: of its values.
        nodata: value of pixels without data; None: it has none.
    """

    file: rasterio.DatasetReader
    bands: list[int]
    alpha: int | None
    is_masked: bool
    dtype: np.dtype
    nodata: float | None

    @property
    def structure(self) -> dict[str, str]:
        """How the values are stored, in GDAL's words."""
        return self.file.tags(ns="IMAGE_STRUCTURE")

    @property
    def compression(self) -> str:
        """Compression of results: that of the file, or DEFLATE in place of a lossy one."""
        own = self.structure.get("COMPRESSION", "NONE")
        return own if own in _LOSSLESS else "DEFLATE"

    def predictor(self, dtype: np.dtype) -> int:
        """Returns the predictor of results of `dtype`: of the same purpose as that of the file."""
        own = int(self.structure.get("PREDICTOR", 1))
        if own == 1 or dtype == self.dtype:
            return own
        return 3 if dtype.kind == "f" else 2

    def notes(self) -> Iterator[str]:
        """Yields what results do not carry over."""
        own = self.structure.get("COMPRESSION", "NONE")
        if own != self.compression:
            yield f"the result is compressed by DEFLATE, without loss, instead of {own}"
        if "xml:XMP" in self.file.tag_namespaces():
            yield "XMP not carried over"

    def samples(self, content: Content) -> Samples:
        """Returns how the values of a result are stored."""
        nodata = self.nodata
        if nodata is None and self.dtype.kind == "f" and not self.is_masked:
            nodata = np.nan
        elif nodata is not None and self.dtype.kind != "f" and nodata != int(nodata):
            nodata = None  # declared, but no value can be it
        return content.samples(Samples(self.dtype, nodata))

    def layout(self, scale: int, dtype: np.dtype, content: Content) -> dict[str, Any]:
        """Returns GDAL's creation options of a result: tiles or strips, compression, order."""
        height, width = self.file.block_shapes[0]
        options: dict[str, Any] = {
            "compress": self.compression,
            "interleave": "BAND" if self.structure.get("INTERLEAVE") == "BAND" else "PIXEL",
            "BIGTIFF": "IF_SAFER",
            "SPARSE_OK": True,
            "photometric": self._photometric(content),
        }
        if self.predictor(dtype) != 1:
            options["predictor"] = self.predictor(dtype)
        if width != self.file.width:  # otherwise strips, or a single tile
            options |= {"tiled": True, "blockxsize": width, "blockysize": height}
        elif self.file.width * scale > _WIDEST_STRIP:
            options |= {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE}
        else:
            options["blockysize"] = height
        return options

    def _photometric(self, content: Content) -> str:
        if content in (Content.IMAGE, Content.BOTH):
            if self.file.colorinterp[:3] == _RGB:
                return "RGB"
            if self.structure.get("MINISWHITE") == "YES":
                return "MINISWHITE"
        return "MINISBLACK"

    def georeference(self, scale: int) -> dict[str, Any]:
        """Returns coordinate system, transform or ground control points of a result.

        Transforms and points refer to corners of pixels, which stay where they are.
        """
        points, points_crs = self.file.gcps
        if points:
            scaled = [
                GroundControlPoint(p.row * scale, p.col * scale, p.x, p.y, p.z, p.id)
                for p in points
            ]
            return {"gcps": scaled, "crs": points_crs}
        a, b, c, d, e, f = self.file.transform[:6]
        if self.file.transform.is_identity:
            return {"crs": self.file.crs}
        scaled = rasterio.Affine(a / scale, b / scale, c, d / scale, e / scale, f)
        return {"crs": self.file.crs, "transform": scaled}

    def describe(self, result: Any, scale: int, content: Content) -> None:
        """Sets what an open result states as a whole and of its bands."""
        own = self.file
        tags = _lasting(own.tags())
        for name in _RESOLUTIONS & tags.keys():
            tags[name] = str(float(tags[name]) * scale)
        result.update_tags(**tags, TIFFTAG_SOFTWARE=MARK.decode())
        if own.rpcs is not None:
            result.rpcs = _scaled(own.rpcs, scale)
        if content is Content.FLAGS:
            result.descriptions = content.names([])
            return
        for namespace in set(own.tag_namespaces()) - _NO_TAGS:
            result.update_tags(ns=namespace, **own.tags(ns=namespace))
        self._describe_bands(result, content)

    def _describe_bands(self, result: Any, content: Content) -> None:
        """Sets meanings, names, units and tags of bands; theta has those of its channel."""
        own, origins = self.file, self._origins(content)
        # Set as a whole, because GDAL derives the meaning of the file from them; theta has none.
        meanings = [
            ColorInterp.undefined if is_theta else own.colorinterp[band - 1]
            for band, is_theta in origins
        ]
        result.colorinterp = [ColorInterp.gray] if meanings == [ColorInterp.undefined] else meanings
        for number, (band, is_theta) in enumerate(origins, 1):
            name, unit = own.descriptions[band - 1], own.units[band - 1]
            if is_theta:
                (name,) = Content.THETA.names([name or f"band {band}"])
            else:
                result.update_tags(number, **_lasting(own.tags(band)))
            if name:
                result.set_band_description(number, name)
            if unit:
                result.set_band_unit(number, unit)
        scales = [own.scales[band - 1] for band, _ in origins]
        offsets = [0 if is_theta else own.offsets[band - 1] for band, is_theta in origins]
        if any(scale != 1 for scale in scales):
            result.scales = scales
        if any(offsets):
            result.offsets = offsets

    def _origins(self, content: Content) -> list[tuple[int, bool]]:
        """Returns (band of the source, whether it is theta of it) for each band of a result."""
        sources = self.file.indexes if content is Content.IMAGE else self.bands
        images = [(band, False) for band in sources if content is not Content.THETA]
        thetas = [(band, True) for band in self.bands if content is not Content.IMAGE]
        return [*images, *thetas]


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    """Returns the tags that hold for a result too."""
    return {key: value for key, value in tags.items() if not key.startswith(_OUTDATED)}


def _scaled(rpcs: RPC, scale: int) -> RPC:
    """Returns the coefficients of a result; they count pixels from the centre of the first."""
    result = copy.copy(rpcs)
    result.line_off = (rpcs.line_off + 0.5) * scale - 0.5
    result.samp_off = (rpcs.samp_off + 0.5) * scale - 0.5
    result.line_scale, result.samp_scale = rpcs.line_scale * scale, rpcs.samp_scale * scale
    return result
