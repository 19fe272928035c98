"""Presets: trained models that come with the package.

Each is a folder that SRModel.save_to_preset wrote, with weights in float16. `udl-tf presets` lists
them; tools/make_preset.py turns a run folder into one.
"""

from pathlib import Path

from udl_tf.hub.handles import CONFIG, fetch, is_handle
from udl_tf.imaging.compression import Compression

FOLDER = Path(__file__).parent

FINE_QUALITY = 92
"""JPEG quality above which an image counts as clean.

On Set14 and BSD100, photo_x4 is 0.06 dB ahead of light_x4 at 90, and 0.10 to 0.20 dB behind at 95;
photo_x2 is 0.17 to 0.21 dB ahead of light_x2 at 90, and 0.07 to 0.09 dB behind at 95.
"""

COARSE_QUALITY = 30
"""Lowest JPEG quality in the training of the photo presets, below which theta is too small.

docs/presets.md states how much.
"""

BEST = "large_x4"
"""The x4 preset with the best results on clean images; four times as slow as light_x4."""

_CLEAN, _PHOTO = ("edsr_s", "light"), ("photo",)  # of one scale, the last counts


def names() -> list[str]:
    """Returns the names of all presets."""
    return sorted(path.parent.name for path in FOLDER.glob(f"[!.]*/{CONFIG}"))


def find(model: Path | str) -> Path:
    """Returns the folder of the preset named `model`, or `model` as a path if there is none.

    NAME is the preset even if a folder of this name exists; ./NAME is the folder. A Path cannot
    distinguish them: it is the folder if that exists, else the preset. A handle, such as
    hf://USER/NAME, is the preset on that hub, which is downloaded.

    Raises:
        UserError: if the preset of a handle cannot be downloaded; see udl_tf.hub.handles.
    """
    if isinstance(model, str) and is_handle(model):
        return fetch(model)
    path = Path(model)
    named = str(model) in names() and (isinstance(model, str) or not path.exists())
    return FOLDER / model if named else path


def is_path(model: Path | str) -> bool:
    """Returns whether `model` means a file or folder: no preset's name, handle or address."""
    return "://" not in str(model) and find(model) == Path(model)


def default_preset(outscale: float | None = None, compression: Compression | None = None) -> str:
    """Returns the name of the preset for an image, if none is given.

    It is the one with the smallest scale that is at least `outscale`: of the photo presets for
    lossy WebP and for JPEG of quality FINE_QUALITY or less, else of the light ones, or of EDSR-S
    where there is no light one of that scale.

    Args:
        outscale: size of the result divided by the image's; None, or above all scales: the largest
            scale.
        compression: of the image file, as lossy_compression returns it.
    """
    by_scale = {}
    for kind in _CLEAN if is_fine(compression) else _PHOTO:
        by_scale |= {int(name[-1]): name for name in names() if name[:-1] == f"{kind}_x"}
    sufficient = [scale for scale in by_scale if outscale is not None and scale >= outscale]
    return by_scale[min(sufficient, default=max(by_scale))]


def is_fine(compression: Compression | None) -> bool:
    """Returns whether an image, by its compression, counts as clean."""
    if compression is None:
        return True
    return compression.quality is not None and compression.quality > FINE_QUALITY


def contains(model: Path | str) -> bool:
    """Returns whether `model` is a preset of the package or of a hub, which must not be changed."""
    return is_handle(model) or find(model).resolve().parent == FOLDER.resolve()
