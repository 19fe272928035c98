"""Super-resolution of images of any size: upscalers, tiling, jobs over files, scenes."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.inference.job_runner import run_jobs as run_jobs
    from udl_tf.inference.jobs import Options as Options
    from udl_tf.inference.jobs import plan_jobs as plan_jobs
    from udl_tf.inference.result import Upscaled as Upscaled
    from udl_tf.inference.scene_jobs import SceneOptions as SceneOptions
    from udl_tf.inference.scene_jobs import run_scenes as run_scenes
    from udl_tf.inference.scene_runner import upscale_scene as upscale_scene
    from udl_tf.inference.upscaler import Upscaler as Upscaler

__all__ = [
    "Options",
    "SceneOptions",
    "Upscaled",
    "Upscaler",
    "plan_jobs",
    "run_jobs",
    "run_scenes",
    "upscale_scene",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Options": "jobs",
        "SceneOptions": "scene_jobs",
        "Upscaled": "result",
        "Upscaler": "upscaler",
        "plan_jobs": "jobs",
        "run_jobs": "job_runner",
        "run_scenes": "scene_jobs",
        "upscale_scene": "scene_runner",
    },
)
