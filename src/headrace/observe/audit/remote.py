"""How gateways and the query process tell the engine of events: datagrams on a unix socket, sent and forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from headrace import sockets
from headrace.observe.audit.events import AuditEvent, Auditor

MOST_BYTES = 2000
"""What a datagram may hold everywhere."""

_CUT = 160
_TEXTS = ("operation", "code", "principal", "client", "issuer", "address", "correlation", "scope", "details")
_DECODER = msgspec.json.Decoder(AuditEvent)
_log = logging.getLogger(__name__)


class RemoteAuditor:
    """An `Auditor` whose events the engine writes. While the engine is down they are lost, and counted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lost = 0

    def tell(self, event: AuditEvent) -> None:
        """See `Auditor.tell`."""
        if self._lost:
            event = msgspec.structs.replace(
                event, details=f"{event.details} ({self._lost} lost before)"[:_CUT]
            )
        content = _fitting(event)
        try:
            with (
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
                sockets.usable_path(self._path) as path,
            ):
                sender.setblocking(False)
                sender.sendto(content, path)
        except OSError:
            self._lost += 1
            _log.warning("an audit event did not reach the engine: %s %s", event.operation, event.code)
        else:
            self._lost = 0

    async def record(self, event: AuditEvent) -> None:
        """See `Auditor.record`; nobody says when it is durable."""
        self.tell(event)


def _fitting(event: AuditEvent) -> bytes:
    """The event within a datagram's bound: its texts are cut, as far as it takes."""
    content = msgspec.json.encode(event)
    most = _CUT
    while len(content) > MOST_BYTES and most:
        cut = {name: getattr(event, name)[:most] for name in _TEXTS}
        content = msgspec.json.encode(msgspec.structs.replace(event, **cut))
        most //= 2
    return content


@contextlib.asynccontextmanager
async def receiving(path: Path, auditor: Auditor) -> AsyncIterator[None]:
    """Take the other processes' events inside the block."""

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            try:
                auditor.tell(_DECODER.decode(data))
            except msgspec.DecodeError:
                _log.warning("an audit event could not be read")

    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        with sockets.usable_path(path) as short:
            listener.bind(short)
        path.chmod(0o600)
        listener.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Receiver, sock=listener)
    except BaseException:
        listener.close()
        raise
    try:
        yield
    finally:
        transport.close()
        sockets.remove(path)
