"""`headrace audit`: what the audit log says, and whether anybody changed it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from headrace.cli.client import QUERY_SCOPE, EnvFileOption, Server
from headrace.cli.output import OutputForm, OutputOption, console, print_record, print_rows
from headrace.clock import from_iso
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    from headrace.observe.audit.heads import Head

group = typer.Typer(help="The audit log: who did what, from where, allowed or not.", no_args_is_help=True)

_PAGE = 20_000
_WAIT_SECONDS = 15.0
_SHOWN = (
    "TimeGenerated", "Category", "OperationName", "Result", "ResultCode", "PrincipalId", "CallerIpAddress", "Scope",
    "Details",
)  # fmt: skip
_COLUMNS = (
    "TimeGenerated", "StatusCode", "ChainId", "Sequence", "PreviousHash", "Hash", "Category", "OperationName",
    "Result", "ResultCode", "PrincipalId", "ClientId", "Issuer", "CallerIpAddress", "CorrelationId", "Scope",
    "Details",
)  # fmt: skip


@group.command("list")
def list_events(
    last: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=100_000, help="How many, newest first.")
    ] = 50,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """List the newest events. For more, query the table: headrace query 'HeadraceAudit | where ...'."""
    with Server.find(env_file) as server:
        text = f"HeadraceAudit | top {last} by TimeGenerated | project {', '.join(_SHOWN)}"
        print_rows(_SHOWN, _query(server, _log(server)["workspace"], text), output)


@group.command("verify")
def verify(
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Check every row against its chain of hashes and its chain's signed head.

    Exit code 1 when a row was changed, added, or taken away. The newest head that is printed may be noted
    elsewhere: whoever can read this server's files can forge the log and its heads, but not your note.
    """
    # Hashes and signatures: only this command needs them.
    from headrace.observe.audit.heads import Head, check

    with Server.find(env_file) as server:
        log = _log(server)
        heads = [msgspec.convert(head, Head) for head in log["heads"]]
        if heads:
            _wait_for(server, log["workspace"], heads[-1])
        rows = list(_rows(server, log["workspace"]))
    findings = check(rows, heads, log["publicKey"])
    if findings:
        raise ProblemError(
            [
                Problem("AuditLogChanged", f"Chain {one.chain}, row {one.sequence}: {one.message}")
                for one in findings[:100]
            ]
        )
    newest = heads[-1] if heads else None
    record: dict[str, Any] = {
        "intact": True,
        "rows": len(rows),
        "chains": len({row["ChainId"] for row, _ in rows}),
        "head": f"{newest.chain} {newest.sequence} {newest.hash}" if newest else None,
    }
    if output is OutputForm.TABLE:
        console().print(f"[bold green]The audit log is as it was written:[/bold green] {len(rows)} rows.")
    print_record(record, output)


def _wait_for(server: Server, workspace: str, head: Head) -> None:
    """Rows reach the table a moment after they are safe: give those under a new head some time."""
    text = f"HeadraceAudit | where ChainId == '{head.chain}' and Sequence == {head.sequence} | count"
    deadline = time.monotonic() + _WAIT_SECONDS
    while _query(server, workspace, text)[0][0] == 0 and time.monotonic() < deadline:
        time.sleep(0.2)


def _log(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.admin("GET", "audit")
    return found


def _rows(server: Server, workspace: str) -> Any:
    chains = _query(server, workspace, "HeadraceAudit | distinct ChainId")
    for (chain,) in chains:
        after = -1
        while True:
            text = (
                f"HeadraceAudit | where ChainId == '{chain}' and Sequence > {after}"
                f" | top {_PAGE} by Sequence asc | project {', '.join(_COLUMNS)}"
            )
            page = _query(server, workspace, text)
            for values in page:
                row = dict(zip(_COLUMNS, values, strict=True))
                yield row, from_iso(row["TimeGenerated"])
                after = int(row["Sequence"])
            if len(page) < _PAGE:
                break


def _query(server: Server, workspace: str, text: str) -> list[list[Any]]:
    url = f"{server.variable('HEADRACE_QUERY_URL')}/workspaces/{workspace}/query"
    answer = server.send("POST", url, QUERY_SCOPE, json={"query": text}).json()
    if "error" in answer:
        raise ProblemError(Problem("PartialResult", "The query's result was cut: try again."))
    rows: list[list[Any]] = answer["tables"][0]["rows"]
    return rows
