"""Faults that a test asks for, met by Azure's own ingestion client and its policy of retries."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import ClientSecretCredential
from azure.monitor.ingestion import LogsIngestionClient
from typer.testing import CliRunner

from headrace.cli.main import app
from headrace.errors import ProblemError
from headrace.testing.faults import Faults
from headrace.testing.local import LiveRule, LocalServer, local_server, variables_set
from tests.servers import ServerProcess

pytestmark = pytest.mark.server

RULE: dict[str, Any] = {
    "location": "local",
    "properties": {
        "streamDeclarations": {
            "Custom-Try": {"columns": [{"name": "Test", "type": "string"}, {"name": "Number", "type": "int"}]}
        },
        "dataFlows": [
            {
                "streams": ["Custom-Try"],
                "destinations": ["workspace"],
                "outputStream": "Custom-Tries_CL",
                "transformKql": "source | extend TimeGenerated = now()",
            }
        ],
    },
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server for tests, with two gateways."""
    folder = tmp_path_factory.mktemp("faults")
    settings = folder / "headrace.toml"
    settings.write_text("server.gateways = 2\n")
    with local_server(folder, "--config", str(settings)) as server, variables_set(server.variables):
        yield server


@pytest.fixture(scope="module")
def credential(local: LocalServer) -> Iterator[ClientSecretCredential]:
    with local.credential() as credential:
        yield credential


@pytest.fixture(scope="module")
def rule(local: LocalServer) -> LiveRule:
    local.create_table("Tries_CL", {"Test": "string", "Number": "int"})
    return local.apply_rule(RULE)


@pytest.fixture
def faults(local: LocalServer) -> Iterator[Faults]:
    yield local.faults
    local.faults.clear()


class Sender:
    """Sends rows of one test, and finds them again."""

    def __init__(self, local: LocalServer, credential: ClientSecretCredential, rule: LiveRule) -> None:
        self.local = local
        self.credential = credential
        self.rule = rule
        self.test = str(uuid.uuid4())

    def client(self, **options: Any) -> LogsIngestionClient:
        return LogsIngestionClient(self.rule.endpoint, self.credential, **options)

    def send(self, client: LogsIngestionClient, *numbers: int, **options: Any) -> None:
        rows = [{"Test": self.test, "Number": number} for number in numbers]
        client.upload(self.rule.immutable_id, self.rule.stream, rows, **options)

    def numbers(self, count: int) -> list[int]:
        """The numbers that have arrived, once there are `count`."""
        rows = self.local.wait_for(f"Tries_CL | where Test == '{self.test}' | project Number", count)
        return sorted(row["Number"] for row in rows)


@pytest.fixture
def sender(local: LocalServer, credential: ClientSecretCredential, rule: LiveRule) -> Sender:
    return Sender(local, credential, rule)


def test_the_client_tries_again_as_it_is_told(faults: Faults, sender: Sender) -> None:
    throttled = faults.answer(429, times=2, retry_after=1)
    with sender.client() as client:
        sender.send(client, 1)
    assert throttled.hits() == 2
    assert sender.numbers(1) == [1]


def test_an_error_that_stays_is_told_and_nothing_kept(faults: Faults, sender: Sender) -> None:
    with sender.client(retry_total=1, retry_backoff_factor=0.01) as client:
        with faults.answer(503, times=None) as down, pytest.raises(HttpResponseError) as refused:
            sender.send(client, 1)
        assert refused.value.status_code == 503 and refused.value.error is not None
        assert refused.value.error.code == "ServiceUnavailable"
        assert "A test asked this server" in str(refused.value.error.message)
        with pytest.raises(LookupError):
            down.hits()
        sender.send(client, 2)
    assert sender.numbers(1) == [2]


def test_a_token_that_is_not_taken_any_more(faults: Faults, sender: Sender) -> None:
    faults.answer(401)
    with sender.client() as client:
        with pytest.raises(ClientAuthenticationError) as refused:
            sender.send(client, 1)
        assert refused.value.error is not None and refused.value.error.code == "ExpiredAuthenticationToken"
        assert refused.value.response is not None
        challenge = refused.value.response.headers["WWW-Authenticate"]
        assert challenge.startswith(f'Bearer authorization_uri="{sender.rule.endpoint}/')
        sender.send(client, 2)
    assert sender.numbers(1) == [2]


def test_a_sender_that_splits_what_is_too_long(faults: Faults, sender: Sender) -> None:
    def send_in_parts(client: LogsIngestionClient, *numbers: int) -> None:
        try:
            sender.send(client, *numbers)
        except HttpResponseError as error:
            assert error.status_code == 413 and error.error is not None
            assert error.error.code == "ContentLengthLimitExceeded"
            half = len(numbers) // 2
            send_in_parts(client, *numbers[:half])
            send_in_parts(client, *numbers[half:])

    too_long = faults.answer(413, times=2)
    with sender.client() as client:
        send_in_parts(client, 1, 2, 3, 4)
    assert too_long.hits() == 2
    assert sender.numbers(4) == [1, 2, 3, 4]


