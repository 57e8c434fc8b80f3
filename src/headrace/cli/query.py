"""`headrace query`: KQL from an argument, a file or standard input; results, and charts for `render`."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.bar import Bar
from rich.cells import cell_len, set_cell_size
from rich.markup import escape
from rich.table import Table

from headrace.cli.client import QUERY_SCOPE, EnvFileOption, QueriedOption, Server, problem_of
from headrace.cli.documents import read_text
from headrace.cli.output import (
    OutputForm,
    OutputOption,
    cell,
    console,
    error_console,
    examples,
    print_rows,
    visible,
)
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    import httpx

_CHARTS = {"barchart", "columnchart", "piechart", "timechart", "linechart", "areachart", "stackedareachart"}
_NUMBERS = {"int", "long", "real", "decimal"}
_CHART_ROWS = 60


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    ways = examples(
        "query 'HeadraceSample_CL | summarize count() by Computer'",
        "query --file report.kql --timespan P7D --output csv",
        "query 'HeadraceSample_CL | summarize count() by bin(TimeGenerated, 1m) | render timechart'",
    )
    app.command("query", rich_help_panel=panel, epilog=ways)(query)


def query(
    text: Annotated[
        str | None, typer.Argument(metavar="KQL", help="The query; - or nothing reads standard input.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Read the query from a file.")
    ] = None,
    workspace: QueriedOption = None,
    timespan: Annotated[
        str | None, typer.Option(metavar="SPAN", help="ISO 8601 span, such as P1D or START/END.")
    ] = None,
    wait: Annotated[
        int | None, typer.Option(metavar="SECONDS", min=1, max=600, help="Time limit, 1 to 600 seconds.")
    ] = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Run a KQL query and print its result.

    A query that ends in `render` is drawn as a chart in the terminal.
    """
    kql = _text(text, file)
    prefer = ["include-render=true", *([f"wait={wait}"] if wait else [])]
    with Server.find(env_file) as server:
        name = workspace or server.variable("HEADRACE_WORKSPACE_ID")
        answer = server.request(
            "POST",
            f"{server.variable('HEADRACE_QUERY_URL')}/workspaces/{name}/query",
            json={"query": kql, "timespan": timespan},
            headers={"Authorization": f"Bearer {server.token(QUERY_SCOPE)}", "Prefer": ",".join(prefer)},
        )
    if answer.is_error:
        raise ProblemError(show_places(answer, kql) or [server.with_cure(_with_cure(problem_of(answer)))])
    document = answer.json()
    for table in document["tables"]:
        _print(table, document.get("render"), output)
        if not table["rows"] and output is OutputForm.TABLE:
            error_console().print("[dim]No rows.[/dim]")
    if "error" in document:
        _warn_of_partial(document["error"])


def _text(text: str | None, file: Path | None) -> str:
    if text is not None and file is not None:
        raise typer.BadParameter("Give the query as an argument or with --file, not both.")
    if file is not None:
        return read_text(str(file))
    if text is None or text == "-":
        if sys.stdin.isatty():
            error_console().print("[dim]Type the query, then Ctrl-D:[/dim]")
        return sys.stdin.read()
    return text


def _with_cure(problem: Problem) -> Problem:
    cures = {
        "WorkspaceNotFoundError": "--workspace takes the name or the id of a workspace.",
        "GatewayTimeout": "--wait gives it longer, up to 600 seconds.",
    }
    return replace(problem, hint=problem.hint or cures.get(problem.code))


def show_places(answer: httpx.Response, kql: str) -> list[Problem]:
    """The problems of a query that did not compile; each one's line is printed with a mark under its place."""
    try:
        details = answer.json()["error"].get("details") or []
    except (ValueError, KeyError, AttributeError, TypeError):
        return []
    located = [detail for detail in details if "line" in detail]
    lines = kql.split("\n")
    out = error_console()
    for detail in located:
        if 0 < detail["line"] <= len(lines):
            text, mark = marked_line(
                lines[detail["line"] - 1].rstrip("\r"), detail["pos"], detail.get("length", 1), out.width - 4
            )
            out.print(f"  {escape(visible(text))}\n  [bold red]{mark}[/bold red]")
    return [Problem(detail["code"], detail["message"]) for detail in located]


def marked_line(line: str, column: int, length: int, width: int) -> tuple[str, str]:
    """A line and the marks below `length` characters from `column` (from 1) on, cut to `width` cells."""
    before, marked = line[: column - 1].expandtabs(4), line[column - 1 : column - 1 + length]
    after = line[column - 1 + length :].expandtabs(4)
    marked = marked.replace("\t", " ")
    room = max(20, width)
    if cell_len(before) + cell_len(marked) > room:
        kept = ""
        for character in reversed(before):
            if cell_len(kept) + cell_len(marked[:room]) >= room // 2:
                break
            kept = character + kept
        before = f"...{kept}" if kept != before else before
    text = before + marked + after
    marks = "^" * max(1, cell_len(marked))
    return set_cell_size(text, room).rstrip() if cell_len(text) > room else text, " " * cell_len(
        before
    ) + marks


def _print(table: dict[str, Any], render: dict[str, Any] | None, output: OutputForm) -> None:
    columns = [column["name"] for column in table["columns"]]
    kind = str((render or {}).get("visualization", "")).lower()
    if output is OutputForm.TABLE and kind in _CHARTS and _chart(table):
        return
    print_rows(columns, table["rows"], output)


def _chart(table: dict[str, Any]) -> bool:
    """Draw a bar a row: the last number column against all that are no numbers. Whether the table has both."""
    columns = table["columns"]
    numbers = [place for place, column in enumerate(columns) if column["type"] in _NUMBERS]
    labels = [place for place in range(len(columns)) if place not in numbers] or numbers[:-1]
    rows = _in_time(table)[:_CHART_ROWS]
    if not numbers or not labels or not rows:
        return False
    number = numbers[-1]
    values = [_number(row[number]) for row in rows]
    top = max(max(values), 0.0) or 1.0
    grid = Table(box=None, pad_edge=False, header_style="bold underline")
    for place in labels:
        grid.add_column(
            escape(visible(columns[place]["name"])), max_width=40, no_wrap=True, overflow="ellipsis"
        )
    grid.add_column(escape(visible(columns[number]["name"])), justify="right", no_wrap=True)
    grid.add_column(ratio=1)
    for row, value in zip(rows, values, strict=True):
        bar = Bar(top, 0, max(value, 0.0), color="cyan")
        grid.add_row(
            *(escape(visible(cell(row[place]))) for place in labels), escape(visible(cell(row[number]))), bar
        )
    console().print(grid, soft_wrap=False, width=min(console().width, 100))
    if len(table["rows"]) > _CHART_ROWS:
        error_console().print(f"[dim]The first {_CHART_ROWS} of {len(table['rows'])} rows are drawn.[/dim]")
    return True


def _in_time(table: dict[str, Any]) -> list[list[Any]]:
    """The rows, in order of the first time column if there is one: a chart over time has no other order."""
    rows: list[list[Any]] = table["rows"]
    place = next((i for i, column in enumerate(table["columns"]) if column["type"] == "datetime"), None)
    if place is None:
        return rows
    return sorted(rows, key=lambda row: (row[place] or "").rstrip("Z"))


def _number(value: Any) -> float:
    """A number of the answer, where decimals and the numbers that are none come as text."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return 0.0
    return found if math.isfinite(found) else 0.0


def _warn_of_partial(error: dict[str, Any]) -> None:
    for detail in error.get("details", []):
        message = detail.get("innererror", {}).get("message") or detail.get("message")
        error_console().print(
            f"[bold yellow]warning:[/bold yellow] the result is cut: {escape(visible(str(message)))}"
        )
