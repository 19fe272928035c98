import threading
import warnings

import pytest

from udl_tf.imaging.library_warnings import collected_warnings


def test_warnings_are_collected_per_block():
    with collected_warnings() as outer:
        warnings.warn("one", stacklevel=1)
        with collected_warnings() as inner:
            warnings.warn("two", stacklevel=1)
        assert outer == ["one"]
        assert inner == ["two"]
    with pytest.warns(UserWarning, match="three"):
        warnings.warn("three", stacklevel=1)


def test_threads_that_overlap_restore_the_filters():
    """The first to enter leaves while the other is still inside."""
    filters, show = list(warnings.filters), warnings.showwarning
    entered, leave, found = threading.Event(), threading.Event(), []

    def collect():
        with collected_warnings() as messages:
            entered.set()
            assert leave.wait(10)
            warnings.warn("of the thread", stacklevel=1)
            found.extend(messages)

    thread = threading.Thread(target=collect)
    with collected_warnings() as messages:
        thread.start()
        assert entered.wait(10)
        warnings.warn("of the test", stacklevel=1)
        assert messages == ["of the test"]
    leave.set()
    thread.join()
    assert found == ["of the thread"]
    assert warnings.filters == filters
    assert warnings.showwarning is show
