"""The load generator: a process of its own that sends distinct bodies over TLS and times every answer.

It shares the machine's cores with what it measures, so it is made to be cheap: one thread, sockets that do not
block, requests put together from prepared parts.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import socket
import ssl
import time
from collections.abc import MutableSequence, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from urllib.parse import urlsplit

from benchmarks.bodies import BodyMaker

_TAKEN = (200, 201, 204)
_PIECE = 65536
_SHORTEST_PAUSE = 0.001


@dataclass(frozen=True)
class Load:
    """What to send, and for how long."""

    url: str
    ca: str
    token: str
    shape: str
    body_bytes: int
    connections: int
    seconds: float
    event_time: str
    max_mb_s: float | None = None
    first_serial: int = 0
    more_urls: tuple[str, ...] = ()
    """Further places to send to: each request goes to the next one in turn."""
    gzip: bool = True
    """Whether bodies are compressed, as the SDKs do."""
    processors: tuple[int, ...] = ()
    """Those that the generator may run on; empty: any."""


@dataclass
class Sent:
    """What was sent and taken (answered 204). Latencies are in seconds."""

    requests: int = 0
    json_bytes: int = 0
    rows: int = 0
    kept_rows: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    started: float = 0.0
    """By the machine's monotonic clock, which processes share."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Processor time of the generator."""
    latencies: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Running:
    """A generator at work."""

    process: BaseProcess
    connection: Connection
    kept: Sequence[int]

    def kept_rows(self) -> int:
        """Rows acknowledged so far that the transform keeps."""
        return sum(self.kept)

    def result(self) -> Sent:
        """Wait for its end; what it sent. Raises `EOFError` when it failed."""
        sent = Sent(**json.loads(self.connection.recv_bytes()))
        self.process.join()
        return sent


def start_load(load: Load) -> Running:
    """Start the generator."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    kept = context.RawArray("q", load.connections)
    process = context.Process(target=_generate, args=(load, theirs, kept), daemon=True)
    process.start()
    theirs.close()
    return Running(process, ours, kept)


def _generate(load: Load, result: Connection, kept: MutableSequence[int]) -> None:
    if load.processors:
        os.sched_setaffinity(0, load.processors)
    makers = [
        BodyMaker(load.shape, load.body_bytes, load.event_time, seed, gzip=load.gzip)
        for seed in range(load.connections)
    ]
    started = time.monotonic()
    used = time.process_time()
    clients = [_Client(load, maker, index, started) for index, maker in enumerate(makers)]
    _drive(clients, kept, started + load.seconds)
    sent = Sent(started=started, seconds=time.monotonic() - started, cpu_seconds=time.process_time() - used)
    for client in clients:
        client.close()
        client.add_to(sent)
    result.send_bytes(json.dumps(asdict(sent)).encode())


def _drive(clients: Sequence[_Client], kept: MutableSequence[int], end: float) -> None:
    """Let each client send a request as soon as the one before is answered (and due), until the time is up."""
    poll = select.epoll()
    by_descriptor = {client.descriptor: client for client in clients}
    for client in clients:
        poll.register(client.descriptor, select.EPOLLIN)
    resting = list(clients)
    waiting = 0
    while True:
        now = time.monotonic()
        for client in [each for each in resting if each.due <= now < end]:
            resting.remove(client)
            waiting += 1
            client.begin()
            if not client.send():
                poll.modify(client.descriptor, select.EPOLLIN | select.EPOLLOUT)
        if not waiting and now >= end:
            return
        pause = min((each.due for each in resting), default=end) - now if now < end else -1.0
        for descriptor, events in poll.poll(None if pause < 0 else max(pause, _SHORTEST_PAUSE)):
            client = by_descriptor[descriptor]
            if events & select.EPOLLOUT and client.send():
                poll.modify(descriptor, select.EPOLLIN)
            if client.receive():
                kept[client.index] = client.kept_rows
                resting.append(client)
                waiting -= 1


class _Client:
    """One keep-alive connection: a request, its answer, the next."""

    def __init__(self, load: Load, maker: BodyMaker, index: int, started: float) -> None:
        self.index = index
        self.due = started
        self.kept_rows = 0
        self._maker = maker
        self._step = load.connections
        self._serial = load.first_serial + index
        self._pace = load.connections * maker.json_bytes / (load.max_mb_s * 1e6) if load.max_mb_s else 0.0
        self._first = started + self._pace * index / load.connections
        self._taken = 0
        self._refused: dict[str, int] = {}
        self._latencies: list[float] = []
        self._began = 0.0
        self._unsent = memoryview(b"")
        self._answer = b""
        self._heads = [_head(load, url) for url in (load.url, *load.more_urls)]
        parts = urlsplit(load.url)
        self._stream = _connect(load, parts.hostname or "", parts.port or 443)
        self._stream.setblocking(False)
        self.descriptor = self._stream.fileno()
        self._next = self._request()

    def begin(self) -> None:
        """Take up the next request."""
        self._unsent = memoryview(self._next)
        self._began = time.monotonic()

    def send(self) -> bool:
        """Send as much as goes; whether that was all."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._stream.send(self._unsent) :]
        except (ssl.SSLWantWriteError, BlockingIOError):
            return False
        self._next = self._request()
        return True

    def receive(self) -> bool:
        """Read what there is; whether the answer is whole."""
        try:
            while not self._take(self._stream.recv(_PIECE)):
                pass
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        return True

    def _take(self, piece: bytes) -> bool:
        if not piece:
            raise ConnectionError("the server closed the connection")
        self._answer += piece
        head, end, body = self._answer.partition(b"\r\n\r\n")
        status = int(head[9:12] or b"0")
        if not end or (status != 204 and len(body) < int(_header(head, b"content-length") or b"0")):
            return False
        self._answered(status, head, time.monotonic())
        self._answer = b""
        return True

    def add_to(self, sent: Sent) -> None:
        """Add what this client sent."""
        sent.requests += self._taken
        sent.json_bytes += self._taken * self._maker.json_bytes
        sent.rows += self._taken * self._maker.rows
        sent.kept_rows += self.kept_rows
        sent.latencies += self._latencies
        for status, count in self._refused.items():
            sent.refused[status] = sent.refused.get(status, 0) + count

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def _answered(self, status: int, head: bytes, now: float) -> None:
        if status in _TAKEN:
            self._latencies.append(now - self._began)
            self._taken += 1
            self.kept_rows += self._maker.kept_rows
            self.due = self._first + self._pace * self._taken if self._pace else now
        else:
            self._refused[str(status)] = self._refused.get(str(status), 0) + 1
            self.due = now + float(_header(head, b"retry-after") or b"0.1")

    def _request(self) -> bytes:
        body = self._maker.make(self._serial)
        head = self._heads[self._serial % len(self._heads)]
        self._serial += self._step
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def _head(load: Load, url: str) -> bytes:
    """A request up to its length."""
    parts = urlsplit(url)
    encoding = "Content-Encoding: gzip\r\n" if load.gzip else ""
    return (
        f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {load.token}\r\n"
        f"Content-Type: application/json\r\n{encoding}Content-Length: "
    ).encode()


def _header(head: bytes, name: bytes) -> bytes:
    """The value of a header; empty when it is not there."""
    _, _, rest = head.lower().partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0]


def _connect(load: Load, host: str, port: int) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1" if host == "localhost" else host, port), timeout=60)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if load.url.startswith("http:"):
        return plain
    context = ssl.create_default_context(cafile=load.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context.wrap_socket(plain, server_hostname=host)
