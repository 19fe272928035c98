"""Strict JSON: no repeated keys, no NaN, no infinities; errors name the place."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)')


class _Object(dict):
    """JSON object with the keys that were given more than once, `repeated`."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.repeated = sorted(key for key, count in counts.items() if count > 1)


def parse_strictly(text: str | bytes) -> Any:
    """Parses JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        ValueError: in one line, with line and column, or with the name of a repeated key.
    """
    text = (_decode(text) if isinstance(text, bytes) else text).removeprefix("\ufeff")
    try:
        content = json.loads(
            text, object_pairs_hook=_Object, parse_float=_finite, parse_constant=_refuse
        )
    except json.JSONDecodeError as error:
        raise json.JSONDecodeError(_explain(error), text, error.pos) from None
    except _Constant as error:
        found = next(m for m in _STRING_OR_CONSTANT.finditer(text) if m[1])
        raise json.JSONDecodeError(f"{error} is not a JSON value", text, found.start()) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if repeated := list(_repeated(content)):
        raise ValueError(f"key {', '.join(repeated)} is given more than once: keep one")
    return content


class _Constant(Exception):
    """NaN, Infinity or -Infinity, which json.loads accepts otherwise."""


def _refuse(constant: str) -> None:
    raise _Constant(constant)


def _finite(number: str) -> float:
    if math.isinf(value := float(number)):
        raise ValueError(f"number {number} is too large")
    return value


def _decode(data: bytes) -> str:
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "ignore")
        place = json.JSONDecodeError(f"not {encoding.upper()}", before, len(before))
        raise ValueError(f"{place}: save the file as UTF-8") from None


def _explain(error: json.JSONDecodeError) -> str:
    """Returns the message of an error, or a better one for what is not part of JSON."""
    rest, before = error.doc[error.pos :], error.doc[: error.pos].rstrip()
    if rest.startswith(("//", "/*", "#")):
        return "comments are not part of JSON"
    if before.endswith(",") and rest.lstrip().startswith(("}", "]")):
        return "a comma follows the last entry"
    if rest.startswith("'"):
        return "strings are enclosed in double quotes"
    return error.msg


def _repeated(content: Any, above: str = "") -> Iterator[str]:
    """Yields the dotted path of each repeated key."""
    if isinstance(content, _Object):
        yield from (f"{above}{key}" for key in content.repeated)
        items = content.items()
    else:
        items = enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from _repeated(value, f"{above}{key}.")
