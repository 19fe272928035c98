"""Choice of presets by the compression of files, if no model is given."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from udl_tf.hub import presets
from udl_tf.imaging.compression import Compression, lossy_compression


def choose_presets(
    images: Iterable[Path], scenes: Iterable[Path], outscale: float | None
) -> tuple[dict[str, set[Path]], list[str]]:
    """Chooses a preset for each file by its compression.

    Args:
        images: image files.
        scenes: files of scenes, which are taken as not compressed.
        outscale: as for default_preset.

    Returns:
        ({preset: its files}, a line on each preset and the reason).
    """
    found = {file: lossy_compression(file) for file in images} | dict.fromkeys(scenes)
    files = dict[str, set[Path]]()
    for file, compression in found.items():
        files.setdefault(presets.default_preset(outscale, compression), set()).add(file)
    lines = [
        f"{name} for {len(own)} file{'s' * (len(own) > 1)}:"
        f" {_summary([found[file] for file in own])} (--model selects another preset)"
        for name, own in files.items()
    ]
    return files, lines


def _summary(compressions: Sequence[Compression | None]) -> str:
    """Returns the kinds of compression, such as "JPEG of quality 60 to 92, lossy WebP"."""
    qualities = [each.quality for each in compressions if each and each.quality is not None]
    parts = []
    if qualities:
        low, high = min(qualities), max(qualities)
        above = f" (above {presets.FINE_QUALITY})" * (low > presets.FINE_QUALITY)
        coarse = presets.COARSE_QUALITY
        below = f" (below {coarse}, theta may be too small)" * (low < coarse)
        parts.append(f"JPEG of quality {low}" + f" to {high}" * (high > low) + above + below)
    parts += sorted({str(each) for each in compressions if each and each.quality is None})
    if None in compressions:
        parts.append("others " * bool(parts) + "neither JPEG nor lossy WebP")
    return ", ".join(parts)
