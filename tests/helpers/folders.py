"""Folders that cannot be listed."""

import os


def lock_folder(monkeypatch, name: str) -> None:
    """Has the listing of every folder of this name fail, as if permission were denied."""

    def scandir(path, original=os.scandir):
        if os.path.basename(path) == name:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
