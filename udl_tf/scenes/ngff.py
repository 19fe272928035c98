"""Metadata of OME-Zarr 0.4 and 0.5."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import zarr

from udl_tf.errors import UserError
from udl_tf.scenes.marks import CREATOR
from udl_tf.scenes.result_files import Content

_VERSIONS = {2: "0.4", 3: "0.5"}  # of OME-Zarr, by that of zarr


@dataclass(frozen=True)
class Multiscale:
    """The first multiscale image of a group.

    Attributes:
        attributes: of the group, which are those of the whole image.
        zarr_format: 2 or 3.
    """

    attributes: dict[str, Any]
    zarr_format: Literal[2, 3]

    @classmethod
    def of(cls, path: Path, group: zarr.Group) -> "Multiscale":
        """Reads the metadata of a group.

        Raises:
            UserError: unless they are of an image of OME-Zarr 0.4 or 0.5.
        """
        image = cls(dict(group.attrs), group.metadata.zarr_format)
        if not image.ome.get("multiscales"):
            raise UserError(
                f"{path}: no image of OME-Zarr{_several(image.ome)}:"
                " give the folder of one image, which has 'multiscales' in its metadata"
            )
        first = image.first
        version = image.ome.get("version", first.get("version"))
        axes = first.get("axes", ())
        known = str(version).startswith(_VERSIONS[image.zarr_format])
        if not known or not all(isinstance(axis, dict) for axis in axes):
            raise UserError(
                f"{path}: OME-Zarr of version {version} in zarr {image.zarr_format}: expected 0.4"
                " in zarr 2 or 0.5 in zarr 3; convert it"
            )
        if len(_rows_and_columns(axes)) < 2:
            raise UserError(f"{path}: its axes {list(axes)}; expected two of space: convert it")
        return image

    @property
    def ome(self) -> dict[str, Any]:
        """Metadata of OME, which zarr 3 keeps apart."""
        return self.attributes.get("ome", {}) if self.zarr_format == 3 else self.attributes

    @property
    def first(self) -> dict[str, Any]:
        return self.ome["multiscales"][0]

    @property
    def levels(self) -> list[str]:
        """Paths of the arrays in the group, the largest first."""
        return [dataset["path"] for dataset in self.first["datasets"]]

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of axes as in Axes."""
        axes = self.first["axes"]
        names = ["C" if _type(axis) == "channel" else axis["name"] for axis in axes]
        for place, name in zip(_rows_and_columns(axes), "YX", strict=True):
            names[place] = name
        return tuple(names)

    def notes(self) -> tuple[str, ...]:
        """Returns what is not read of the image."""
        others = len(self.ome["multiscales"]) - 1
        return (f"only the first of {others + 1} multiscale images read",) if others else ()

    def with_channel_axis(self) -> "Multiscale":
        """Returns the metadata with a channel axis, inserted before the axes of space."""
        result = copy.deepcopy(self)
        axes = result.first["axes"]
        in_space = (index for index, axis in enumerate(axes) if _type(axis) == "space")
        at = next(in_space, len(axes) - 2)
        axes.insert(at, {"name": "c", "type": "channel"})
        for place in (result.first, *result.first["datasets"]):
            for step in place.get("coordinateTransformations", ()):
                for kind, neutral in (("scale", 1.0), ("translation", 0.0)):
                    if kind in step:
                        step[kind].insert(at, neutral)
        return result

    def result(
        self, scale: int, content: Content, channels: int, factors: Sequence[Sequence[int]]
    ) -> "Multiscale":
        """Returns the metadata of a result.

        A place is that of the centre of a pixel: that of the first one changes with its size.

        Args:
            scale: whole number of result pixels per pixel.
            content: of the result.
            channels: of the source.
            factors: per level, by how much its pixels are larger than those of the first level.
        """
        result = copy.deepcopy(self)
        image = result.first
        pixel, place = self._pixel(len(image["axes"]))
        fine = [size / (scale if name in "YX" else 1) for size, name in self._sized(pixel)]
        image["datasets"] = [
            {
                "path": path,
                "coordinateTransformations": _transformations(pixel, place, fine, factor),
            }
            for path, factor in zip(self.levels, factors, strict=False)
        ]
        image["type"] = "mean"
        image.pop("metadata", None)  # of how the levels of the source were computed
        result.ome["multiscales"] = [image]
        result.attributes["_creator"] = CREATOR
        if content is Content.FLAGS:
            result.ome.pop("omero", None)
        elif "omero" in result.ome:
            omero = result.ome["omero"]
            omero["channels"] = _channels(omero.get("channels", []), content, channels)
        return result

    def _sized(self, sizes: Sequence[float]):
        return zip(sizes, self.axis_names, strict=True)

    def _pixel(self, axes: int) -> tuple[list[float], list[float]]:
        """Returns size and place of a pixel of the first level."""
        size, place = [1.0] * axes, [0.0] * axes
        for step in self.first["datasets"][0].get("coordinateTransformations", ()):
            size, place = step.get("scale", size), step.get("translation", place)
        return size, place


def _type(axis: dict[str, Any]) -> str:
    """Returns the type of an axis; those that state none are known by name."""
    return axis.get("type") or {"t": "time", "c": "channel"}.get(axis["name"].lower(), "space")


def _rows_and_columns(axes: Sequence[dict[str, Any]]) -> list[int]:
    """Returns the places of the axes named y and x, or else of the last two of space."""
    names = [axis["name"].lower() for axis in axes]
    if {"y", "x"} <= set(names):
        return [names.index("y"), names.index("x")]
    return [place for place, axis in enumerate(axes) if _type(axis) == "space"][-2:]


def _transformations(
    pixel: Sequence[float], place: Sequence[float], fine: Sequence[float], factors: Sequence[int]
) -> list[dict[str, Any]]:
    """Returns those of a level, whose corner stays where that of the source is."""
    size = [one * factor for one, factor in zip(fine, factors, strict=True)]
    centre = [at + (new - old) / 2 for at, new, old in zip(place, size, pixel, strict=True)]
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": size}]
    if any(centre):
        steps.append({"type": "translation", "translation": centre})
    return steps


def _channels(source: list[dict], content: Content, count: int) -> list[dict]:
    """Returns names, colours and displayed values of channels; theta is shown from 0."""
    if content is Content.IMAGE or len(source) != count:
        return source
    theta = copy.deepcopy(source)
    names = Content.THETA.names([channel.get("label", "") for channel in source])
    for channel, name in zip(theta, names, strict=True):
        channel["label"] = name
        if "window" in channel:
            shown = channel["window"]
            width = float(shown.get("end", 1)) - float(shown.get("start", 0))
            channel["window"] = {"min": 0.0, "max": width, "start": 0.0, "end": width / 8}
    return theta if content is Content.THETA else [*source, *theta]


def _several(ome: dict[str, Any]) -> str:
    """Returns what else a group of OME-Zarr is."""
    if "plate" in ome or "well" in ome:
        return " but a plate or well of many"
    return " but a container of images, such as 0" if "bioformats2raw.layout" in ome else ""
