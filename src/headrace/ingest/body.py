"""Request bodies, read within bounds of size and time."""

from __future__ import annotations

import asyncio
from typing import Self

from starlette.types import Receive


class NoRoomError(Exception):
    """The bodies under way have used up their memory. `drained`: all of this one has come."""

    def __init__(self, *, drained: bool) -> None:
        super().__init__("no room for another body")
        self.drained = drained


class Budget:
    """The bytes that all bodies under way may take together."""

    def __init__(self, most: int) -> None:
        self.left = most


class Lease:
    """What one request holds of a budget; given back at the end of the `with` block."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def take(self, size: int) -> bool:
        """Hold `size` bytes more; False, and nothing more held, when there are not so many left."""
        if size > self._budget.left:
            return False
        self._budget.left -= size
        self._held += size
        return True

    def release(self) -> None:
        """Give all of it back."""
        self._budget.left += self._held
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


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


async def read_body(receive: Receive, limit: int, seconds: float, lease: Lease) -> bytes:
    """The whole body, at most `limit` bytes, within `seconds`; `lease` holds its memory.

    Raises `ClientGoneError`, `SlowBodyError`, `NoRoomError`, and `BodyTooLargeError` once the rest was drained.
    """
    try:
        async with asyncio.timeout(seconds):
            pieces, size, whole = await _gather(receive, limit, lease)
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


async def _gather(receive: Receive, limit: int, lease: Lease) -> tuple[list[bytes], int, bool]:
    """The pieces of a body up to the first beyond `limit`, their size, and whether they are all of it."""
    pieces: list[bytes] = []
    size = 0
    more = True
    while more and size <= limit:
        piece, more = await _piece(receive)
        if not lease.take(len(piece)):
            raise NoRoomError(drained=not more)
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
