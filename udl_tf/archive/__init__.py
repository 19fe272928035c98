"""Archives of millions of images on disks or in object stores, upscaled by a resumable Ray job."""

from typing import TYPE_CHECKING, Any

from udl_tf._support.lazy import lazy_names
from udl_tf.errors import needs_extra

if TYPE_CHECKING:
    from udl_tf.archive.actors import open_ray as open_ray
    from udl_tf.archive.job import ArchiveJob as ArchiveJob
    from udl_tf.archive.worker import Work as Work

__all__ = ["ArchiveJob", "Work", "open_ray"]

_load = lazy_names(__name__, {"ArchiveJob": "job", "Work": "worker", "open_ray": "actors"})


def __getattr__(name: str) -> Any:
    with needs_extra("ray"):
        return _load(name)
