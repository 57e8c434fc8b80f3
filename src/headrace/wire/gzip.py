"""Content-Encoding gzip, inflated within a bound.

RFC 1952 is taken by the letter: one member or several on end, each with a right checksum and length, and
nothing behind the last. What inflates here inflates everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

_WITH_GZIP_HEADER = 31
_MAGIC = b"\x1f\x8b"
_MAX_MEMBERS = 1024
_SLICE = 64 * 1024
_STEP = 256 * 1024
"""What comes out in one go where others are let in between."""
_BROKEN: Any = isal_zlib.error


class GzipError(Exception):
    """A body that is not gzip, or broken gzip; the message says where and is fit for an answer."""


class TooLargeError(Exception):
    """A body that inflates beyond `limit` bytes; it was not inflated further."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body inflates beyond {limit} bytes")
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Inflated:
    """What a body inflated to, and how many gzip members it had."""

    content: bytes
    members: int


def inflate(body: bytes, limit: int) -> Inflated:
    """Inflate `body` to at most `limit` bytes.

    Raises `GzipError` when it is not well-formed, `TooLargeError` when more than `limit` bytes come out: no
    more than `limit` + 1 bytes are ever made.
    """
    if not body.startswith(_MAGIC):
        raise GzipError(_not_gzip(body))
    first = _decompressor()
    content = _step(first, body, limit + 1, 0)
    if len(content) > limit:
        raise TooLargeError(limit)
    if not first.eof:
        raise GzipError(
            f"The gzip body ends at byte {len(body)}, before its end mark: it was cut short on the way."
        )
    if not first.unused_data:
        return Inflated(content, 1)
    return _several_members(body, len(body) - len(first.unused_data), Inflated(content, 1), limit)


def inflate_in_steps(body: bytes, limit: int, pause: Callable[[], None]) -> Inflated:
    """The same as `inflate`; `pause` is called after each step of about a millisecond."""
    if not body.startswith(_MAGIC):
        raise GzipError(_not_gzip(body))
    return _several_members(body, 0, Inflated(b"", 0), limit, pause)


def deflate(content: bytes) -> bytes:
    """`content` as one gzip member, made fast rather than small."""
    packed: bytes = isal_zlib.compress(content, 1, _WITH_GZIP_HEADER)
    return packed


def _several_members(
    body: bytes, start: int, before: Inflated, limit: int, pause: Callable[[], None] = lambda: None
) -> Inflated:
    """The members from `start` on, behind what is inflated already."""
    pieces = [before.content]
    size = len(before.content)
    members = before.members
    view = memoryview(body)
    while start < len(body):
        if body[start : start + 2] != _MAGIC:
            raise GzipError(
                f"The gzip data ends at byte {start}, but {len(body) - start} bytes follow it: "
                "send the gzip data and nothing behind it."
            )
        members += 1
        if members > _MAX_MEMBERS:
            raise GzipError(
                f"The gzip body has more than {_MAX_MEMBERS} members: compress the whole body as one."
            )
        member = _decompressor()
        while not member.eof:
            fed = view[start : start + _SLICE]
            if not fed:
                raise GzipError(
                    f"The gzip body ends at byte {len(body)}, before its end mark: it was cut short."
                )
            piece = _step(member, fed, min(limit + 1 - size, _STEP), start)
            size += len(piece)
            if size > limit:
                raise TooLargeError(limit)
            pieces.append(piece)
            start += len(fed) - len(member.unused_data) - len(member.unconsumed_tail)
            pause()
    return Inflated(b"".join(pieces), members)


def _decompressor() -> isal_zlib.Decompress:
    return isal_zlib.decompressobj(wbits=_WITH_GZIP_HEADER)


def _step(member: isal_zlib.Decompress, data: bytes | memoryview, most: int, start: int) -> bytes:
    try:
        content: bytes = member.decompress(data, most)
    except _BROKEN as error:
        raise GzipError(_reason(start, str(error))) from error
    return content


def _reason(start: int, message: str) -> str:
    where = f" in the gzip member at byte {start}" if start else ""
    if "checksum" in message:
        return f"The checksum or length at the end of the gzip data is wrong{where}: it was damaged."
    if "wrapper" in message:
        return f"The header of the gzip data is damaged{where}."
    return f"The compressed data is damaged{where}."


def _not_gzip(body: bytes) -> str:
    if body.lstrip()[:1] in (b"[", b"{"):
        return (
            "The body is not gzip although Content-Encoding says so; it looks like plain JSON. "
            "Compress it, or leave the header out."
        )
    return (
        "The body is not gzip although Content-Encoding says so: gzip begins with the bytes 1f 8b. "
        "Bare deflate and zlib data are not taken."
    )
