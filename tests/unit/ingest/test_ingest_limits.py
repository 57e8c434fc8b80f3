from __future__ import annotations

import asyncio
import gzip
import json
import uuid
from pathlib import Path

import pytest
from starlette.types import Message
from tests.ingest_kit import ROW, VERSION, Tenant, World, call, head

from headrace.ingest.body import DRAIN_BYTES
from headrace.journal.model import (
    DiskFullError,
    Entry,
    JournalBrokenError,
    JournalFullError,
    JournalWriter,
    Pending,
    Record,
)

BODY = json.dumps([ROW, ROW]).encode()


def test_the_answer_waits_for_the_journal(tmp_path: Path, tenant: Tenant) -> None:
    class Held:
        def __init__(self) -> None:
            self.release = asyncio.Event()
            self.waiting = asyncio.Event()

        journal_id = str(uuid.uuid4())

        def submit(self, entry: Entry, inflated: bytes | None = None) -> Pending:
            return asyncio.ensure_future(self._keep(entry))

        async def _keep(self, entry: Entry) -> Record:
            self.waiting.set()
            await self.release.wait()
            return Record(self.journal_id, 0, 0, entry)

        def backlog(self) -> int:
            return 0

        async def close(self) -> None:
            return

    held = Held()
    with World(tmp_path, tenant, journal=held) as world:

        async def scenario() -> None:
            posted = asyncio.create_task(
                call(world.gateway, path=world.path(), query=VERSION, headers=world.headers(), pieces=[BODY])
            )
            await held.waiting.wait()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not posted.done()
            held.release.set()
            answer = await posted
            assert answer is not None and answer.status == 204

        world.runner.run(scenario())


def test_a_declared_length_over_the_limit_is_drained_before_413(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, ingest={"max_wire_bytes": 1024 * 1024}) as world:
        pieces = [b" " * 65536] * 20
        size = str(65536 * 20)
        answer = world.post(*pieces, headers=world.headers(content_length=size))
        assert (answer.status, answer.taken) == (413, 65536 * 20)
        assert answer.error["code"] == "ContentLengthLimitExceeded"
        assert answer.error["message"] == (
            "Maximum allowed content length: 1048576 bytes (1 MB). Provided content length: 1310720 bytes."
        )
        assert answer.header("retry-after") is None
        assert answer.header("connection") is None


def test_a_body_without_length_over_the_limit_is_drained_before_413(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, ingest={"max_wire_bytes": 2048}) as world:
        fits = b"[" + b" " * 2046 + b"]"
        assert world.post(fits[:1000], fits[1000:]).status == 204
        answer = world.post(fits[:1000], fits[1000:], b" ", b"x" * 5000)
        assert (answer.status, answer.taken) == (413, 7049)
        assert "Provided content length: 7049 bytes." in answer.error["message"]


def test_a_lying_length_is_no_way_round_the_limit(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, ingest={"max_wire_bytes": 2048}) as world:
        assert world.post(b"x" * 3000, headers=world.headers(content_length="10")).status == 413


def test_an_absurd_length_is_not_waited_for(world: World) -> None:
    answer = world.post(b"x", headers=world.headers(content_length=str(10**12)), hang=True)
    assert (answer.status, answer.taken, answer.header("connection")) == (413, 0, "close")


def test_a_drain_is_bounded(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, ingest={"max_wire_bytes": 1024}) as world:
        pieces = [b"x" * DRAIN_BYTES, b"y" * 10, b"z"]
        answer = world.post(b"a" * 1025, *pieces)
        assert (answer.status, answer.header("connection")) == (413, "close")
        assert answer.taken == 1025 + DRAIN_BYTES + 10


def test_bodies_under_way_are_bounded(tmp_path: Path, tenant: Tenant) -> None:
    mib = 1024 * 1024
    with World(tmp_path, tenant, ingest={"max_pending_bytes": 2 * mib + 2}) as world:

        async def scenario() -> None:
            release = asyncio.Event()
            reading = asyncio.Semaphore(0)

            async def slow() -> int:
                pieces = [b"[{}" + b" " * (mib - 3), b"]"]

                async def receive() -> Message:
                    if len(pieces) == 1:
                        reading.release()
                        await release.wait()
                    return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

                sent: list[Message] = []

                async def send(message: Message) -> None:
                    sent.append(message)

                scope = {
                    "type": "http",
                    "method": "POST",
                    "path": world.path().decode(),
                    "query_string": VERSION,
                    "headers": world.headers(),
                }
                await world.gateway(scope, receive, send)
                status: int = sent[0]["status"]
                return status

            held = [asyncio.ensure_future(slow()) for _ in range(2)]
            for _ in held:
                await reading.acquire()
            refused = await call(
                world.gateway, path=world.path(), query=VERSION, headers=world.headers(), pieces=[BODY]
            )
            assert refused is not None
            assert (refused.status, refused.error["code"]) == (429, "TooManyRequests")
            assert refused.header("retry-after") == "1"
            release.set()
            assert await asyncio.gather(*held) == [204, 204]

        world.runner.run(scenario())
        assert world.post(BODY).status == 204
        for _ in range(5):
            assert world.post(b"[" * mib).status == 400
            assert world.attempt(b"[" * mib, gone=True) is None
        assert world.post(BODY).status == 204


