"""What systemd is told of a server that it started with `Type=notify`: when it answers, and when it stops."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def told_of_readiness(environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """The server is ready inside the block. Without a service manager that wants to know, nothing is done."""
    address = environment.get("NOTIFY_SOCKET", "")
    _tell(address, "READY=1")
    try:
        yield
    finally:
        _tell(address, "STOPPING=1")


def _tell(address: str, state: str) -> None:
    if not address.startswith(("/", "@")):
        return
    # A leading @ stands for Linux's abstract names.
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(state.encode(), name)
        except OSError as error:
            _log.warning("the service manager was not told %s: %s", state, error)