def test_a_lost_answer_doubles_no_rows(faults: Faults, sender: Sender) -> None:
    lost = faults.answer(503, times=1, after=True)
    with sender.client(retry_backoff_factor=0.01) as client:
        sender.send(client, 1)
        assert lost.hits() == 1
        sender.send(client, 2)
    assert sender.numbers(2) == [1, 2]


def test_a_cut_connection(faults: Faults, sender: Sender) -> None:
    with sender.client() as client:
        faults.cut()
        with pytest.raises((ServiceRequestError, ServiceResponseError)):
            sender.send(client, 1)
        faults.cut(after=True)
        call = str(uuid.uuid4())
        with pytest.raises((ServiceRequestError, ServiceResponseError)):
            sender.send(client, 2, request_id=call)
        sender.send(client, 2, request_id=call)
        sender.send(client, 3)
    assert sender.numbers(2) == [2, 3]


@pytest.mark.parametrize("after", [False, True])
def test_a_slow_answer(faults: Faults, sender: Sender, after: bool) -> None:
    slow = faults.delay(0.8, after=after)
    call = str(uuid.uuid4())
    with sender.client(read_timeout=0.3) as client, pytest.raises(ServiceResponseError):
        sender.send(client, 1, request_id=call)
    with sender.client() as client:
        sender.send(client, 1, request_id=call)
        faults.delay(0.1, after=after)
        sender.send(client, 2)
    assert slow.hits() == 1
    assert sender.numbers(2) == [1, 2]


def test_counts_hold_over_gateways_and_the_body_is_read_before_the_answer(
    faults: Faults, sender: Sender
) -> None:
    token = sender.credential.get_token("https://monitor.azure.com/.default").token
    rule = sender.rule
    body = [{"Test": sender.test, "Number": 1, "Filler": "x" * 1_000_000}]

    def post(_number: int) -> httpx.Response:
        # A connection of its own each: the kernel spreads them over the gateways.
        return httpx.post(
            f"{rule.endpoint}/dataCollectionRules/{rule.immutable_id}/streams/{rule.stream}",
            params={"api-version": "2023-01-01"},
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            verify=context,
        )

    context = ssl.create_default_context(cafile=sender.local.variables["HEADRACE_CA_FILE"])
    faults.answer(429, times=5, retry_after=7)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(post, range(12)))
    throttled = [answer for answer in answers if answer.status_code == 429]
    assert sorted(answer.status_code for answer in answers) == [204] * 7 + [429] * 5
    for answer in throttled:
        assert answer.headers["Retry-After"] == "7" and answer.headers["x-ms-request-id"]
        assert answer.headers["x-ms-error-code"] == answer.json()["error"]["code"] == "TooManyRequests"


def test_the_command_asks_for_the_same(faults: Faults) -> None:
    def fault(*arguments: str) -> str:
        # The variables of the server are set, as after sourcing its env file.
        done = CliRunner().invoke(app, ["fault", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    asked = [
        fault("answer", "429", "--times", "3", "--retry-after", "2"),
        fault("delay", "0.5", "--after"),
        fault("cut", "--always"),
    ]
    listed = json.loads(fault("list", "--output", "json"))
    assert [one["id"] for one in listed] == asked
    assert [(one["fault"], one["times"], one["after"], one["hits"]) for one in listed] == [
        ("answer", 3, False, 0),
        ("delay", 1, True, 0),
        ("cut", None, False, 0),
    ]
    fault("clear", asked[1])
    assert [one["id"] for one in faults.armed()] == [asked[0], asked[2]]
    fault("clear")
    assert faults.armed() == []


def test_what_cannot_be_asked_for_is_said(faults: Faults) -> None:
    with pytest.raises(ProblemError, match="status must be one of 401"):
        faults.answer(418)
    with pytest.raises(ProblemError, match="retryAfter goes with status 429 and 503"):
        faults.answer(413, retry_after=1)
    with pytest.raises(ProblemError, match=r"\$\.times"):
        faults.cut(times=0)
    with pytest.raises(ProblemError, match=r"\$\.seconds"):
        faults.delay(3600)


def test_a_server_takes_none_unless_it_was_started_for_it(server: ServerProcess) -> None:
    local = LocalServer(server.env)
    try:
        with pytest.raises(ProblemError, match="takes no faults"):
            local.faults.cut()
    finally:
        local.close()
    folder = Path(server.env["HEADRACE_CA_FILE"]).parents[1]
    assert not (folder / "faults").exists()
