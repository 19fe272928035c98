"""Trained networks that come with the package.

Each is a bundle (udl_tf.bundle) with weights in float16, and metrics.json with what it reaches.
`python -m udl_tf.presets` lists them; tools/make_preset.py makes one.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Of all presets."""
    return sorted(path.parent.name for path in FOLDER.glob("[!.]*/model.json"))


def find(model: Path | str) -> Path:
    """The folder of a preset, if `model` is its name; else `model` itself.

    A name means the preset even where a folder of that name lies; ./NAME means the folder.
    """
    return FOLDER / model if str(model) in names() else Path(model)


def usual(outscale: float | None) -> str:
    """The preset to take where none is named: of the least scale that makes so large a picture."""
    scales = sorted(int(name[-1]) for name in names() if name.startswith("edsr_s_x"))
    enough = [scale for scale in scales if outscale is not None and outscale <= scale]
    return f"edsr_s_x{(enough or scales[-1:])[0]}"


def contains(folder: Path | str) -> bool:
    """Whether a folder is that of a preset, where nothing may be written."""
    return Path(folder).resolve().parent == FOLDER.resolve()
