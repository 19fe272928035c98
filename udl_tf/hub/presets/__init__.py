"""Presets: trained models that come with the package.

Each is a folder that SRModel.save_to_preset wrote, with weights in float16. `udl-tf presets` lists
them; tools/make_preset.py turns a run folder into one.
"""

from pathlib import Path

from udl_tf.hub.handles import CONFIG, fetch, is_handle

FOLDER = Path(__file__).parent


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


def default_preset(outscale: float | None) -> str:
    """Returns the name of the edsr_s preset with the smallest scale that is at least `outscale`.

    If `outscale` is None or exceeds all scales, this is the preset with the largest scale.
    """
    scales = sorted(int(name[-1]) for name in names() if name.startswith("edsr_s_x"))
    sufficient = [scale for scale in scales if outscale is not None and scale >= outscale]
    return f"edsr_s_x{sufficient[0] if sufficient else scales[-1]}"


def contains(folder: Path | str) -> bool:
    """Returns whether `folder` is the folder of a preset, which must not be changed."""
    return Path(folder).resolve().parent == FOLDER.resolve()
