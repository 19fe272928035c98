"""Images that are measurements: rasters of any size, read and written window by window."""

from udl_tf.scenes.opening import open_scene, scene_kind, scene_suffixes
from udl_tf.scenes.scene import Scene, SceneWriter, Window

__all__ = ["Scene", "SceneWriter", "Window", "open_scene", "scene_kind", "scene_suffixes"]
