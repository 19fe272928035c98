"""Archives of millions of images: a Ray job with a manifest, resumable, on disks or object stores."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.archive.job import run_archive as run_archive
    from udl_tf.archive.worker import Work as Work

__all__ = ["Work", "run_archive"]

__getattr__ = lazy_names(__name__, {"Work": "worker", "run_archive": "job"})
