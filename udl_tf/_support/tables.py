"""Markdown tables."""

from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows, of which the first is the header, as a Markdown table aligned as plain text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    lines = (" | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in ruled)
    return "".join(f"| {line} |\n" for line in lines)
