"""Trained models that come with the package.

Each is a bundle (udl_tf.saved.bundle) with weights in float16, and metrics.json with its results on
test sets. `udl-tf presets` lists them; tools/make_preset.py turns a run folder into one.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Returns the names of all presets."""
    return sorted(path.parent.name for path in FOLDER.glob("[!.]*/model.json"))


def find(model: Path | str) -> Path:
    """Returns the folder of a preset, if `model` is its name; else `model` itself as a path.

    A name means the preset even if a folder of that name exists; ./NAME means the folder.
    """
    return FOLDER / model if str(model) in names() else Path(model)


def default_preset(outscale: float | None) -> str:
    """Returns the edsr_s preset with the smallest scale that is at least `outscale`.

    Without `outscale`, or if it exceeds all scales, the preset with the largest scale.
    """
    scales = sorted(int(name[-1]) for name in names() if name.startswith("edsr_s_x"))
    enough = [scale for scale in scales if outscale is not None and outscale <= scale]
    return f"edsr_s_x{(enough or scales[-1:])[0]}"


def contains(folder: Path | str) -> bool:
    """Returns whether a folder is that of a preset, into which nothing may be written."""
    return Path(folder).resolve().parent == FOLDER.resolve()
