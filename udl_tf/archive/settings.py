"""The file job.json of an output: the settings that all its results have in common."""

import json
from dataclasses import asdict
from typing import Any

from udl_tf._support.json_files import parse_json
from udl_tf.archive.storage import Storage
from udl_tf.archive.worker import Work
from udl_tf.errors import UserError
from udl_tf.inference.jobs import Options
from udl_tf.saved.loading import fingerprint

FILE = "job.json"

Settings = dict[str, Any]

_FREE = "max_pixels", "overwrite"  # options that may change from run to run


def settings_of(work: Work, source: Storage) -> Settings:
    """Returns what determines the results of a job, as JSON stores it.

    `max_pixels` and `overwrite` are not part of it: they only decide which images fail, and a
    failed image is tried again.
    """
    return {
        "input": source.place,
        "fingerprint of the model": fingerprint(work.model),
        "model": work.model,
        "dtype": work.dtype,
        "options": _options(work.options),
    }


def check_owner(output: Storage, settings: Settings, overwrite: bool | None = None) -> None:
    """Checks that an output is empty, or holds results of the same settings.

    Args:
        output: where the results go.
        settings: of the job.
        overwrite: whether an output that holds other files is accepted.

    Raises:
        UserError: naming a file, or the first setting that differs.
    """
    content = output.read(FILE)
    if content is None:
        if not overwrite and (other := output.find_any()):
            raise UserError(
                f"{output.place}: holds other files, such as {other}: choose another output, or"
                " allow files of the same names to be replaced",
                argument="overwrite",
            )
        return
    stored = _in_current_form(parse_json(content, f"{output.place}/{FILE}"))
    for key, value in settings.items():
        if stored.get(key) != value:
            raise UserError(
                f"{output.place}: holds the results of another job ({key} is {stored.get(key)}"
                f" there and {value} now): choose another output"
            )


def write_settings(output: Storage, settings: Settings) -> None:
    """Writes job.json."""
    output.write(FILE, json.dumps(settings, indent=1).encode())


def _in_current_form(settings: Settings) -> Settings:
    """Returns the settings in the current form.

    Options that did not exist when they were stored have their defaults; udl_tf 0.1 stored a Keras
    policy as the dtype.
    """
    settings = settings | {"options": _options(Options()) | settings.get("options", {})}
    policy = settings.get("policy")
    return settings if policy is None else settings | {"dtype": policy.removeprefix("mixed_")}


def _options(options: Options) -> Settings:
    """Returns the options that determine results, as JSON stores them."""
    return json.loads(json.dumps({k: v for k, v in asdict(options).items() if k not in _FREE}))
