"""The same load against Fluent Bit's `http` input with its `file` output, where its binary is at hand.

It takes plain HTTP and answers before anything is on disk; there is no token, schema, transform or query.
"""

from __future__ import annotations

import dataclasses
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.sender import Load, start_load

_START_SECONDS = 20.0
_BINARY = "fluent-bit"


def run_peer(load: Load) -> dict[str, Any]:
    """Accepted MB/s and latencies of the peer under `load`; or why there are none."""
    binary = shutil.which(_BINARY)
    if binary is None:
        return {"peer": f"skipped: no {_BINARY} on the path"}
    with tempfile.TemporaryDirectory(prefix="headrace-peer-") as folder, _serving(binary, folder) as port:
        sent = start_load(
            dataclasses.replace(load, url=f"http://127.0.0.1:{port}/bench?x=1", more_urls=())
        ).result()
    latencies = sorted(sent.latencies) or [0.0]
    return {
        "peer": _BINARY,
        "peer_accepted_mb_s": round(sent.json_bytes / sent.seconds / 1e6, 1),
        "peer_ack_p50_ms": round(latencies[len(latencies) // 2] * 1e3, 2),
        "peer_ack_p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 2),
        "peer_refused": sent.refused,
    }


@contextmanager
def _serving(binary: str, folder: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    source = ["-i", "http", "-p", "listen=127.0.0.1", "-p", f"port={port}", "-p", "buffer_max_size=8M"]
    process = subprocess.Popen([binary, "-q", *source, "-o", "file", "-m", "*", "-p", f"path={folder}"])
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{binary} did not start")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
