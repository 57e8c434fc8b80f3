"""The common way in: posts to the ingestion API that need nothing of a general HTTP server.

A post over HTTP/1.1 with a Content-Length is parsed by httptools, checked and handed to the journal in the very
callback that brought its last byte: no task, no ASGI. Whatever else a connection sends goes to the general
server, which takes the connection over for good, from the first byte of that request on; there `routes.py`
answers the ingestion API.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httptools

from headrace.ingest import errors
from headrace.ingest.body import Lease
from headrace.ingest.call import Call
from headrace.ingest.intake import Intake, journal_refusal
from headrace.journal.model import Pending
from headrace.wire.asgi import Headers
from headrace.wire.heads import MOST_HEAD_BYTES, MOST_LINES, MOST_TARGET_BYTES, names_host, refusal, rendered
from headrace.wire.problems import HttpError
from headrace.wire.targets import path_segments

HEAD_SECONDS = 30.0
"""Longest time for the head of a request, and for the first one to begin."""
IDLE_SECONDS = 75.0
_LOOK_SECONDS = 15.0
"""Longest time between two looks at the deadline: it moves with each request, the timer does not."""
_MOST_UNDER_WAY = 16
"""Requests that one connection may send ahead of their answers; beyond them it is not read from."""

_START = b"POST /dataCollectionRules/"
_HEAD_END = b"\r\n\r\n"
_UNCOMMON = frozenset({b"transfer-encoding", b"expect", b"origin"})
"""Headers of posts that the general server answers: of other bodies than those of known length, and of browsers."""
_NO_CONTENT = b"HTTP/1.1 204 No Content\r\n"
_CLOSE = (b"connection", b"close")
_LONGEST_REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a connection needs of the server that it belongs to.

    `scratch` takes what is read, of one connection at a time and only until it is told of. `general` makes the
    protocol that takes over. `connections` are those that are open: the server ends them by their method `shutdown`,
    and those that do not end by their `transport`. `headers` are those of every answer.
    """

    intake: Intake
    scratch: memoryview
    general: Callable[[], asyncio.Protocol]
    connections: set[Any]
    headers: Callable[[], Headers]


@dataclass(frozen=True, slots=True)
class _Target:
    """What a request's target names."""

    immutable_id: str
    stream: str
    query: bytes


class _Exchange:
    """One request and its answer."""

    __slots__ = ("answer", "awaited", "body", "call", "error", "lease", "missing", "pending")

    def __init__(self, call: Call, length: int, lease: Lease) -> None:
        self.call = call
        self.missing = length
        self.lease = lease
        self.body: list[bytes] = []
        self.pending: list[Pending] = []
        self.awaited = 0
        self.error: HttpError | None = None
        self.answer: bytes | None = None

    def refuse(self, error: HttpError) -> None:
        """Answer with an error, the first one, when the body has come; none of it is kept."""
        self.error = self.error or error
        self.body.clear()

    def add(self, piece: bytes) -> None:
        """The next piece of the body."""
        self.missing -= len(piece)
        if self.error is not None:
            return
        if self.lease.take(len(piece)):
            self.body.append(piece)
        else:
            self.refuse(errors.memory_full())

    def whole_body(self) -> bytes:
        """The body, which is let go."""
        body = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        return body


