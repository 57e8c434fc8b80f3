"""`headrace send`: uploads a file of rows, with progress, retries and a resume point."""

from __future__ import annotations

import gzip
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from headrace.cli.client import EnvFileOption, Server, problem_of
from headrace.cli.ingestion import REPEAT, lasting_id, pause_before_next, post_rows, stream_url
from headrace.cli.interrupt import Interrupt
from headrace.cli.output import counted, error_console, examples
from headrace.cli.sources import Chunk, Source, SourceFormat, guess_format
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    import httpx

TRIES = 8
"""How often a chunk is sent before the upload gives up."""
_LONGEST_PAUSE = 30.0


class ResumePoint(msgspec.Struct, frozen=True):
    """How far an upload came: rows that the server has, of which file to which rule.

    `upload` is the upload's own id: sending a file once more is another upload.
    """

    file: str
    target: str
    rows: int
    upload: str


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    ways = examples(
        "send rows.ndjson",
        "send rows.csv.gz --rule web --stream Custom-Web",
        "send - --format json < rows.json",
    )
    app.command("send", rich_help_panel=panel, epilog=ways)(send)


def send(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="NDJSON, JSON array or CSV, plain or gzip; - reads standard input."
        ),
    ],
    rule: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="immutableId or name of the rule. Default: the sample rule."),
    ] = None,
    stream: Annotated[
        str | None, typer.Option(metavar="NAME", help="Stream of the rule. Default: its only one.")
    ] = None,
    form: Annotated[
        SourceFormat | None, typer.Option("--format", help="Default: by the file's name, else NDJSON.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on where an interrupted upload of this file stopped.")
    ] = True,
    env_file: EnvFileOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Upload rows to a rule in chunks of a megabyte, each durable before the next.

    If it is interrupted, the same command goes on where it stopped: the resume point is kept in
    `FILE.headrace-resume` and removed at the end. Ctrl-C stops after the chunk that is under way.
    """
    source_form = form or guess_format(file)
    with Server.find(env_file) as server, Interrupt() as interrupt, Source(file) as source:
        immutable_id, name = _target(server, rule, stream)
        point = ResumeFile(file, f"{immutable_id}/{name}") if resume and str(file) != "-" else None
        done, upload_id = point.begin() if point else (0, str(uuid.uuid4()))
        upload = Upload(server, immutable_id, name, interrupt, upload_id)
        if done and not quiet:
            error_console().print(f"[dim]Going on after {done} rows that the server already has.[/dim]")
        with _progress(quiet, source) as progress:
            task = progress.add_task("Sending", total=_size(source), rows=done)
            for chunk in source.chunks(source_form, done):
                upload.send(chunk)
                done = chunk.first + chunk.rows
                if point:
                    point.write(done)
                progress.update(task, completed=_place(source), rows=done)
                if interrupt.asked:
                    break
    if interrupt.asked:
        raise ProblemError(_stopped(done, resumable=point is not None))
    if point:
        point.remove()
    if not quiet:
        error_console().print(f"[bold green]{counted(done, 'row')}[/bold green] durable on the server.")


def _target(server: Server, rule: str | None, stream: str | None) -> tuple[str, str]:
    """The immutableId and the stream to send to. Raises `ProblemError`.

    The rule is only looked up where something is not given: a sender need not have the right to read it.
    """
    if rule in (None, server.variables.get("HEADRACE_DCR_IMMUTABLE_ID")):
        return server.variable("HEADRACE_DCR_IMMUTABLE_ID"), stream or server.variable("HEADRACE_DCR_STREAM")
    if rule.lower().startswith("dcr-") and stream is not None:
        return rule, stream
    try:
        properties = server.find_rule(None, rule)["properties"]
    except ProblemError as error:
        hint = "With its immutableId and --stream, a rule need not be looked up, nor the right be there to do so."
        raise ProblemError([replace(one, hint=one.hint or hint) for one in error.problems]) from None
    streams = sorted({one for flow in properties["dataFlows"] for one in flow["streams"]})
    if stream is None and len(streams) != 1:
        hint = f"Choose with --stream: {', '.join(streams)}."
        raise ProblemError(
            Problem("StreamMissing", f"The rule takes {counted(len(streams), 'stream')}.", hint=hint)
        )
    return properties["immutableId"], stream or streams[0]


class Upload:
    """Sends the chunks of the upload `upload_id` to one stream of one rule."""

    def __init__(
        self, server: Server, immutable_id: str, stream: str, interrupt: Interrupt, upload_id: str
    ) -> None:
        self._server = server
        self._immutable_id = immutable_id
        self._interrupt = interrupt
        self._upload_id = upload_id
        self._url = stream_url(server, immutable_id, stream)

    def send(self, chunk: Chunk) -> None:
        """Return once the server has the chunk on disk. Raises `ProblemError` when it will not take it."""
        content = gzip.compress(chunk.body, 6, mtime=0)
        # The same chunk has the same request id in every try, so that the server stores it once. An equal chunk at
        # another place, or of another upload, is no repetition.
        request_id = lasting_id(f"{self._upload_id}/{self._url}/{chunk.first}")
        last = Problem("NotSent", "The server took nothing.")
        wait = 0.0
        for pause in _pauses():
            self._interrupt.sleep(wait)
            if wait and self._interrupt.asked:
                break
            answer = self._try(content, request_id)
            if isinstance(answer, Problem):
                last = answer
                wait = pause
            elif answer.status_code == 204:
                return
            else:
                last = problem_of(answer)
                wait = pause_before_next(answer, pause, _LONGEST_PAUSE)
                if answer.status_code == 401:
                    self._server.forget_tokens()
                elif answer.status_code not in REPEAT:
                    break
        raise ProblemError(_with_place(last, chunk, self._cure(last)))

    def _cure(self, problem: Problem) -> str | None:
        if problem.code != "OperationFailed":
            return None
        # In Azure, too, an Owner may not send: whoever starts finds that hard to guess.
        client = self._server.variable("AZURE_CLIENT_ID")
        role = "'Monitoring Metrics Publisher'"
        return (
            "Sending takes a role of its own, also for an Owner: "
            f"headrace role assign {role} --principal {client} --scope {self._immutable_id}"
        )

    def _try(self, content: bytes, request_id: str) -> httpx.Response | Problem:
        try:
            return post_rows(self._server, self._url, content, "gzip", request_id)
        except ProblemError as error:
            if error.problems[0].code != "Unreachable":
                raise
            return error.problems[0]


class ResumeFile:
    """The resume point of a file, beside it."""

    def __init__(self, file: Path, target: str) -> None:
        self._path = file.with_name(f"{file.name}.headrace-resume")
        self._target = target
        self._upload_id = str(uuid.uuid4())
        try:
            stat = file.stat()
        except OSError as error:
            raise ProblemError(Problem("FileUnreadable", f"{file}: {error.strerror}.")) from None
        self._file = f"{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"

    def begin(self) -> tuple[int, str]:
        """Rows that the server has already, and the upload's id.

        No rows and a new id when nothing was begun, or the file changed or went to another rule. Raises `ProblemError`.
        """
        try:
            point = msgspec.json.decode(self._path.read_bytes(), type=ResumePoint)
        except (OSError, msgspec.DecodeError):
            point = None
        if point is not None and (point.file, point.target) == (self._file, self._target):
            self._upload_id = point.upload
            return max(0, point.rows), point.upload
        self.write(0)
        return 0, self._upload_id

    def write(self, rows: int) -> None:
        """Remember how far we came."""
        point = ResumePoint(self._file, self._target, rows, self._upload_id)
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        try:
            temporary.write_bytes(msgspec.json.encode(point))
            temporary.replace(self._path)
        except OSError as error:
            raise ProblemError(
                Problem(
                    "ResumePointUnwritable",
                    f"{self._path}: {error.strerror}. The server has the first {rows} rows.",
                    hint="Send with --no-resume, or from a folder that can be written to.",
                )
            ) from None

    def remove(self) -> None:
        """Forget: the upload is complete."""
        self._path.unlink(missing_ok=True)


def _pauses() -> Iterator[float]:
    """Seconds to wait after each try."""
    for attempt in range(TRIES):
        yield min(0.25 * 2**attempt, _LONGEST_PAUSE)


def _with_place(problem: Problem, chunk: Chunk, cure: str | None) -> Problem:
    place = f"rows {chunk.first + 1} to {chunk.first + chunk.rows}"
    message = f"{problem.message.rstrip('.')} (at {place})."
    return Problem(problem.code, message, hint=cure or problem.hint, details=problem.details)


def _stopped(rows: int, *, resumable: bool) -> Problem:
    hint = "The same command goes on from there." if resumable else None
    return Problem("Stopped", f"Stopped after {rows} rows, which are durable on the server.", hint=hint)


def _size(source: Source) -> int | None:
    """The bytes of the file, None when it has no size (a pipe)."""
    try:
        return os.fstat(source.raw.fileno()).st_size or None
    except (OSError, ValueError):
        return None


def _place(source: Source) -> int:
    """How many bytes of the file have been read."""
    try:
        return source.raw.tell()
    except (OSError, ValueError):
        return 0


def _progress(quiet: bool, source: Source) -> Progress:
    console = error_console()
    parts = [BarColumn(), TaskProgressColumn()] if _size(source) else []
    return Progress(
        TextColumn("{task.description}"),
        *parts,
        TextColumn("{task.fields[rows]} rows"),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )
