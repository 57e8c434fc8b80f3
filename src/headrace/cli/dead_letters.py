"""`headrace dead-letters`: rows that could not be stored: find them, look at them, send them again."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.client import EnvFileOption, Server, problem_of
from headrace.cli.ingestion import REPEAT, lasting_id, pause_before_next, post_rows, stream_url
from headrace.cli.interrupt import Interrupt
from headrace.cli.output import OutputForm, OutputOption, error_console, print_record, print_rows
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    import httpx

    from headrace.transform.dead_letters import DeadLetter

group = typer.Typer(
    help="Rows that could not be stored: list, show and send them again.", no_args_is_help=True
)

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        help="Data folder of the server. Default: that of this shell's server, else the user's own."
    ),
]
RuleOption = Annotated[str | None, typer.Option(help="Only those of this rule (immutableId).")]
ReasonOption = Annotated[str | None, typer.Option(help="Only those with this reason.")]

MARKS = "replayed"
"""The file beside the letters that says which were sent again: a key and a time a line."""

_SHOWN = ("id", "received", "rule", "stream", "reason", "rows", "replayed")
_CALL_BYTES = 900_000
_CALL_ROWS = 10_000
_SHOWN_CHARACTERS = 4000
_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


@group.command("list")
def list_letters(
    data_dir: DataDirOption = None,
    rule: RuleOption = None,
    reason: ReasonOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that were sent again.")] = False,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """List the dead letters that wait, oldest first: payloads and rows that could not be stored, and why."""
    folder = LetterFolder.find(data_dir)
    marks = folder.marks()
    rows = [
        [summary[name] for name in _SHOWN]
        for letter in folder.letters(rule, reason)
        for summary in (_summary(letter, marks),)
        if every or summary["replayed"] is None
    ]
    print_rows(_SHOWN, rows, output)


@group.command("show")
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a letter, as `list` prints it.")],
    data_dir: DataDirOption = None,
    body: Annotated[bool, typer.Option("--body", help="Write its original bytes, and nothing else.")] = False,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Show one dead letter: reason, rule version, request ids and the data."""
    folder = LetterFolder.find(data_dir)
    letter = folder.find_letter(letter_id)
    if body:
        sys.stdout.buffer.write(letter.body)
        return
    text = _text(letter)
    if output is OutputForm.TABLE and len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}... ({len(letter.body)} bytes; --body writes all)"
    record = _summary(letter, folder.marks()) | {
        "message": letter.message,
        "ruleVersion": letter.rule_version,
        "flow": None if letter.flow < 0 else letter.flow,
        "row": None if letter.row < 0 else letter.row,
        "requestId": letter.request_id,
        "clientRequestId": letter.client_request_id,
        "encoding": letter.encoding,
        "bytes": len(letter.body),
        "data": text,
    }
    print_record(record, output)


@group.command("replay")
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Letters to send again.")] = None,
    data_dir: DataDirOption = None,
    rule: RuleOption = None,
    reason: ReasonOption = None,
    every: Annotated[bool, typer.Option("--all", help="All that wait.")] = False,
    to: Annotated[
        str | None, typer.Option(help="immutableId of another rule to send to, with the same stream.")
    ] = None,
    other_flows: Annotated[
        bool, typer.Option(help="Send also where other data flows of the rule get the rows once more.")
    ] = False,
    env_file: EnvFileOption = None,
) -> None:
    """Send dead letters to their rule again, once its fault is mended, and mark them.

    They go through the ingestion API as any client's calls, under the rule as it is now. A letter that is
    marked is not sent again by `--all`, `--rule` or `--reason`; by its id it is.
    """
    folder = LetterFolder.find(data_dir)
    if not (ids or every or rule or reason):
        raise ProblemError(
            Problem("NothingChosen", "Which letters?", hint="Give ids, or --rule, --reason or --all.")
        )
    chosen = _chosen(folder, ids or [], rule, reason)
    with Server.find(env_file or _env_file_of(data_dir)) as server, Interrupt() as interrupt:
        if not other_flows:
            _refuse_doubles(server, chosen, to)
        sender = _Sender(server, folder, interrupt, to)
        for part in _calls(chosen):
            sender.send(part)
            if interrupt.asked:
                break
    noun = "letter" if sender.sent == 1 else "letters"
    error_console().print(f"[bold green]{sender.sent} {noun}[/bold green] sent again.")
    if sender.problems:
        raise ProblemError(sender.problems)


class LetterFolder:
    """The dead letters of a data folder, as a reader beside the server sees them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def find(cls, data_dir: Path | None) -> LetterFolder:
        """The letters of this data folder, or of the one that the settings name. Raises `ProblemError`."""
        from headrace.data_folder import DataFolder
        from headrace.settings import load_settings

        # The shell that knows the server on this machine knows its data folder too: the CA stands in it.
        authority = os.environ.get("HEADRACE_CA_FILE")
        if data_dir is None and "HEADRACE_DATA_DIR" not in os.environ and authority:
            beside = Path(authority).parent.parent
            data_dir = beside if DataFolder(beside).dead_letters.is_dir() else None
        root = load_settings({"data_dir": data_dir}, os.environ).settings.data_dir
        path = DataFolder(root).dead_letters
        if not path.is_dir():
            raise ProblemError(
                Problem(
                    "NoDataFolder",
                    f"{root} is not the data folder of a server.",
                    hint="Name it with --data-dir, on the server's own machine.",
                )
            )
        return cls(path)

    def letters(self, rule: str | None = None, reason: str | None = None) -> Iterator[DeadLetter]:
        """The letters of a rule or reason, oldest first. Raises `ProblemError` when they cannot be read."""
        from headrace.transform.dead_letters import read_letters

        try:
            for letter in read_letters(self._path):
                if rule is not None and letter.rule.lower() != rule.lower():
                    continue
                if reason is None or letter.reason.lower() == reason.lower():
                    yield letter
        except OSError as error:
            raise ProblemError(self._unusable(error)) from None

    def find_letter(self, letter_id: str) -> DeadLetter:
        """The letter of an id. Raises `ProblemError` when there is none."""
        for letter in self.letters():
            if letter_name(letter) == letter_id.lower():
                return letter
        raise ProblemError(
            Problem(
                "LetterNotFound",
                f"There is no dead letter {letter_id}.",
                hint="`headrace dead-letters list --all` shows their ids.",
            )
        )

    def marks(self) -> Mapping[str, str]:
        """When each letter was last sent again, by its key."""
        try:
            lines = (self._path / MARKS).read_text("utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ProblemError(self._unusable(error)) from None
        return dict(line.split(" ", 1) for line in lines if " " in line)

    def mark(self, letters: Sequence[DeadLetter], moment: str) -> None:
        """Remember, durably, that these were sent again."""
        text = "".join(f"{_key(letter)} {moment}\n" for letter in letters)
        try:
            with (self._path / MARKS).open("a", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ProblemError(self._unusable(error)) from None

    def _unusable(self, error: OSError) -> Problem:
        return Problem(
            "DeadLettersUnusable",
            f"{self._path}: {error.strerror}.",
            hint="Run this as the user that the server runs as.",
        )


class _Sender:
    """Sends letters through the ingestion API; what is refused is kept in `problems`, and the rest goes on."""

    def __init__(self, server: Server, folder: LetterFolder, interrupt: Interrupt, to: str | None) -> None:
        self.sent = 0
        self.problems: list[Problem] = []
        self._server = server
        self._folder = folder
        self._interrupt = interrupt
        self._to = to

    def send(self, part: _Part) -> None:
        """One call. Raises `ProblemError` when the server cannot be reached or knows us not."""
        from headrace.clock import SystemClock, iso

        first = part.send[0]
        answer = self._answer(stream_url(self._server, self._to or first.rule, first.stream), part.send)
        if answer.status_code == 204:
            self._folder.mark(part.settled, iso(SystemClock().now()))
            self.sent += len(part.settled)
            return
        problem = problem_of(answer)
        if answer.status_code in (401, 403):
            raise ProblemError(problem)
        more = len(part.settled) - 1
        names = f"{letter_name(first)} and {more} more" if more else letter_name(first)
        self.problems.append(
            Problem(problem.code, f"{names}: {problem.message}", hint=problem.hint, details=problem.details)
        )

    def _answer(self, url: str, letters: Sequence[DeadLetter]) -> httpx.Response:
        """The last answer, when it is not one to try again for or we were asked to stop."""
        pauses = iter(_PAUSES)
        while True:
            answer = post_rows(self._server, url, _body(letters), letters[0].encoding, _call_id(letters))
            pause = next(pauses, None)
            if answer.status_code not in REPEAT or pause is None or self._interrupt.asked:
                return answer
            self._interrupt.sleep(pause_before_next(answer, pause, _PAUSES[-1]))


def letter_name(letter: DeadLetter) -> str:
    """A letter's id: journal, offset, and flow and row where it is about one of them (`0b5c1f0a-17-f0-r3`)."""
    flow = f"-f{letter.flow}" if letter.flow >= 0 else ""
    row = f"-r{letter.row}" if letter.row >= 0 else ""
    return f"{letter.journal[:8]}-{letter.offset}{flow}{row}".lower()


def _key(letter: DeadLetter) -> str:
    return f"{letter.journal}/{letter.offset}/{letter.flow}/{letter.row}"


def _summary(letter: DeadLetter, marks: Mapping[str, str]) -> dict[str, Any]:
    from headrace.clock import iso

    return {
        "id": letter_name(letter),
        "received": iso(letter.received),
        "rule": letter.rule,
        "stream": letter.stream,
        "reason": letter.reason,
        "rows": letter.rows,
        "replayed": marks.get(_key(letter)),
    }


