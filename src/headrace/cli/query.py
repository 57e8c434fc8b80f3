"""`headrace query`: KQL from an argument, a file or standard input; results, and charts for `render`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.bar import Bar
from rich.markup import escape
from rich.table import Table

from headrace.cli.client import QUERY_SCOPE, EnvFileOption, Server, problem_of
from headrace.cli.output import OutputForm, console, error_console, print_rows
from headrace.errors import Problem, ProblemError

_CHARTS = {"barchart", "columnchart", "piechart", "timechart", "linechart", "areachart", "stackedareachart"}
_NUMBERS = {"int", "long", "real", "decimal"}
_CHART_ROWS = 60


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("query")(query)


def query(
    text: Annotated[
        str | None, typer.Argument(metavar="[KQL]", help="The query; - or nothing reads standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the query from a file.")] = None,
    workspace: Annotated[
        str | None, typer.Option(help="Workspace id or name. Default: the sample workspace.")
    ] = None,
    timespan: Annotated[str | None, typer.Option(help="ISO 8601 span, such as P1D or START/END.")] = None,
    wait: Annotated[int | None, typer.Option(min=1, max=600, help="Time limit in seconds.")] = None,
    env_file: EnvFileOption = None,
    output: Annotated[
        OutputForm, typer.Option("--output", "-o", help="Form of the output.")
    ] = OutputForm.TABLE,
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
        raise ProblemError(_query_problems(answer.json(), kql) or [problem_of(answer)])
    document = answer.json()
    for table in document["tables"]:
        _print(table, document.get("render"), output)
    if "error" in document:
        _warn_of_partial(document["error"])


def _text(text: str | None, file: Path | None) -> str:
    if text is not None and file is not None:
        raise typer.BadParameter("Give the query as an argument or with --file, not both.")
    if file is not None:
        try:
            return file.read_text("utf-8")
        except OSError as error:
            raise ProblemError(Problem("FileUnreadable", f"{file}: {error.strerror}.")) from None
    if text is None or text == "-":
        if sys.stdin.isatty():
            error_console().print("[dim]Type the query, then Ctrl-D:[/dim]")
        return sys.stdin.read()
    return text


def _query_problems(document: Any, kql: str) -> list[Problem]:
    """The located problems of a query that did not compile, each under the line that it is in."""
    details = document.get("error", {}).get("details") or []
    located = [detail for detail in details if "line" in detail]
    lines = kql.splitlines()
    for detail in located:
        line, column = detail["line"], detail["pos"]
        if 0 < line <= len(lines):
            marker = " " * (column - 1) + "^" * max(
                1, min(detail.get("length", 1), len(lines[line - 1]) - column + 1)
            )
            error_console().print(f"  {escape(lines[line - 1])}\n  [bold red]{marker}[/bold red]")
    return [Problem(detail["code"], detail["message"]) for detail in located]


def _print(table: dict[str, Any], render: dict[str, Any] | None, output: OutputForm) -> None:
    columns = [column["name"] for column in table["columns"]]
    kind = str((render or {}).get("visualization", "")).lower()
    if output is OutputForm.TABLE and kind in _CHARTS and _chart(table):
        return
    print_rows(columns, table["rows"], output)


def _chart(table: dict[str, Any]) -> bool:
    """Draw bars of the first number column against the first other one; whether the table has both."""
    columns = table["columns"]
    number = next((i for i, column in enumerate(columns) if column["type"] in _NUMBERS), None)
    label = next((i for i, column in enumerate(columns) if i != number), None)
    rows = table["rows"][:_CHART_ROWS]
    if number is None or label is None or not rows:
        return False
    values = [float(row[number] or 0) for row in rows]
    top = max(max(values), 0.0) or 1.0
    grid = Table(box=None, pad_edge=False)
    grid.add_column(escape(columns[label]["name"]))
    grid.add_column(escape(columns[number]["name"]), justify="right")
    grid.add_column(ratio=1)
    for row, value in zip(rows, values, strict=True):
        grid.add_row(escape(str(row[label])), str(row[number]), Bar(top, 0, max(value, 0.0), color="cyan"))
    console().print(grid, soft_wrap=False)
    if len(table["rows"]) > _CHART_ROWS:
        error_console().print(f"[dim]The first {_CHART_ROWS} of {len(table['rows'])} rows are drawn.[/dim]")
    return True


def _warn_of_partial(error: dict[str, Any]) -> None:
    for detail in error.get("details", []):
        message = detail.get("innererror", {}).get("message") or detail.get("message")
        error_console().print(
            f"[bold yellow]warning:[/bold yellow] the result is cut: {escape(str(message))}"
        )
