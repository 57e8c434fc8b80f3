"""Request bodies, read within bounds of size and time."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

DRAIN_BYTES = 64 * 1024 * 1024
"""Most bytes read and thrown away so that a client that is still sending sees the answer."""


class ClientGoneError(Exception):
    """The client hung up in the middle of its request: there is nobody to answer."""


class SlowBodyError(Exception):
    """The body did not arrive in time."""


class BodyTooLargeError(Exception):
    """The body is larger than the bound. `size` is its whole size where known, else what came of it.

    `drained` tells whether the client has got rid of all of it.
    """

    def __init__(self, size: int, *, drained: bool) -> None:
        super().__init__(f"a body of {size} bytes")
        self.size = size
        self.drained = drained


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole body, at most `limit` bytes, within `seconds`.

    Raises `ClientGoneError`, `SlowBodyError`, and `BodyTooLargeError` once the rest was drained.
    """
    try:
        async with asyncio.timeout(seconds):
            pieces, size, whole = await _gather(receive, limit)
    except TimeoutError as error:
        raise SlowBodyError from error
    if size <= limit:
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    pieces.clear()
    rest = 0
    if not whole:
        rest, whole = await _drain_within(receive, DRAIN_BYTES, seconds)
    raise BodyTooLargeError(size + rest, drained=whole)


async def drain_body(receive: Receive, seconds: float, most: int = DRAIN_BYTES) -> bool:
    """Read and throw away what the client still sends; False when it is more than `most` or takes longer.

    Raises `ClientGoneError`.
    """
    _, whole = await _drain_within(receive, most, seconds)
    return whole


async def _gather(receive: Receive, limit: int) -> tuple[list[bytes], int, bool]:
    """The pieces of a body up to the first beyond `limit`, their size, and whether they are all of it."""
    pieces: list[bytes] = []
    size = 0
    more = True
    while more and size <= limit:
        piece, more = await _piece(receive)
        pieces.append(piece)
        size += len(piece)
    return pieces, size, not more


async def _drain_within(receive: Receive, most: int, seconds: float) -> tuple[int, bool]:
    """How many bytes were thrown away, and whether the body ended there."""
    size = 0
    more = True
    try:
        async with asyncio.timeout(seconds):
            while more and size <= most:
                piece, more = await _piece(receive)
                size += len(piece)
    except TimeoutError:
        return size, False
    return size, not more


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGoneError
    return message.get("body", b""), message.get("more_body", False)
