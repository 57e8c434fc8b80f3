"""Bodies made to cost a gateway as much memory or time as they can, within the bounds of size."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping

MIB = 1024 * 1024
WIRE = 4 * MIB
INFLATED = 8 * MIB
"""The default bounds of a body as sent and after inflate."""


def _bomb(letter: bytes) -> bytes:
    """Four megabytes that inflate to about four gigabytes."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflate.compress(b"[")
    deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(letter * (16 * MIB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return (header + block * (WIRE // len(block)))[:WIRE]


def _filled(start: bytes, piece: bytes, end: bytes, size: int = INFLATED) -> bytes:
    return start + piece * ((size - len(start) - len(end)) // len(piece)) + end


def _objects(count: int) -> bytes:
    return b"[" + b",".join([b"{}"] * count) + b"]"


HOSTILE: Mapping[str, Callable[[], bytes]] = {
    "gzip of 4 GB of zeros": lambda: _bomb(b"\0"),
    "gzip of 4 GB of brackets": lambda: _bomb(b"["),
    "gzip in 1,024 members": lambda: gzip.compress(b" " * (INFLATED // 1024 - 1)) * 1024,
    "gzip in far too many members": lambda: gzip.compress(b"") * (WIRE // 20),
    "gzip of a million objects": lambda: gzip.compress(_objects(1_000_000), 1),
    "gzip of too many objects": lambda: gzip.compress(_filled(b"[{}", b",{}", b"]"), 1),
    "gzip of deep arrays": lambda: gzip.compress(b"[" * (INFLATED // 2) + b"]" * (INFLATED // 2), 1),
    "gzip of deep objects": lambda: gzip.compress(_filled(b"[", b'{"":', b"", INFLATED), 1),
    "gzip of one object of arrays": lambda: gzip.compress(_filled(b'[{"a":[[]', b",[]", b"]}]"), 1),
    "gzip of escaped quotes": lambda: gzip.compress(_filled(b'[{"a":"', b'\\"', b'"}]'), 1),
    "gzip of brackets in a string": lambda: gzip.compress(_filled(b'[{"a":"', b"[", b'"}]'), 1),
    "gzip of empty strings": lambda: gzip.compress(_filled(b'[{"a":[""', b',""', b"]}]"), 1),
    "gzip of letters of three bytes": lambda: gzip.compress(
        _filled(b'[{"a":"', "\u20ac".encode(), b'"}]'), 1
    ),
    "gzip that is broken at its end": lambda: gzip.compress(_filled(b"[{", b" ", b"}]"), 1)[:-4] + b"abcd",
}
"""By name, what makes the body; each comes with Content-Encoding gzip."""
