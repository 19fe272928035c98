"""The mark of results in the metadata of their files."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

PROGRAM = "udl_tf "


def is_result(path: Path | str) -> bool:
    """Returns whether a file is marked as a result of this package; reads its header only."""
    try:
        with Image.open(path) as image:
            return str(image.info.get("Software", "")).startswith(PROGRAM)
    except (OSError, UnidentifiedImageError):
        return False
