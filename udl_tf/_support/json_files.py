"""JSON files and the pydantic models that describe them."""

import json
import math
import typing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from udl_tf._support.files import write_text
from udl_tf._support.strict_json import parse_strictly
from udl_tf.config import Section
from udl_tf.errors import UserError, nearest

_LONGEST = 60  # characters of a wrong value in an error

Model = TypeVar("Model", bound=Section)


def read_json(path: Path | str, fix: str = "fix the file") -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Args:
        path: the file.
        fix: remedy for a damaged file, which ends the error message.

    Raises:
        OSError: if the file cannot be read.
        UserError: if it is not valid JSON, repeats a key, or is not an object.
    """
    return parse_json(Path(path).read_bytes(), path, fix)


def parse_json(text: str | bytes, source: Path | str, fix: str = "fix the file") -> dict[str, Any]:
    """Parses JSON text that holds an object; `source` is named in errors.

    Raises:
        UserError: as for read_json.
    """
    try:
        content = parse_strictly(text)
    except ValueError as error:
        raise UserError(f"{source}: not valid JSON ({error}): {fix}") from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise UserError(f"{source}: expected a JSON object {{...}}, got {kind}: {fix}")
    return content


def read_model(path: Path | str, model: type[Model], fix: str = "fix the file") -> Model:
    """Reads a JSON file into a pydantic model.

    Raises:
        OSError: if the file cannot be read.
        UserError: naming the file, each wrong key and the nearest known one.
    """
    return parse_model(read_json(path, fix), model, path)


def parse_model(content: dict[str, Any], model: type[Model], source: Path | str) -> Model:
    """Validates a dict; `source` is named in the one-line error.

    Raises:
        UserError: naming each wrong key and the nearest known one.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        reasons = "; ".join(_explain(e, model) for e in error.errors())
        raise UserError(f"{source}: {reasons}") from None


def write_json(path: Path | str, content: Any) -> None:
    """Writes `content` as indented JSON, with null for NaN and infinities."""
    write_text(path, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _explain(error: Any, model: type[Section]) -> str:
    key, known = _find_key(model, error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}, {nearest(key.rpartition('.')[2], known)}"
    if error["type"] == "missing":
        return f"{key} is missing: add it"
    if error["type"] == "union_tag_not_found":
        return f"{key}.kind is missing: add it"
    if error["type"] == "union_tag_invalid":
        tag, tags = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "")
        return f"{key}.kind {tag!r} is unknown, {nearest(tag, tags.split(', '))}"
    message = error["msg"].removeprefix("Value error, ")
    if not key:
        return message
    given = json.dumps(error["input"], default=str)
    given = given if len(given) <= _LONGEST else given[:_LONGEST] + "..."
    return f"{key}: got {given}; {message[0].lower()}{message[1:]}"


def _find_key(model: type[Section], location: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """Returns the key at a location, and all keys of the section that it belongs to."""
    keys, known, sections = [], [], [model]
    for part in location:
        if isinstance(part, str) and len(sections) > 1:  # the kind of section, which is no key
            sections = [s for s in sections if part in _kinds(s)]
            continue
        keys.append(str(part))
        if isinstance(part, str) and sections:
            fields = sections[0].model_fields
            known = [field.alias or name for name, field in fields.items()]
            sections = _section_types(fields[part].annotation) if part in fields else []
    return ".".join(keys), known


def _kinds(section: type[Section]) -> tuple[str, ...]:
    return typing.get_args(section.model_fields["kind"].annotation)


def _section_types(annotation: Any) -> list[type[Section]]:
    """Returns the sections that a value of this type may be or contain."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [s for inner in typing.get_args(annotation) for s in _section_types(inner)]
