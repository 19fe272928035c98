"""Suppression of what native libraries write to stderr."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from udl_tf.errors import UserError


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back what the block writes to file descriptor 2; shows it if the block crashes.

    For commands only, because it affects the whole process. TF_CPP_MIN_LOG_LEVEL alone does not
    silence what TensorFlow writes while it is imported (tensorflow#100442).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
