"""Super-resolution of images of any size: upscalers, tiling, jobs over files, scenes."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.inference.file_jobs import FileOptions as FileOptions
    from udl_tf.inference.file_jobs import find_files as find_files
    from udl_tf.inference.file_jobs import plan_files as plan_files
    from udl_tf.inference.file_jobs import run_files as run_files
    from udl_tf.inference.job_runner import run_jobs as run_jobs
    from udl_tf.inference.jobs import Options as Options
    from udl_tf.inference.jobs import plan_jobs as plan_jobs
    from udl_tf.inference.result import Upscaled as Upscaled
    from udl_tf.inference.scene_jobs import SceneOptions as SceneOptions
    from udl_tf.inference.scene_runner import upscale_scene as upscale_scene
    from udl_tf.inference.upscaler import Upscaler as Upscaler

__all__ = [
    "FileOptions",
    "Options",
    "SceneOptions",
    "Upscaled",
    "Upscaler",
    "find_files",
    "plan_files",
    "plan_jobs",
    "run_files",
    "run_jobs",
    "upscale_scene",
]

__getattr__ = lazy_names(
    __name__,
    {
        "FileOptions": "file_jobs",
        "Options": "jobs",
        "SceneOptions": "scene_jobs",
        "Upscaled": "result",
        "Upscaler": "upscaler",
        "find_files": "file_jobs",
        "plan_files": "file_jobs",
        "plan_jobs": "jobs",
        "run_files": "file_jobs",
        "run_jobs": "job_runner",
        "upscale_scene": "scene_runner",
    },
)
