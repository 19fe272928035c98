"""Writes the table and the numbers of a measurement."""

import argparse
from typing import Any

from udl_tf._support.files import write_text
from udl_tf._support.json_files import write_json


def write_report(
    options: argparse.Namespace, results: Any, text: str, *packages: str, name: str | None = None
) -> None:
    """Writes results and table to `options.output`, named after the command, and prints the table.

    Args:
        options: of the command.
        results: the numbers.
        text: the table.
        packages: names of packages whose versions are stored.
        name: of the files; None: the command.
    """
    from benchmarks.machine import machine

    facts = machine(*packages)
    output = options.output / (name or options.command)
    write_json(output.with_suffix(".json"), {"machine": facts, "results": results})
    line = f"{facts['processor']}, {facts['cores']} cores, {facts['date']}\n"
    write_text(output.with_suffix(".md"), f"{text}\n{line}")
    print(f"{text}\n{line}written: {output}.md, {output}.json")
