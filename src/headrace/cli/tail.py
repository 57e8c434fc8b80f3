"""`headrace tail`: the newest rows of a table, and those that come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.client import EnvFileOption, QueriedOption, Server
from headrace.cli.interrupt import Interrupt
from headrace.cli.output import cell, console, error_console, examples, visible
from headrace.errors import ProblemError

_RECEIVED, _ITEM = "headrace_received", "headrace_item"
_QUIET_COLUMNS = frozenset({"TenantId", "Type", "SourceSystem", "MG", "ManagementGroupName"})
"""Columns that say the same in every row, or next to nothing."""
_MOST_ROWS = 5_000
_OVERLAP = timedelta(seconds=60)
_SECONDS = 1.0
_LONGEST_PAUSE = 15.0
_PASSING = frozenset(
    {
        "Unreachable", "ServiceUnavailable", "ThrottledError", "GatewayTimeout", "temporarily_unavailable",
    }
)  # fmt: skip
"""What passes by itself, such as a restart of the server; anything else ends the command."""


class TailForm(StrEnum):
    """How rows are printed as they come."""

    TEXT = "text"
    NDJSON = "ndjson"


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    ways = examples(
        "tail HeadraceSample_CL",
        "tail \"Syslog | where SeverityLevel == 'err'\" --columns Computer,SyslogMessage",
    )
    app.command("tail", rich_help_panel=panel, epilog=ways)(tail)


def tail(
    kql: Annotated[
        str,
        typer.Argument(
            metavar="TABLE", help="A table, or KQL that filters one: \"T | where Level == 'Error'\"."
        ),
    ],
    columns: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these columns. Default: those with values.")
    ] = None,
    last: Annotated[
        int, typer.Option("--last", "-n", metavar="N", min=0, max=1000, help="Rows to begin with.")
    ] = 10,
    follow: Annotated[bool, typer.Option(help="Wait for more rows, until Ctrl-C.")] = True,
    workspace: QueriedOption = None,
    env_file: EnvFileOption = None,
    output: Annotated[TailForm, typer.Option("--output", "-o", help="Form of the output.")] = TailForm.TEXT,
) -> None:
    """Print the newest rows of a table, and then each row as it comes.

    A row is shown once, in the order of receipt, about a second after its upload. One that reaches its table more than
    a minute after later ones is not shown: `headrace query` has them all.
    """
    wanted = [name.strip() for name in columns.split(",")] if columns else None
    with Server.find(env_file) as server, Interrupt() as interrupt:
        follower = _Follower(server, workspace, kql, wanted)
        for row in follower.newest(last):
            _print(row, output)
        pause = _SECONDS
        while follow and not interrupt.asked:
            interrupt.sleep(pause)
            try:
                for row in follower.since():
                    _print(row, output)
                pause = _SECONDS
            except ProblemError as error:
                if error.problems[0].code not in _PASSING:
                    raise
                if pause == _SECONDS:
                    error_console().print(
                        f"[yellow]note:[/yellow] {escape(error.problems[0].message)} Going on."
                    )
                pause = min(2 * pause, _LONGEST_PAUSE)


@dataclass(slots=True)
class _Follower:
    """Asks for what has been received since it asked last.

    Batches do not become visible in the order in which they were received. So each question goes back a minute behind
    the newest row, and what was shown before is known by its `_ItemId`.
    """

    server: Server
    workspace: str | None
    kql: str
    columns: list[str] | None
    newest_time: datetime | None = None
    shown: dict[str, datetime] = field(default_factory=dict)

    def newest(self, count: int) -> list[dict[str, Any]]:
        """The newest `count` rows, oldest first. All that is there already counts as shown. Raises `ProblemError`."""
        rows = list(self._new_rows(self._recent()))
        return rows[-count:] if count else []

    def since(self) -> list[dict[str, Any]]:
        """The rows that are new, oldest first. Raises `ProblemError`."""
        rows = self._recent()
        new = list(self._new_rows(rows))
        if len(new) == _MOST_ROWS:
            error_console().print(
                f"[yellow]note:[/yellow] more than {_MOST_ROWS} rows at once: only the newest are shown."
            )
        return new

    def _recent(self) -> list[dict[str, Any]]:
        since = ""
        if self.newest_time is not None:
            since = f"where {_RECEIVED} >= datetime({(self.newest_time - _OVERLAP).isoformat()}) | "
        return self._ask(f"{since}top {_MOST_ROWS} by {_RECEIVED} desc")

    def _ask(self, which: str) -> list[dict[str, Any]]:
        named = f" | project {_RECEIVED}, {_ITEM}, {', '.join(self.columns)}" if self.columns else ""
        text = f"{self.kql}\n| extend {_RECEIVED} = _TimeReceived, {_ITEM} = _ItemId | {which}{named}"
        return self.server.query(text, self.workspace)

    def _new_rows(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in reversed(rows):
            received, item = datetime.fromisoformat(row.pop(_RECEIVED)), row.pop(_ITEM)
            self.newest_time = max(received, self.newest_time or received)
            if item not in self.shown:
                self.shown[item] = received
                yield row
        if self.newest_time is not None:
            least = self.newest_time - _OVERLAP
            self.shown = {item: at for item, at in self.shown.items() if at >= least}


def _print(row: dict[str, Any], form: TailForm) -> None:
    if form is TailForm.NDJSON:
        typer.echo(json.dumps(row, ensure_ascii=False))
        return
    time = row.pop("TimeGenerated", None)
    parts = [f"[dim]{escape(time)}[/dim]"] if time else []
    for name, value in row.items():
        text = visible(cell(value)).replace("\n", "↵")
        if text and name not in _QUIET_COLUMNS:
            parts.append(f"[cyan]{escape(visible(name))}=[/cyan]{escape(text)}")
    console().print("  ".join(parts))
