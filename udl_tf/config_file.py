"""Reads config files: overrides, and errors that name the file, the key and the nearest key."""

import json
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from udl_tf.config import Config, Section
from udl_tf.errors import UserError, nearest


def load_config(
    path: Path | str, overrides: list[str] | None = None, quick: bool = False
) -> Config:
    """Reads a JSON config and applies `key.subkey=value` overrides.

    Args:
        path: the JSON file.
        overrides: such as "optimizer.learning_rate=2e-4" or "steps.0.updates=100"; values are read
            as JSON, and as plain text where they are not JSON.
        quick: whether to make it a rehearsal; overrides still have the last word.

    Raises:
        UserError: naming the file, the key and the nearest known key.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; expected a JSON config file: see configs/"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}): mend the file") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object {{...}}, got {type(content).__name__}")
    for override in overrides or []:
        _apply(content, override)
    config = parse_config(content, str(path))
    if not quick:
        return config
    content = config.rehearsal().model_dump()
    for override in overrides or []:
        _apply(content, override)
    return parse_config(content, str(path))


def parse_config(content: dict[str, Any], origin: str) -> Config:
    """Validates a config given as a dict; `origin` is named in the one-line UserError."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        lines = [_explain(e) for e in error.errors()]
        raise UserError(f"{origin}: " + "; ".join(lines)) from None


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override}: expected key=value, such as data.batch_size=16")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    try:
        _put(content, key.split("."), value, Config().model_dump())
    except LookupError as error:
        raise UserError(f"--set {override}: there is no {error} to set") from None


def _put(place: Any, keys: list[str], value: Any, default: Any) -> None:
    """Sets place[keys[0]][keys[1]]...; what the file leaves out starts from its default."""
    key: Any = keys[0]
    if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
        key = int(key)
    elif not isinstance(place, dict):
        raise LookupError(".".join(keys))
    if len(keys) == 1:
        place[key] = value
        return
    default = default.get(key, {}) if isinstance(default, dict) else {}
    if isinstance(place, dict):
        place.setdefault(key, default)
    _put(place[key], keys[1:], value, default)


def _explain(error: Any) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}, {nearest(str(location[-1]), _known_keys(location[:-1]))}"
    if error["type"] == "missing":
        return f"{key} is missing: add it"
    message = error["msg"].removeprefix("Value error, ")
    if not key:
        return message
    return (
        f"{key}: got {json.dumps(error['input'], default=str)}; {message[0].lower()}{message[1:]}"
    )


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    section: Any = Config
    for part in location:
        if isinstance(part, str):
            section = _section_type(section.model_fields[part].annotation)
    return [field.alias or name for name, field in section.model_fields.items()]


def _section_type(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (list, typing.Union, types.UnionType):
        inner = [_section_type(a) for a in typing.get_args(annotation)]
        return next(a for a in inner if a is not None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None
