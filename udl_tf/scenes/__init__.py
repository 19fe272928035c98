"""Images that are measurements: rasters of any size, read and written window by window."""

from udl_tf.scenes.scene import Scene, SceneWriter, Window

__all__ = ["Scene", "SceneWriter", "Window"]
