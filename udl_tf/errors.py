"""Exceptions that the command line reports as one line."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake that a user can fix, in one line: what was given, what is expected, how to fix it.

    Commands print it without a traceback and exit with code 2.

    Args:
        message: the line.
        argument: the argument or config key to change, where the message does not name it;
            commands add the option that sets it.
    """

    def __init__(self, message: str, argument: str | None = None):
        # Names of files, and values in them, may contain line breaks.
        super().__init__("\\n".join(message.splitlines()))
        self.argument = argument


class Unavailable(UserError):
    """A server is unreachable, overloaded or lacks the model; the image is not the cause."""


class Interrupted(Exception):
    """The user stopped the command; the message says how to resume. The exit code is 130."""


class Lost(Exception):
    """Something external failed, such as another machine; the same command may succeed later."""

    exit_code = 75  # EX_TEMPFAIL: a job scheduler may retry


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns the hint "nearest known: X" for a misspelt `word`, or the list of all known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"nearest known: {close[0]}" if close else f"known: {', '.join(known)}"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Reports a missing package inside the block as one line that names the extra to install.

    Raises:
        UserError: if an import inside fails.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name} is not installed: run pip install "udl_tf[{extra}]"'
        ) from error