def _text(letter: DeadLetter) -> str:
    """The data as text, as far as it is."""
    from headrace.wire import gzip

    data = letter.body
    if letter.encoding == "gzip":
        try:
            data = gzip.inflate(data, 64 * 1024 * 1024).content
        except (gzip.GzipError, gzip.TooLargeError):
            return f"({len(data)} bytes that cannot be inflated)"
    return data.decode("utf-8", "replace")


def _env_file_of(data_dir: Path | None) -> Path | None:
    """The env file of the server on a data folder that was named."""
    if data_dir is None:
        return None
    from headrace.cli.client import local_env_file

    path = local_env_file(data_dir)
    return path if path.exists() else None


def _chosen(
    folder: LetterFolder, ids: Sequence[str], rule: str | None, reason: str | None
) -> list[DeadLetter]:
    from headrace.observe.log_errors import STREAM

    if ids:
        wanted = {each.lower() for each in ids}
        found = [letter for letter in folder.letters(rule, reason) if letter_name(letter) in wanted]
        missing = wanted - {letter_name(letter) for letter in found}
        if missing:
            folder.find_letter(min(missing))
    else:
        marks = folder.marks()
        found = [letter for letter in folder.letters(rule, reason) if _key(letter) not in marks]
    return [letter for letter in found if letter.stream != STREAM]


@dataclass(frozen=True, slots=True)
class _Part:
    """What goes in one call, and the letters that this settles: several flows may have one for the same row."""

    send: tuple[DeadLetter, ...]
    settled: tuple[DeadLetter, ...]


def _calls(letters: Sequence[DeadLetter]) -> Iterator[_Part]:
    """A payload alone, rows of the same rule and stream together; nothing twice."""
    whole = {(letter.journal, letter.offset) for letter in letters if letter.row < 0}
    same: dict[tuple[str, int, int], list[DeadLetter]] = {}
    for letter in letters:
        row = -1 if (letter.journal, letter.offset) in whole else letter.row
        group = same.setdefault((letter.journal, letter.offset, row), [])
        # In a group that has the payload, it is the one that is sent.
        group.insert(0 if letter.row < 0 else len(group), letter)
    rows: list[list[DeadLetter]] = []
    size = 0
    for group in same.values():
        first = group[0]
        if first.row < 0:
            yield _Part((first,), tuple(group))
            continue
        fits = rows and (first.rule, first.stream) == (rows[0][0].rule, rows[0][0].stream)
        if rows and not (fits and size + len(first.body) < _CALL_BYTES and len(rows) < _CALL_ROWS):
            yield _rows_part(rows)
            rows, size = [], 0
        rows.append(group)
        size += len(first.body) + 1
    if rows:
        yield _rows_part(rows)


def _rows_part(groups: Sequence[Sequence[DeadLetter]]) -> _Part:
    settled = tuple(letter for group in groups for letter in group)
    return _Part(tuple(group[0] for group in groups), settled)


def _body(letters: Sequence[DeadLetter]) -> bytes:
    """A payload as it was sent, or an array of the rows' own text."""
    if letters[0].row < 0:
        return letters[0].body
    return b"[" + b",".join(letter.body for letter in letters) + b"]"


def _call_id(letters: Sequence[DeadLetter]) -> str:
    """The same letters have the same id in every try."""
    return lasting_id("\n".join(_key(letter) for letter in letters))


def _refuse_doubles(server: Server, letters: Sequence[DeadLetter], to: str | None) -> None:
    """Where one of several data flows failed, the others have the rows: raises `ProblemError` that says so."""
    partial = {(to or letter.rule, letter.stream) for letter in letters if letter.flow >= 0}
    if not partial:
        return
    outputs = _outputs(server)
    for rule, stream in sorted(partial):
        found = outputs.get((rule.lower(), stream), [])
        if len(found) > 1:
            raise ProblemError(
                Problem(
                    "OtherFlows",
                    f"Rule {rule} sends {stream} to {', '.join(found)}: all of them would get the rows.",
                    hint="With --other-flows they do; or send --to a rule that has only the flow that failed.",
                )
            )


def _outputs(server: Server) -> dict[tuple[str, str], list[str]]:
    """By rule (immutableId, lower case) and stream: the tables that its rows go to."""
    outputs: dict[tuple[str, str], list[str]] = {}
    for rule in server.rules():
        properties = rule["properties"]
        for flow in properties.get("dataFlows") or ():
            for stream in flow.get("streams") or ():
                tables = outputs.setdefault((str(properties.get("immutableId")).lower(), stream), [])
                output = flow.get("outputStream") or stream
                tables += [output.partition("-")[2]] * len(flow.get("destinations") or ())
    return outputs
