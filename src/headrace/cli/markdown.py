"""Small pieces of Markdown for the generated pages."""

from __future__ import annotations

from collections.abc import Iterable

MADE = "<!-- Printed from the code by `make docs`. -->\n"
"""First line of a generated page."""
TABLE_START = "<!-- This table is printed from the code by `make docs`. -->\n"
TABLE_END = "<!-- Here it ends. -->\n"
"""Around the one generated table of a page that is written by hand."""


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table; bars in its cells are escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(_escaped(text) for text in row)} |\n" for row in lines)


def code(text: str) -> str:
    """Text as code."""
    return f"`{text}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
