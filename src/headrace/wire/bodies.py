"""Request bodies read whole within a bound, for the addresses that take small ones."""

from __future__ import annotations

from starlette.requests import Request

_READ_ON = 16
"""How many times the bound is read and thrown away, so that the client gets to read the refusal."""


class BodyTooLargeError(Exception):
    """A body with more bytes than its bound."""


async def read_bounded(request: Request, most: int) -> bytes:
    """The body, at most `most` bytes. Raises `BodyTooLargeError`, and `ClientDisconnect` when it ends early."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= most:
            pieces.append(piece)
        elif size > _READ_ON * most:
            break
    if size > most:
        raise BodyTooLargeError(f"a body of more than {most} bytes")
    return b"".join(pieces)
