"""What the command prints: problems in one shape, and data as table, JSON, CSV or NDJSON."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace.errors import Problem


class OutputForm(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


OutputOption = Annotated[OutputForm, typer.Option("--output", "-o", help="Form of the output.")]

_GAP = 2
# Data is anyone's: what steers a terminal is shown as a picture of itself.
_PICTURES = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"},
    **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
}
_PIPE_WIDTH = 10_000


def examples(*commands: str) -> str:
    """How a command's help ends: what people type, a line each."""
    return "\n\n".join(("Examples:", *(f"- `headrace {command}`" for command in commands)))


def console() -> Console:
    """Standard output, with colour where a terminal shows it; lines for another program are never folded."""
    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(highlight=False, soft_wrap=True, width=wide)


def error_console() -> Console:
    """Standard error, for progress and problems."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def fail(problem: Problem, indent: str = "") -> None:
    """Print a problem as one clear line: what, where, and the cure; its causes below it."""
    where = f" (line {problem.span.line}, column {problem.span.column})" if problem.span else ""
    hint = f" [dim]{escape(visible(problem.hint))}[/dim]" if problem.hint else ""
    target = f"[bold]{escape(visible(problem.target))}[/bold]: " if problem.target and indent else ""
    start = f"{indent}- " if indent else "[bold red]error:[/bold red] "
    # Azure's own words do not always end as sentences do, and a hint begins another one.
    message = problem.message + "." * (bool(hint) and problem.message[-1:].isalnum() and not where)
    error_console().print(f"{start}{target}{escape(visible(message))}{where}{hint}")
    for detail in problem.details:
        fail(detail, f"{indent}  ")


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: OutputForm) -> None:
    """Print rows of values under their column names."""
    if form is OutputForm.TABLE:
        print_table(columns, rows)
        return
    records = (dict(zip(columns, row, strict=True)) for row in rows)
    if form is OutputForm.JSON:
        sys.stdout.write(json.dumps(list(records), ensure_ascii=False, indent=2) + "\n")
    elif form is OutputForm.NDJSON:
        sys.stdout.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    else:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([[cell(value) for value in row] for row in rows])
        sys.stdout.write(text.getvalue())


def print_record(record: dict[str, Any], form: OutputForm) -> None:
    """Print one object: as JSON its own object, as a table a line for each value, else a row."""
    if form is OutputForm.JSON:
        sys.stdout.write(json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    elif form is OutputForm.TABLE:
        _show(_fields(list(record), list(record.values())), console())
    else:
        print_rows(list(record), [list(record.values())], form)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], out: Console | None = None) -> None:
    """Print rows side by side if no word has to be broken for it, else one below the other.

    A broken id or time can be neither read nor copied, so a terminal that is too narrow gets a record a row.
    """
    out = out or console()
    if not columns:
        out.print(f"[dim]{len(rows)} rows without columns.[/dim]")
        return
    texts = [[visible(cell(value)) for value in row] for row in rows]
    columns = [visible(name) for name in columns]
    least = [
        max(_longest_word(text) for text in (name, *(row[place] for row in texts)))
        for place, name in enumerate(columns)
    ]
    spare = out.width - sum(least) - _GAP * (len(columns) - 1)
    if spare >= 0:
        longest = [
            max(_longest_line(text) for text in (name, *(row[place] for row in texts)))
            for place, name in enumerate(columns)
        ]
        _show(_table(columns, texts, rows, _widths(least, longest, spare)), out)
        return
    if not rows:
        out.print(f"[bold]{escape('  '.join(columns))}[/bold]", soft_wrap=False)
    for number, row in enumerate(texts, 1):
        out.print(f"[dim]-- {number} {'-' * min(40, out.width - 10)}[/dim]")
        _show(_fields(columns, row), out)


def cell(value: Any) -> str:
    """A value as text; null is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def visible(text: str) -> str:
    """Text for a terminal: control characters other than tab and line feed are replaced."""
    return text.translate(_PICTURES)


def _show(table: Table, out: Console) -> None:
    """Print a table; without the padding of its last column where another program reads it."""
    if out.is_terminal:
        out.print(table, soft_wrap=False)
        return
    with out.capture() as capture:
        out.print(table, soft_wrap=False)
    out.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _table(
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
    rows: Sequence[Sequence[Any]],
    widths: Sequence[int],
) -> Table:
    table = Table(box=None, header_style="bold underline", pad_edge=False, padding=(0, _GAP, 0, 0))
    for place, name in enumerate(columns):
        numbers = any(_is_number(row[place]) for row in rows)
        justify: Any = "right" if numbers else "left"
        table.add_column(escape(name), width=widths[place], justify=justify, overflow="fold")
    for row in texts:
        table.add_row(*(escape(text) for text in row))
    return table


def _widths(least: Sequence[int], longest: Sequence[int], spare: int) -> list[int]:
    """The columns' widths: at least the longest word, and shares of what is spare up to the longest line."""
    widths = list(least)
    by_need = sorted(range(len(widths)), key=lambda place: longest[place] - least[place])
    for done, place in enumerate(by_need):
        extra = min(longest[place] - least[place], spare // (len(by_need) - done))
        widths[place] += extra
        spare -= extra
    return widths


def _fields(columns: Sequence[str], values: Sequence[Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in zip(columns, values, strict=True):
        table.add_row(escape(visible(name)), escape(visible(cell(value))))
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _longest_line(text: str) -> int:
    return max((cell_len(line.expandtabs()) for line in text.splitlines()), default=1)


def _longest_word(text: str) -> int:
    return max((cell_len(word) for word in text.split()), default=1)
