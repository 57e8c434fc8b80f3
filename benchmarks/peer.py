"""The same load against Fluent Bit's `http` input with its `file` output, where its binary is at hand.

It has no token, schema, transform or query. It is measured in three ways: as it is fastest (JSON over plain HTTP,
buffered in memory), with what Headrace is sent (gzip over TLS), and so with its buffer on disk.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.sender import Load, Sent, start_load
from headrace.tls import TlsFiles, ensure_tls_files

_START_SECONDS = 20.0
_STILL_SECONDS = 2.0
"""A file that has not grown for so long is complete: more than the second after which Fluent Bit flushes."""
_LOOK_SECONDS = 0.05
_PIECE = 1 << 20


@dataclass(frozen=True)
class Way:
    """How the peer is set up, and spoken to."""

    name: str
    wire: bool
    """TLS and gzip, as Headrace is sent it; else JSON over plain HTTP."""
    on_disk: bool
    """Chunks are files that are synced before they are handed on; else they are memory alone."""


WAYS = (
    Way("plain", wire=False, on_disk=False),
    Way("tls_gzip", wire=True, on_disk=False),
    Way("tls_gzip_disk", wire=True, on_disk=True),
)


def peer_binary() -> str | None:
    """Where Fluent Bit is: HEADRACE_TEST_FLUENT_BIT, else on the path."""
    return os.environ.get("HEADRACE_TEST_FLUENT_BIT") or shutil.which("fluent-bit")


def run_peer(load: Load) -> dict[str, Any]:
    """The peer's figures under `load`, by way; or why there are none."""
    binary = peer_binary()
    if binary is None:
        return {"peer": "skipped: no fluent-bit on the path, and HEADRACE_TEST_FLUENT_BIT names none"}
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    figures: dict[str, Any] = {"peer": version.splitlines()[0]}
    for way in WAYS:
        with tempfile.TemporaryDirectory(prefix="headrace-peer-") as folder:
            found = _Peer(binary, Path(folder), way).run(load)
        figures |= {f"peer_{way.name}_{name}": value for name, value in found.items()}
    return figures


class _Peer:
    """One set-up of the peer, in a folder of its own."""

    def __init__(self, binary: str, folder: Path, way: Way) -> None:
        self._binary = binary
        self._folder = folder
        self._way = way
        self._tls = ensure_tls_files(folder / "tls", ())
        self._rows = folder / "rows"

    def run(self, load: Load) -> dict[str, Any]:
        """Send `load` and wait until the file has stopped growing."""
        scheme = "https" if self._way.wire else "http"
        with self._serving() as (process, port):
            sent = start_load(
                dataclasses.replace(
                    load,
                    url=f"{scheme}://localhost:{port}/bench?x=1",
                    more_urls=(),
                    ca=str(self._tls.ca),
                    gzip=self._way.wire,
                )
            ).result()
            memory = process.memory_full_info().pss
            drained = self._drained() - sent.started
            times = process.cpu_times()
        return _figures(sent, drained, times.user + times.system, memory, self._written())

    def _drained(self) -> float:
        """When the file grew for the last time."""
        size, changed = -1, time.monotonic()
        while time.monotonic() - changed < _STILL_SECONDS:
            now = self._rows.stat().st_size if self._rows.exists() else 0
            if now != size:
                size, changed = now, time.monotonic()
            time.sleep(_LOOK_SECONDS)
        return changed

    def _written(self) -> int:
        """Rows in the file: a line is one."""
        with self._rows.open("rb") as file:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(_PIECE), b""))

    @contextmanager
    def _serving(self) -> Iterator[tuple[psutil.Process, int]]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        configuration = self._folder / "fluent-bit.conf"
        configuration.write_text(_configuration(self._way, port, self._folder, self._tls))
        log = self._folder / "fluent-bit.log"
        with log.open("wb") as output:
            command = [self._binary, "--quiet", "--config", str(configuration)]
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{self._binary} did not start:\n{log.read_text('utf-8', 'replace')}")
                time.sleep(0.1)
            yield psutil.Process(process.pid), port
        finally:
            process.kill()
            process.wait()


def _configuration(way: Way, port: int, folder: Path, tls: TlsFiles) -> str:
    """Fluent Bit's file: defaults, and what `way` asks for.

    It closes connections that it has not read from for ten seconds, its own pauses included: not here.
    """
    service = {"flush": "1", "log_level": "error"}
    source = {"name": "http", "listen": "127.0.0.1", "port": str(port), "http_server.idle_timeout": "0"}
    output = {"name": "file", "match": "*", "path": str(folder), "file": "rows"}
    if way.wire:
        source |= {"tls": "on", "tls.crt_file": str(tls.certificate), "tls.key_file": str(tls.key)}
    if way.on_disk:
        service |= {"storage.path": str(folder / "chunks"), "storage.sync": "full"}
        source |= {"storage.type": "filesystem"}
    sections = (("SERVICE", service), ("INPUT", source), ("OUTPUT", output))
    return "\n".join(
        f"[{title}]\n" + "".join(f"    {name} {value}\n" for name, value in settings.items())
        for title, settings in sections
    )


def _figures(sent: Sent, drained: float, cpu: float, memory: int, written: int) -> dict[str, Any]:
    latencies = sorted(sent.latencies) or [0.0]
    megabytes = sent.json_bytes / 1e6
    return {
        "accepted_mb_s": round(megabytes / sent.seconds, 1),
        "written_mb_s": round(megabytes / drained, 1),
        "ack_p50_ms": round(latencies[len(latencies) // 2] * 1e3, 2),
        "ack_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 2),
        "cpu_ms_per_mb": round(cpu * 1e3 / megabytes, 2),
        "rss_mb": round(memory / 2**20),
        "rows": sent.rows,
        "rows_missing": sent.rows - written,
        "refused": sent.refused,
    }


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