class IngestConnection(asyncio.BufferedProtocol):
    """A client's connection. Answers go out in the order of the requests, whichever is durable first.

    It is read into a buffer that is there already: for TLS, event loops would make one of a quarter of a megabyte anew
    for each read.
    """

    def __init__(self, surroundings: Surroundings, loop: asyncio.AbstractEventLoop) -> None:
        self._around = surroundings
        self._intake = surroundings.intake
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self._address = ""
        self._rest = b""
        """The beginning of a head, or what is held back while too much is under way."""
        self._receiving: _Exchange | None = None
        self._under_way: deque[_Exchange] = deque()
        self._leaving = False
        self._closing = False
        self._reading = True
        self._writable = True
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None

    # Called by the event loop and the server.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BufferedProtocol`."""
        self.transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._around.connections.add(self)
        self._due_in(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BufferedProtocol`. What is with the journal is kept, though nobody hears of it."""
        self._let_go()
        if self._receiving is not None:
            self._receiving.lease.release()
            self._receiving = None

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`. Event loops fill it and tell so in one go."""
        return self._around.scratch

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        data = bytes(self._around.scratch[:nbytes])
        if self._rest:
            data = self._rest + data
            self._rest = b""
        self._take(data)

    def pause_writing(self) -> None:
        """See `asyncio.BufferedProtocol`. A client that does not take its answers is not read from."""
        self._writable = False
        self._regulate()

    def resume_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._writable = True
        self._proceed()

    def shutdown(self) -> None:
        """Answer what has begun to come, then close."""
        self._closing = True
        self._proceed()

    # Requests.

    def _take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            exchange = self._receiving
            if exchange is not None:
                piece = data[at : at + exchange.missing]
                exchange.add(piece)
                at += len(piece)
                if not exchange.missing:
                    self._finish(exchange)
            elif self._held():
                self._rest = data[at:]
                break
            else:
                at = self._begin(data, at)
        self._regulate()

    def _begin(self, data: bytes, at: int) -> int:
        """Begin the request at `at`; where its body begins."""
        end = data.find(_HEAD_END, at) if data.startswith(_START, at) else -1
        if end < 0:
            self._keep_head(data[at:])
            return len(data)
        end += len(_HEAD_END)
        begun = self._common(data[at:end])
        if begun is None:
            self._leave(data[at:])
            return len(data)
        exchange, target = begun
        try:
            self._intake.check(exchange.call, target.query, target.immutable_id, target.stream)
        except HttpError as error:
            exchange.refuse(error)
        self._under_way.append(exchange)
        if not exchange.missing:
            self._finish(exchange)
            return end
        self._receiving = exchange
        if len(data) - end < exchange.missing:
            self._due_in(self._intake.settings.body_timeout_seconds)
        return end

    def _keep_head(self, head: bytes) -> None:
        """Keep a head that is not whole for later; its time runs from its first byte."""
        ours = head.startswith(_START) or _START.startswith(head)
        if not ours or len(head) > MOST_HEAD_BYTES or b"\n\n" in head:
            self._leave(head)
            return
        self._rest = head
        self._deadline = min(self._deadline, self._loop.time() + HEAD_SECONDS)
        self._arm()

    def _common(self, head: bytes) -> tuple[_Exchange, _Target] | None:
        """The request of a whole head and what it is for; None for one that the general server is to take."""
        parsed = _parsed(head)
        if parsed is None:
            return None
        remembered = len(parsed.url) <= _LONGEST_REMEMBERED
        target = _remembered_target(parsed.url) if remembered else _target(parsed.url)
        if target is None:
            return None
        call = Call(parsed.headers, self._address)
        length = call.content_length()
        if length is None or length > self._intake.settings.max_wire_bytes:
            return None
        return _Exchange(call, length, Lease(self._intake.budget)), target

    def _finish(self, exchange: _Exchange) -> None:
        """The body is whole."""
        self._receiving = None
        self._deadline = math.inf
        if exchange.error is None:
            try:
                exchange.pending = self._intake.keep(exchange.call, exchange.whole_body())
            except HttpError as error:
                exchange.refuse(error)
        exchange.awaited = len(exchange.pending)
        if not exchange.awaited:
            self._settle(exchange)
        for pending in exchange.pending:
            pending.add_done_callback(lambda done: self._done(exchange, done))

    def _done(self, exchange: _Exchange, pending: Pending) -> None:
        """One of what the answer waits for is durable or refused."""
        exchange.awaited -= 1
        problem = pending.exception()
        if problem is not None:
            exchange.refuse(journal_refusal(problem))
        if not exchange.awaited:
            self._settle(exchange)

    def _settle(self, exchange: _Exchange) -> None:
        """Answer a request: nothing of it is still to be done, but to tell of its refusal."""
        exchange.lease.release()
        if exchange.error is None:
            self._intake.kept(exchange.call, [pending.result() for pending in exchange.pending])
            self._answered(exchange)
            return
        note = self._intake.note_refused(exchange.call, exchange.error)
        if note is None:
            self._refused(exchange, exchange.error)
        else:
            error = exchange.error
            note.add_done_callback(lambda noted: self._refused(exchange, error, noted))

    def _refused(self, exchange: _Exchange, error: HttpError, noted: Pending | None = None) -> None:
        if noted is not None:
            # However it ended: the answer does not depend on it.
            noted.exception()
        self._intake.refused(exchange.call, error)
        self._answered(exchange)

    def _answered(self, exchange: _Exchange) -> None:
        exchange.answer = self._answer(exchange.call, exchange.error)
        self._send_answers()

    # Answers.

    def _answer(self, call: Call, error: HttpError | None) -> bytes:
        headers = [*self._around.headers(), *call.ids]
        if self._closing:
            headers.append(_CLOSE)
        if error is None:
            return rendered(_NO_CONTENT, headers)
        return refusal(error, headers)

    def _send_answers(self) -> None:
        """Send what is answered, in order."""
        answers: list[bytes] = []
        while self._under_way and self._under_way[0].answer is not None:
            answers.append(self._under_way.popleft().answer or b"")
        if not answers or self.transport is None:
            return
        self.transport.write(b"".join(answers))
        if not self._under_way:
            self._due_in(IDLE_SECONDS)
        self._proceed()

    # The connection.

    def _held(self) -> bool:
        """Whether no further request may begin."""
        return self._leaving or self._closing or len(self._under_way) >= _MOST_UNDER_WAY

    def _proceed(self) -> None:
        """Go on as far as what is under way allows: end, hand over, or take what was held back."""
        if self.transport is None:
            return
        if not self._under_way and self._leaving and self._writable:
            # Not before: the general server would never hear that the client does not take its answers.
            self._hand_over(self.transport)
        elif not self._under_way and self._closing:
            self.transport.close()
        elif self._rest and not self._reading and not self._held():
            rest, self._rest = self._rest, b""
            self._take(rest)
        else:
            self._regulate()

    def _regulate(self) -> None:
        """Read from the client only while what it sends can be taken and its answers can be sent."""
        wanted = self._writable and (self._receiving is not None or not self._held())
        if self.transport is None or wanted == self._reading or self.transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _leave(self, data: bytes) -> None:
        """Let the general server have the connection from `data` on, behind the answers that are due."""
        self._rest = data
        self._leaving = True
        self._proceed()

    def _hand_over(self, transport: asyncio.Transport) -> None:
        self._let_go()
        general = self._around.general()
        transport.set_protocol(general)
        general.connection_made(transport)
        if not self._reading:
            transport.resume_reading()
        general.data_received(self._rest)

    def _let_go(self) -> None:
        self.transport = None
        self._around.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Time.

    def _due_in(self, seconds: float) -> None:
        """The client has this long for what is due next."""
        self._deadline = self._loop.time() + seconds
        self._arm()

    def _arm(self) -> None:
        due = min(self._deadline, self._loop.time() + _LOOK_SECONDS)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._arm()
            return
        exchange, self._receiving = self._receiving, None
        self._closing = True
        self._deadline = math.inf
        if exchange is not None:
            exchange.refuse(errors.slow_body(self._intake.settings.body_timeout_seconds))
            self._settle(exchange)
        self._proceed()


class _Head:
    """Takes what the parser finds in a request's head. `alone`: nothing stands in front of it or behind it."""

    __slots__ = ("alone", "headers", "hosts", "url", "whole")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.hosts: list[bytes] = []
        self.alone = True
        self.whole = False

    def on_message_begin(self) -> None:
        """A request begins: a second one if the parser sees the end of a head where we do not."""
        self.alone = self.alone and not self.whole

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        self.headers[name] = value
        if name == b"host":
            self.hosts.append(value)

    def on_headers_complete(self) -> None:
        """All of the head is there."""
        self.whole = True

    def on_body(self, body: bytes) -> None:
        """Something stands behind what the parser takes for the head."""
        self.alone = False


def _parsed(head: bytes) -> _Head | None:
    """A head by the parser; None unless it is of the common form and within the bounds of one."""
    if len(head) > MOST_HEAD_BYTES or head.count(b"\n") > MOST_LINES:
        return None
    found = _Head()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(head)
    except httptools.HttpParserError:
        return None
    except httptools.HttpParserUpgrade:
        # The head is whole, and nobody has to heed the wish for another protocol.
        pass
    whole = found.whole and found.alone
    common = whole and parser.get_http_version() == "1.1" and parser.should_keep_alive()
    common = common and len(found.url) <= MOST_TARGET_BYTES and names_host(found.hosts, "1.1")
    return found if common and _UNCOMMON.isdisjoint(found.headers) else None


def _target(url: bytes) -> _Target | None:
    """What a target names; None for one that is not the API's one operation."""
    try:
        parts = httptools.parse_url(url)
    except httptools.HttpParserError:
        return None
    segments = path_segments(parts.path or b"")
    if len(segments) != 4 or segments[2].lower() != "streams":
        return None
    return _Target(segments[1], segments[3], parts.query or b"")


_remembered_target = lru_cache(maxsize=1024)(_target)
