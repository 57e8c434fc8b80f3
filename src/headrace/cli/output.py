"""What the command prints: problems in one shape, and data as table, JSON, CSV or NDJSON."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

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


def console() -> Console:
    """Standard output, with colour where a terminal shows it."""
    return Console(highlight=False, soft_wrap=True)


def error_console() -> Console:
    """Standard error, for progress and problems."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def fail(problem: Problem) -> None:
    """Print a problem as one clear line: what, where, and the cure."""
    where = f" (line {problem.span.line}, column {problem.span.column})" if problem.span else ""
    hint = f" [dim]{escape(problem.hint)}[/dim]" if problem.hint else ""
    error_console().print(f"[bold red]error:[/bold red] {escape(problem.message)}{where}{hint}")
    for detail in problem.details:
        fail(detail)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: OutputForm) -> None:
    """Print rows of values under their column names."""
    if form is OutputForm.TABLE:
        _print_table(columns, rows)
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
        writer.writerows([["" if value is None else value for value in row] for row in rows])
        sys.stdout.write(text.getvalue())


def print_record(record: dict[str, Any], form: OutputForm) -> None:
    """Print one object: as JSON its own object, else a row."""
    if form is OutputForm.JSON:
        sys.stdout.write(json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    else:
        print_rows(list(record), [list(record.values())], form)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(header_style="bold", row_styles=["", "dim"] if len(rows) > 3 else None, pad_edge=False)
    for name in columns:
        table.add_column(escape(name), overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    console().print(table, soft_wrap=False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