def test_a_refusal_before_the_body_drains_it(world: World) -> None:
    answer = world.post(b"x" * 1000, b"y" * 1000, headers=world.headers(authorization=None))
    assert (answer.status, answer.taken) == (401, 2000)


def test_a_client_that_never_ends_its_body_is_answered_and_the_connection_closed(
    tmp_path: Path, tenant: Tenant
) -> None:
    with World(tmp_path, tenant, ingest={"body_timeout_seconds": 0.05}) as world:
        slow = world.post(b"[", hang=True)
        assert (slow.status, slow.error["code"]) == (408, "TimeoutExpired")
        assert slow.header("connection") == "close"
        unwelcome = world.post(b"[", hang=True, headers=world.headers(authorization=None))
        assert (unwelcome.status, unwelcome.header("connection")) == (401, "close")
        second = world.post(b"[", hang=True, headers=world.headers(authorization=None), http_version="2")
        assert (second.status, second.header("connection")) == (401, None)
        assert world.post(BODY).status == 204


def test_a_client_that_hangs_up_gets_and_stores_nothing(world: World) -> None:
    assert world.attempt(BODY[:10], gone=True) is None
    assert world.attempt(BODY[:10], gone=True, headers=world.headers(authorization=None)) is None
    assert world.records() == []


class Refusing:
    """A journal that cannot take anything, for a reason that the test sets."""

    journal_id = str(uuid.uuid4())

    def __init__(self, reason: Exception) -> None:
        self.reason = reason

    def submit(self, entry: Entry, inflated: bytes | None = None) -> Pending:
        raise self.reason

    def backlog(self) -> int:
        return 0

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("reason", "status", "code", "wait"),
    [
        (JournalFullError(2.3), 429, "TooManyRequests", "3"),
        (JournalFullError(0.0), 429, "TooManyRequests", "1"),
        (DiskFullError(7.0), 503, "ServiceUnavailable", "7"),
        (JournalBrokenError("EIO on /secret/path"), 503, "ServiceUnavailable", "5"),
    ],
)
def test_a_journal_that_refuses(
    tmp_path: Path, tenant: Tenant, reason: Exception, status: int, code: str, wait: str
) -> None:
    journal: JournalWriter = Refusing(reason)
    with World(tmp_path, tenant, journal=journal) as world:
        answer = world.post(BODY)
        assert (answer.status, answer.error["code"], answer.header("retry-after")) == (status, code, wait)
        assert "secret" not in answer.body.decode()
        assert world.notes.records == []


def test_a_gateway_without_the_rules_answers_503(world: World) -> None:
    world.rules.seconds = 5.1
    answer = world.post(BODY)
    assert (answer.status, answer.error["code"]) == (503, "ServiceUnavailable")
    assert answer.header("retry-after") == "1"
    world.rules.seconds = 4.9
    assert world.post(BODY).status == 204
    world.tenant.view_clock.advance(6_000_000)
    assert world.post(BODY).status == 503
    world.tenant.access.refresh()
    assert world.post(BODY).status == 204


def test_requests_a_minute(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, ingest={"rule_requests_per_minute": 2}) as world:
        assert [world.post(BODY).status for _ in range(3)] == [204, 204, 429]
        world.clock.advance(20_000_000)
        answer = world.post(BODY)
        assert (answer.error["code"], answer.header("retry-after")) == ("TooManyRequests", "40")
        world.clock.advance(40_000_000)
        assert world.post(BODY).status == 204
        assert len(world.payloads()) == 3
        (row, _) = world.error_rows()
        assert row.Message.startswith("A call was answered 429 TooManyRequests, nothing of it was stored: ")


def test_bytes_a_minute_count_the_json(tmp_path: Path, tenant: Tenant) -> None:
    body = json.dumps([{"a": "x" * 5000}]).encode()
    with World(tmp_path, tenant, ingest={"rule_bytes_per_minute": 6000}) as world:
        headers = world.headers(content_encoding="gzip")
        posted = [world.post(gzip.compress(body), headers=headers).status for _ in range(3)]
        assert posted == [204, 204, 429]


def test_one_rules_limit_leaves_another_alone(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, ingest={"rule_requests_per_minute": 1}) as world:
        other = head(2)
        world.rules.current = {rule.immutable_id: rule for rule in (world.rule, other)}
        world.app = tenant.app(world.rule, other)
        world.token = tenant.token(world.app)
        assert [world.post(BODY).status for _ in range(2)] == [204, 429]
        assert world.post(BODY, path=world.path(rule=other.immutable_id)).status == 204


def test_many_requests_at_once_are_each_stored_once(world: World) -> None:
    async def scenario() -> None:
        async def one(number: int) -> None:
            body = json.dumps([{"n": number}]).encode()
            answer = await call(
                world.gateway, path=world.path(), query=VERSION, headers=world.headers(), pieces=[body]
            )
            assert answer is not None and answer.status == 204

        await asyncio.gather(*(one(number) for number in range(200)))

    world.runner.run(scenario())
    stored = [json.loads(record.entry.body)[0]["n"] for record in world.records()]
    assert sorted(stored) == list(range(200))
