"""The errors that commands end with in one line."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """One line for a person: what was given, what is expected, how to mend it.

    Commands print it without a traceback and end with exit code 2.
    """


class Interrupted(Exception):
    """A person stopped the command; the message says how to go on. The exit code is 130."""


class Lost(Exception):
    """Something outside failed, such as another machine; the same command may work later."""

    exit_code = 75  # by which the systems that start programs know this: EX_TEMPFAIL


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint "nearest known: X" for a misspelt `word`, or else the list of all known ones."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"nearest known: {close[0]}" if close else f"known: {', '.join(known)}"


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around imports: makes a missing package one line that names the extra which brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name} is not installed: run pip install "udl_tf[{extra}]"'
        ) from error
