"""Training on several devices and machines; nothing here is needed by a single process.

The other rooms see one object, a Group, whose methods do nothing for one process.
"""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.distributed.group import Group as Group
    from udl_tf.distributed.group import join_group as join_group

__all__ = ["Group", "join_group"]

__getattr__ = lazy_names(__name__, {"Group": "group", "join_group": "group"})
