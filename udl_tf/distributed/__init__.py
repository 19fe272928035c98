"""Training on several devices and machines.

Other rooms use one object, the Group of processes that train a run. With a single process, its
methods do nothing.
"""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.distributed.group import Group as Group
    from udl_tf.distributed.group import join_group as join_group

__all__ = ["Group", "join_group"]

__getattr__ = lazy_names(__name__, {"Group": "group", "join_group": "group"})
