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
        if nodata is not None and self.dtype.kind != "f":
            limits = np.iinfo(self.dtype)
            if not (limits.min <= nodata <= limits.max and nodata == int(nodata)):
                nodata = None  # declared, but no value of the file can be it
        return content.samples(Samples(self.dtype, nodata))

    def layout(self, scale: int, dtype: np.dtype, content: Content) -> dict[str, Any]:
        """Returns GDAL's creation options of a result: tiles or strips, compression, order."""
        height, width = self.file.block_shapes[0]
        options: dict[str, Any] = {
            "compress": self.compression,
            "interleave": self.structure.get("INTERLEAVE", "PIXEL"),
            "BIGTIFF": "IF_SAFER",
            "SPARSE_OK": True,
            "photometric": self._photometric(content),
        }
        if self.predictor(dtype) != 1:
            options["predictor"] = self.predictor(dtype)
        if width < self.file.width:
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
        if content is not Content.FLAGS:
            if own.rpcs is not None:
                result.rpcs = _scaled(own.rpcs, scale)
            for namespace in set(own.tag_namespaces()) - _NO_TAGS:
                result.update_tags(ns=namespace, **own.tags(ns=namespace))
        tags = _lasting(own.tags())
        for name in _RESOLUTIONS & tags.keys():
            tags[name] = str(float(tags[name]) * scale)
        result.update_tags(**tags, TIFFTAG_SOFTWARE=MARK.decode())
        sources = own.indexes if content is Content.IMAGE else self.bands
        names = content.names([own.descriptions[band - 1] or "" for band in sources])
        for band, name in enumerate(names, 1):
            if name:
                result.set_band_description(band, name)
        result.colorinterp = self._meanings(content, result.count)
        if content is not Content.FLAGS:
            self._describe_bands(result, [*sources, *sources][: result.count], content)

    def _describe_bands(self, result: Any, sources: list[int], content: Content) -> None:
        """Sets unit, scale and offset of bands, and tags of those that are not theta."""
        own, images = self.file, 0 if content is Content.THETA else len(self.bands)
        is_theta = [index >= images for index in range(len(sources))]
        units = [own.units[band - 1] for band in sources]
        scales = [own.scales[band - 1] for band in sources]
        offsets = [own.offsets[band - 1] for band in sources]
        for band, unit in enumerate(units, 1):
            if unit:
                result.set_band_unit(band, unit)
        if set(scales) != {1}:
            result.scales = scales
        if set(offsets) != {0}:  # theta is a difference of values
            pairs = zip(offsets, is_theta, strict=True)
            result.offsets = [0 if theta else offset for offset, theta in pairs]
        for band, (source, theta) in enumerate(zip(sources, is_theta, strict=True), 1):
            if not theta:
                result.update_tags(band, **_lasting(own.tags(source)))

    def _meanings(self, content: Content, count: int) -> list[ColorInterp]:
        if content is Content.IMAGE:
            return list(self.file.colorinterp)
        own = [self.file.colorinterp[band - 1] for band in self.bands]
        images = own if content is Content.BOTH else [ColorInterp.gray]
        return [*images, *[ColorInterp.undefined] * count][:count]


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
