"""`headrace doctor`: looks at what usually goes wrong, and says what to do."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sqlite3
import ssl
import stat
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

import msgspec
import typer
from rich.markup import escape

from headrace.cli.client import ARM_SCOPE, INGESTION_SCOPE, QUERY_SCOPE, EnvFileOption, Server
from headrace.cli.output import OutputForm, OutputOption, console, print_rows
from headrace.data_folder import FORMATS, DataFolder
from headrace.errors import ProblemError
from headrace.settings import configured_data_dir, load_settings

Level = Literal["good", "warning", "bad"]

_MIB = 1024 * 1024
_FEW_BYTES = 2048 * _MIB
_NO_BYTES = 256 * _MIB
_SKEW_SECONDS = (30.0, 240.0)
"""A clock so far off is worth a word; one so far off has its tokens refused."""
_DAYS_LEFT = 14
_NAMED_FILES = 5
_LAG_SECONDS = 60.0
_MARKS = {
    "good": "[green]good[/green]   ",
    "warning": "[yellow]warning[/yellow]",
    "bad": "[bold red]bad[/bold red]    ",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `cure` is empty where nothing needs to be done."""

    check: str
    level: Level
    message: str
    cure: str = ""


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    app.command("doctor", rich_help_panel=panel)(doctor)


def doctor(
    env_file: EnvFileOption = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Data folder. Default: the server's, if it is on this machine."),
    ] = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Check clock, certificate, ports, disk, store and a running server, and say what to do.

    Exit code 1 when something is bad. A server need not run: then what it needs to start is checked.
    """
    findings = list(_all(env_file, data_dir))
    if output is OutputForm.TABLE:
        for one in findings:
            console().print(
                f"{_MARKS[one.level]} [bold]{one.check}[/bold]: {escape(one.message)}", soft_wrap=True
            )
            if one.cure:
                console().print(f"        [bold]Cure:[/bold] {escape(one.cure)}", soft_wrap=True)
    else:
        rows = [[one.check, one.level, one.message, one.cure or None] for one in findings]
        print_rows(("check", "level", "message", "cure"), rows, output)
    if any(one.level == "bad" for one in findings):
        raise typer.Exit(1)


def _all(env_file: Path | None, data_dir: Path | None) -> Iterator[Finding]:
    try:
        server = Server.find(env_file)
    except ProblemError as error:
        problem = error.problems[0]
        cure = problem.hint or "Start one with `headrace up`."
        level: Level = "warning" if problem.code == "NoServer" else "bad"
        yield Finding("server", level, problem.message, cure)
        yield from check_port()
        yield from check_folder(data_dir or configured_data_dir(os.environ))
        return
    with server:
        running = yield from check_server(server)
        if not running:
            yield from check_port(port=urlsplit(server.variable("HEADRACE_ARM_URL")).port)
        folder = data_dir or _folder_of(server)
        if folder is not None:
            yield from check_folder(folder)


def _folder_of(server: Server) -> Path | None:
    """The data folder of a server on this machine, known by where its CA lies."""
    ca = Path(server.variables.get("HEADRACE_CA_FILE", ""))
    folder = ca.parent.parent
    if ca.parent.name == "tls" and (folder / "format.json").is_file():
        return folder
    own = configured_data_dir(os.environ)
    return own if (own / "format.json").is_file() else None


# A running server


def check_server(server: Server) -> Generator[Finding, None, bool]:
    """The server's certificate, readiness, clock and surfaces; returns whether it answers."""
    base = server.variable("HEADRACE_ARM_URL")
    yield check_certificate(base, server.variables)
    began = time.time()
    try:
        answer = server.request("GET", f"{base}/readyz")
    except ProblemError as error:
        yield Finding("server", "bad", error.problems[0].message, error.problems[0].hint or "")
        return False
    if answer.status_code != 200:
        yield Finding(
            "server", "bad", f"{base} answers and is not ready ({answer.status_code}).",
            "Wait for recovery; `headrace up --verbose` shows what it does.",
        )  # fmt: skip
        return True
    yield Finding("server", "good", f"{base} is ready.")
    yield check_clock(answer.headers.get("date"), (began + time.time()) / 2)
    for what, scope in (("management", ARM_SCOPE), ("ingestion", INGESTION_SCOPE), ("query", QUERY_SCOPE)):
        try:
            server.token(scope)
        except ProblemError as error:
            cure = "Does the env file belong to this server? `headrace app reset-secret` makes a new secret."
            yield Finding("sign-in", "bad", f"No token for {what}: {error.problems[0].message}", cure)
            return True
    yield Finding("sign-in", "good", "Tokens for management, ingestion and query are given.")
    yield from _check_query(server)
    yield from check_numbers(server.request("GET", f"{base}/metrics").text)
    return True


