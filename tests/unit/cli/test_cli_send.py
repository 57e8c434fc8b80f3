"""The resume point: it counts only for the same file and the same target."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.client import Server, problem_of
from headrace.cli.interrupt import Interrupt
from headrace.cli.send import TRIES, ResumeFile, Upload
from headrace.cli.sources import Chunk
from headrace.errors import ProblemError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.ndjson"
    path.write_text('{"a":1}\n')
    return path


def test_what_was_sent_is_remembered_and_forgotten(file: Path) -> None:
    point = ResumeFile(file, "dcr/stream")
    assert point.begin()[0] == 0
    point.write(10)
    point.write(25)
    assert ResumeFile(file, "dcr/stream").begin()[0] == 25
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "rows.ndjson",
        "rows.ndjson.headrace-resume",
    ]
    point.remove()
    point.remove()
    assert ResumeFile(file, "dcr/stream").begin()[0] == 0


def test_another_target_or_a_changed_file_starts_anew(file: Path) -> None:
    ResumeFile(file, "dcr/stream").write(25)
    assert ResumeFile(file, "dcr/other").begin()[0] == 0
    file.write_text('{"a":1}\n{"a":2}\n')
    assert ResumeFile(file, "dcr/stream").begin()[0] == 0


@given(st.binary(max_size=100))
def test_a_damaged_resume_file_starts_anew(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("resume") / "rows.csv"
    file.write_bytes(b"a\n")
    (file.parent / "rows.csv.headrace-resume").write_bytes(content)
    assert ResumeFile(file, "dcr/stream").begin()[0] == 0


def test_a_folder_that_cannot_be_written_says_what_is_sent(file: Path) -> None:
    point = ResumeFile(file, "dcr/stream")
    (file.parent / "rows.ndjson.headrace-resume.tmp").mkdir()
    with pytest.raises(ProblemError) as raised:
        point.write(7)
    assert "first 7 rows" in raised.value.problems[0].message and "--no-resume" in (
        raised.value.problems[0].hint or ""
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as raised:
        ResumeFile(tmp_path / "none", "dcr/stream")
    assert "none" in raised.value.problems[0].message


class Patient(Interrupt):
    """Notes how long it was to sleep, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_it_gives_up_at_once_after_the_last_try() -> None:
    nowhere = "https://localhost:1"
    variables = ("AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
    patient = Patient()
    with Server({**dict.fromkeys(variables, nowhere), "HEADRACE_INGEST_URL": nowhere}) as server:
        upload = Upload(server, "dcr-1", "Custom-A", patient, "u")
        with pytest.raises(ProblemError) as raised:
            upload.send(Chunk(0, 1, b"[{}]"))
    assert raised.value.problems[0].code == "Unreachable"
    assert patient.slept[0] == 0 and len(patient.slept) == TRIES
    assert patient.slept == sorted(patient.slept)


def test_the_first_signal_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.asked
        os.kill(os.getpid(), signal.SIGINT)
        interrupt.sleep(60)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b'{"error":{"code":"NotFound","message":"No rule."}}', "NotFound", "No rule."),
        (b'{"error":"invalid_client","error_description":"AADSTS7000215: Wrong.\\r\\nTrace ID: x"}', "invalid_client",
         "AADSTS7000215: Wrong."),
        (b"<html>", "HttpError", "The server answered 418."),
        (b"[1]", "HttpError", "The server answered 418."),
        (b'{"error":null}', "HttpError", "The server answered 418."),
    ],
)  # fmt: skip
def test_a_server_speaks_for_itself(content: bytes, code: str, words: str) -> None:
    found = problem_of(httpx.Response(418, content=content))
    assert (found.code, found.message) == (code, words)


def test_causes_are_kept() -> None:
    content = b'{"error":{"code":"A","message":"a","details":[{"code":"B","message":"b","target":"t"},7]}}'
    (detail,) = problem_of(httpx.Response(400, content=content)).details
    assert (detail.code, detail.message, detail.target) == ("B", "b", "t")


def test_a_server_that_is_not_there_is_one_clear_problem() -> None:
    with Server({"HEADRACE_ARM_URL": "https://127.0.0.1:1"}) as server, pytest.raises(ProblemError) as raised:
        server.request("GET", "https://127.0.0.1:1/")
    assert raised.value.problems[0].code == "Unreachable"
    with Server({}) as server, pytest.raises(ProblemError) as raised:
        server.variable("HEADRACE_ARM_URL")
    assert "HEADRACE_ARM_URL" in raised.value.problems[0].message


def test_a_ca_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as raised:
        Server({"HEADRACE_CA_FILE": str(tmp_path / "none.pem")})
    assert "HEADRACE_CA_FILE" in raised.value.problems[0].message


def test_env_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    for content, words in (
        (None, "No such file"),
        (b"\xff\xfe", "not a text file"),
        (b"nonsense here", "Line 1"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ProblemError) as raised:
            Server.find(path)
        assert words in raised.value.problems[0].message


def test_an_upload_keeps_its_id_until_it_is_done(file: Path) -> None:
    _, first = ResumeFile(file, "dcr/stream").begin()
    point = ResumeFile(file, "dcr/stream")
    assert point.begin() == (0, first)
    point.write(10)
    assert ResumeFile(file, "dcr/stream").begin() == (10, first)
    point.remove()
    assert ResumeFile(file, "dcr/stream").begin()[1] != first
