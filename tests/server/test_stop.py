"""How a server stops."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers import running_server

pytestmark = [pytest.mark.server]

_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_POST = (
    b"POST /dataCollectionRules/dcr-1/streams/Custom-X?api-version=2023-01-01 HTTP/1.1\r\n"
    b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
)


@contextmanager
def _idle_connection(address: str, ca: str, request: bytes) -> Iterator[bytes]:
    """A connection that stays open behind its one request; the answer's beginning."""
    parts = urlsplit(address)
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection((parts.hostname, parts.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as connection,
    ):
        connection.sendall(request)
        yield connection.recv(1000)


def test_clients_that_keep_their_connections_open_are_not_waited_for(tmp_path: Path) -> None:
    with ExitStack() as clients:
        with running_server(tmp_path) as server:
            known = server.env
            for request, status in ((_HEALTH, b"200"), (_POST, b"401")):
                idle = _idle_connection(known["HEADRACE_INGEST_URL"], known["HEADRACE_CA_FILE"], request)
                assert status in clients.enter_context(idle).splitlines()[0]
        assert "exceeded" not in server.log.read_text("utf-8"), "the server gave up waiting"