def check_certificate(base: str, variables: Mapping[str, str]) -> Finding:
    """Whether the certificate is trusted, names the host, and for how long it is good."""
    parts = urlsplit(base)
    host, port = parts.hostname or "", parts.port or 443
    ca = variables.get("HEADRACE_CA_FILE")
    try:
        context = ssl.create_default_context(cafile=ca or None)
        own = variables.get("HEADRACE_CLIENT_CERTIFICATE")
        if own:
            context.load_cert_chain(own, variables.get("HEADRACE_CLIENT_KEY"))
        with (
            socket.create_connection((host, port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert() or {}
            version = secured.version()
    except ssl.SSLCertVerificationError as error:
        cure = (
            f"The name must be in the certificate: use another, or --public-url https://{host}."
            if "match" in error.verify_message.lower()
            else f"HEADRACE_CA_FILE ({ca}) does not vouch for it: source the env file of this server again."
        )
        return Finding("certificate", "bad", f"{host}: {error.verify_message}.", cure)
    except OSError as error:
        cure = "Start the server, or name the env file of a running one."
        return Finding(
            "certificate", "bad", f"{host}:{port} cannot be reached: {error.strerror or error}.", cure
        )
    ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    days = (ends - time.time()) / 86_400
    if days < _DAYS_LEFT:
        cure = "Put a new one in its place: a running server takes it. The server's own is made anew within a day."
        return Finding("certificate", "warning", f"It ends in {days:.0f} days.", cure)
    return Finding("certificate", "good", f"Trusted, names {host}, good for {days:.0f} days ({version}).")


def check_clock(date: str | None, now: float) -> Finding:
    """How far the clocks of this machine and the server are apart. `date` is a Date header, `now` epoch seconds."""
    if date is None:
        return Finding("clock", "warning", "The server does not tell its time.")
    apart = abs(parsedate_to_datetime(date).timestamp() - now)
    # The header has whole seconds.
    if apart < _SKEW_SECONDS[0]:
        return Finding("clock", "good", "The clocks of this machine and the server agree.")
    level: Level = "bad" if apart > _SKEW_SECONDS[1] else "warning"
    cure = "Set both clocks by NTP (timedatectl set-ntp true): tokens and assertions carry times."
    return Finding(
        "clock", level, f"The clocks of this machine and the server are {apart:.0f} s apart.", cure
    )


def _check_query(server: Server) -> Iterator[Finding]:
    workspace = server.variables.get("HEADRACE_WORKSPACE_ID")
    if workspace is None:
        return
    url = f"{server.variable('HEADRACE_QUERY_URL')}/workspaces/{workspace}/query"
    try:
        server.send("POST", url, QUERY_SCOPE, json={"query": "print 1"})
    except ProblemError as error:
        cure = (
            "`headrace role explain --action Microsoft.OperationalInsights/workspaces/query/read` says why."
        )
        yield Finding("query", "bad", error.problems[0].message, cure)
    else:
        yield Finding("query", "good", "The workspace of the env file answers queries.")


def check_numbers(text: str) -> Iterator[Finding]:
    """What the metrics say of the pipeline."""
    numbers: dict[str, list[float]] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            numbers.setdefault(name.partition("{")[0], []).append(float(value))
    lag = max(numbers.get("headrace_pipeline_lag_seconds", ()), default=None)
    if lag is not None and lag > _LAG_SECONDS:
        cure = (
            "Give it more threads (transform.threads) or memory; the log says if a table cannot be written."
        )
        yield Finding("pipeline", "warning", f"Rows wait for {lag:.0f} s for their tables.", cure)
    elif lag is not None:
        yield Finding("pipeline", "good", "Rows reach their tables without delay.")
    ahead = max(numbers.get("headrace_journal_ahead_seconds", ()), default=0.0)
    if ahead > _LAG_SECONDS:
        message = (
            f"The clock was set back; what comes is stamped with the time it had, {ahead / 3600:.1f} h ahead."
        )
        cure = "Wait until the clock has caught up, or mark the journals as closed and restart: docs/how-to/clock.md."
        yield Finding("received times", "warning", message, cure)
    letters = sum(numbers.get("headrace_dead_letters", ()))
    if letters:
        cure = "`headrace dead-letters list` shows them with their reasons."
        yield Finding("dead letters", "warning", f"{letters:.0f} could not be stored.", cure)


# What a server needs


def check_port(host: str | None = None, port: int | None = None) -> Iterator[Finding]:
    """Whether the port that a server would listen on is free; by default that of the settings."""
    try:
        server = load_settings({"server.host": host, "server.port": port}, os.environ).settings.server
    except ProblemError as error:
        yield Finding("settings", "bad", error.problems[0].message, error.problems[0].hint or "")
        return
    where = f"{server.host}:{server.port}"
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            cures = {
                errno.EADDRINUSE: f"Another program has it: stop it (ss -ltnp | grep :{server.port}), or use --port.",
                errno.EACCES: "Ports below 1024 are for root: use a higher one with --port.",
            }
            cure = cures.get(error.errno or 0, "Choose an address of this machine with --host.")
            yield Finding("port", "bad", f"Nothing can listen on {where}: {error.strerror}.", cure)
            return
    yield Finding("port", "good", f"{where} is free.")


def check_folder(folder: Path) -> Iterator[Finding]:
    """The data folder: who may read it, room on its disk, formats and store."""
    if not folder.is_dir():
        parent = next((path for path in folder.parents if path.exists()), Path("/"))
        yield Finding("data folder", "good", f"{folder} will be made at the first start.")
        yield check_disk(parent)
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        cure = f'Give it to the user that runs the server: chown -R "$USER" {folder}'
        yield Finding("data folder", "bad", f"{folder} cannot be read and written by this user.", cure)
        return
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        yield Finding("data folder", "warning", f"Others may look into {folder}.", f"chmod 700 {folder}")
    else:
        yield Finding("data folder", "good", f"{folder} is its owner's alone.")
    yield check_disk(folder)
    yield from check_store(DataFolder(folder))
    yield from check_tables(DataFolder(folder))


def check_disk(folder: Path) -> Finding:
    """Room on the disk of a folder."""
    usage = shutil.disk_usage(folder)
    free = f"{usage.free / _MIB / 1024:.1f} GB of {usage.total / _MIB / 1024:.1f} GB are free at {folder}."
    if usage.free < _NO_BYTES:
        cure = "Make room: without it nothing is accepted (503). `headrace table list` shows retention."
        return Finding("disk", "bad", free, cure)
    if usage.free < _FEW_BYTES or usage.free < 0.03 * usage.total:
        return Finding(
            "disk", "warning", free, "Make room, or lower journal.max_bytes and the tables' retention."
        )
    return Finding("disk", "good", free)


def check_store(folder: DataFolder) -> Iterator[Finding]:
    """The formats and the resource store."""
    for found in (_check_formats(folder), _check_database(folder)):
        if found is not None:
            yield found


def check_tables(folder: DataFolder) -> Iterator[Finding]:
    """The tables' files, as far as damage shows without reading all rows."""
    # Loaded only here: what reads tables' files takes its time.
    from headrace.tables.damage import damaged_files
    from headrace.tables.recovery import stored_tables

    for key in stored_tables(folder.tables):
        try:
            damaged = damaged_files(key.folder(folder.tables))
        except OSError as error:
            yield Finding("tables", "bad", f"Table {key.name} cannot be read: {error}.", "Check the disk.")
            continue
        if damaged:
            named = ", ".join(map(str, damaged[:_NAMED_FILES]))
            more = f" and {len(damaged) - _NAMED_FILES} more" if len(damaged) > _NAMED_FILES else ""
            cure = "Check the disk, put back copies of them and start again, or delete the table."
            yield Finding("tables", "bad", f"Table {key.name} has damaged files: {named}{more}.", cure)


def _check_formats(folder: DataFolder) -> Finding | None:
    path = folder.root / "format.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return Finding("formats", "good", "Nothing has been stored yet.")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return Finding("formats", "bad", f"{path} cannot be read: {error}.", "Put back a copy of it.")
    newer = [name for name, version in found.items() if version > FORMATS.get(name, 0)]
    if newer:
        cure = "Start the newer release that wrote it."
        return Finding("formats", "bad", f"A newer release wrote: {', '.join(newer)}.", cure)
    return None


def _check_database(folder: DataFolder) -> Finding | None:
    if not folder.store.exists():
        return None
    try:
        address = f"file:{quote(str(folder.store.absolute()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return Finding(
            "store", "bad", f"{folder.store} cannot be read: {error}.", "Put back a copy of store.db."
        )
    if verdict != "ok":
        return Finding(
            "store", "bad", f"{folder.store} is damaged: {verdict}.", "Put back a copy of store.db."
        )
    return Finding("store", "good", "The resource store is whole.")
