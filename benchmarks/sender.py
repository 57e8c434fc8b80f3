"""The load generator: a process of its own that sends distinct bodies over TLS and times every answer."""

from __future__ import annotations

import json
import multiprocessing
import socket
import ssl
import threading
import time
from collections.abc import MutableSequence, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from urllib.parse import urlsplit

from benchmarks.bodies import BodyMaker

_TAKEN = (200, 201, 204)


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
    sent = Sent()
    lock = threading.Lock()
    makers = [
        BodyMaker(load.shape, load.body_bytes, load.event_time, seed) for seed in range(load.connections)
    ]
    started = sent.started = time.monotonic()
    used = time.process_time()
    threads = [
        threading.Thread(target=_connection, args=(load, maker, index, started, sent, lock, kept))
        for index, maker in enumerate(makers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent.seconds = time.monotonic() - started
    sent.cpu_seconds = time.process_time() - used
    result.send_bytes(json.dumps(asdict(sent)).encode())


def _connection(
    load: Load,
    maker: BodyMaker,
    index: int,
    started: float,
    total: Sent,
    lock: threading.Lock,
    kept: MutableSequence[int],
) -> None:
    """One keep-alive connection: a request, its answer, the next, until the time is up."""
    parts = urlsplit(load.url)
    head = (
        f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {load.token}\r\n"
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: "
    ).encode()
    mine = Sent()
    serial = load.first_serial + index
    pace = load.connections * maker.json_bytes / (load.max_mb_s * 1e6) if load.max_mb_s else 0.0
    stream = _connect(load, parts.hostname or "", parts.port or 443)
    try:
        while (now := time.monotonic()) - started < load.seconds:
            due = started + pace * (mine.requests + index / load.connections)
            if due > now:
                time.sleep(due - now)
            body = maker.make(serial)
            serial += load.connections
            before = time.monotonic()
            stream.sendall(head + str(len(body)).encode() + b"\r\n\r\n" + body)
            status, retry_after = _answer(stream)
            if status in _TAKEN:
                mine.latencies.append(time.monotonic() - before)
                mine.requests += 1
                mine.json_bytes += maker.json_bytes
                mine.rows += maker.rows
                mine.kept_rows += maker.kept_rows
                kept[index] = mine.kept_rows
            else:
                mine.refused[str(status)] = mine.refused.get(str(status), 0) + 1
                time.sleep(min(retry_after, max(0.0, load.seconds - (time.monotonic() - started))))
    finally:
        stream.close()
    with lock:
        total.requests += mine.requests
        total.json_bytes += mine.json_bytes
        total.rows += mine.rows
        total.kept_rows += mine.kept_rows
        total.latencies += mine.latencies
        for status_text, count in mine.refused.items():
            total.refused[status_text] = total.refused.get(status_text, 0) + count


def _connect(load: Load, host: str, port: int) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1" if host == "localhost" else host, port), timeout=60)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if load.url.startswith("http:"):
        return plain
    context = ssl.create_default_context(cafile=load.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context.wrap_socket(plain, server_hostname=host)


def _answer(stream: socket.socket) -> tuple[int, float]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = stream.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    status = int(head[9:12])
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    missing = int(headers.get(b"content-length", b"0")) - len(body)
    while missing > 0:
        missing -= len(stream.recv(min(missing, 65536)))
    return status, float(headers.get(b"retry-after", b"0.1"))
