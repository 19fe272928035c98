"""Names of results and of their maps; one rule for `upscale` and `batch`."""

from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar

from udl_tf.imaging.formats import READABLE, WRITABLE
from udl_tf.imaging.theta_map import MAP_SUFFIXES

if TYPE_CHECKING:
    from udl_tf.inference.jobs import Options

MAP_TITLES = {
    "theta": "theta, Laplace scale of the error",
    "spread": "spread of the eight members",
    "total": "theta and spread together",
}

Place = TypeVar("Place", bound=PurePath)


def result_names(
    source: Place, options: "Options", in_full: bool
) -> tuple[Place, dict[str, Place]]:
    """Returns the name of a result, and that of each of its maps.

    Args:
        source: path of the image.
        options: what is written; with the format "same", results of formats that cannot be written
            are PNG.
        in_full: whether the names contain the source's suffix, so that they are unique:
            a.gif.png and a.gif.png_theta.png instead of a.png and a_theta.png.
    """
    suffix = source.suffix.lower() if options.format == "same" else f".{options.format}"
    suffix = suffix if suffix in WRITABLE else ".png"
    if in_full:
        result = _unique_name(source, options.format, suffix)
        stem = result.name
    else:
        result = source.with_suffix(suffix)
        stem = result.stem
    ending = MAP_SUFFIXES.get(options.uncertainty, "")
    return result, {name: result.with_name(f"{stem}_{name}{ending}") for name in options.maps}


def results_of(path: Place) -> list[Place]:
    """Returns the results that a file may be a map of, by its name: a.png, ... of a_theta.npy."""
    stem, _, name = path.stem.rpartition("_")
    if name not in MAP_TITLES or not stem:
        return []
    return [path.with_name(f"{stem}{suffix}") for suffix in ("", *WRITABLE)]


def _unique_name(source: Place, kind: str, suffix: str) -> Place:
    """Returns a name that no result or map of another image has.

    It is the source's own name. The suffix is appended if the format changes, or if the source is
    named like a result of this function or its map: a.gif.png or a.png_theta.png.
    """
    if kind == "same" and suffix == source.suffix.lower():
        suffix = source.suffix
    inner = (part.partition("_")[0].lower() for part in PurePath(source.stem).suffixes)
    if suffix == source.suffix and not any(part in READABLE for part in inner):
        return source
    return source.with_name(source.name + suffix)
