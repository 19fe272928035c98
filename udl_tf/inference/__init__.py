"""Super-resolution of images of any size: upscalers, tiling, self-ensemble, jobs over files."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.inference.job_runner import run_jobs as run_jobs
    from udl_tf.inference.jobs import Options as Options
    from udl_tf.inference.jobs import plan_jobs as plan_jobs
    from udl_tf.inference.result import Upscaled as Upscaled
    from udl_tf.inference.upscaler import Upscaler as Upscaler

__all__ = ["Options", "Upscaled", "Upscaler", "plan_jobs", "run_jobs"]

__getattr__ = lazy_names(
    __name__,
    {
        "Options": "jobs",
        "Upscaled": "result",
        "Upscaler": "upscaler",
        "plan_jobs": "jobs",
        "run_jobs": "job_runner",
    },
)
