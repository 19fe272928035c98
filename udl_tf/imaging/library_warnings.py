"""Collects the warnings of image libraries instead of showing them, per thread."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.Lock()
_thread = threading.local()


class _Shared:
    """The state of the module `warnings`, which is changed while any thread collects."""

    users = 0
    saved: Any = None
    show: Any = None


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collects the warnings that this thread raises inside the block.

    warnings.catch_warnings alone changes global state, which overlapping threads do not restore.
    """
    outer = getattr(_thread, "messages", None)
    _thread.messages = []
    with _LOCK:
        _Shared.users += 1
        if _Shared.users == 1:
            _Shared.saved, _Shared.show = warnings.catch_warnings(), warnings.showwarning
            _Shared.saved.__enter__()
            warnings.simplefilter("always")
            warnings.showwarning = _collect
    try:
        yield _thread.messages
    finally:
        _thread.messages = outer
        with _LOCK:
            _Shared.users -= 1
            if _Shared.users == 0:
                _Shared.saved.__exit__(None, None, None)


def _collect(message: Warning | str, category: type[Warning], *place: Any) -> None:
    messages = getattr(_thread, "messages", None)
    if messages is None:  # of a thread that does not collect
        _Shared.show(message, category, *place)
    else:
        messages.append(str(message))
