"""What the commands share: how they end."""

import sys
from collections.abc import Callable

from udl_tf.errors import UserError


class Interrupted(Exception):
    """A person stopped the command; the message says how to go on."""


def run(main: Callable[[list[str] | None], None]) -> None:
    """Runs a command: a UserError is one line and exit code 2, an interruption exit code 130."""
    try:
        main(None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
