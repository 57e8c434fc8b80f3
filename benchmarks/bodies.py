"""Rows and bodies for the load generator: every body is distinct, and making one costs microseconds.

A gzip body is put together from a stored block that holds one row with a serial number and a part that was
deflated beforehand; only the checksum is computed anew.
"""

from __future__ import annotations

import json
import random
import struct
import zlib
from dataclasses import dataclass

from isal import isal_zlib

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_ID_DIGITS = 12


@dataclass(frozen=True)
class Shape:
    """A kind of rows: its stream declaration, table columns and transform."""

    columns: dict[str, str]
    transform: str
    output: dict[str, str]


PLAIN = Shape(
    columns={
        "Time": "datetime",
        "Id": "long",
        "Host": "string",
        "Level": "string",
        "Service": "string",
        "DurationMs": "real",
        "Status": "int",
        "Message": "string",
        "Trace": "string",
        "Context": "dynamic",
    },
    transform=(
        "source | where Level != 'Trace' | extend TimeGenerated = Time, Slow = DurationMs > 500.0"
        " | project-away Time"
    ),
    output={
        "TimeGenerated": "datetime",
        "Id": "long",
        "Host": "string",
        "Level": "string",
        "Service": "string",
        "DurationMs": "real",
        "Status": "int",
        "Message": "string",
        "Trace": "string",
        "Context": "dynamic",
        "Slow": "boolean",
    },
)
PARSE = Shape(
    columns={"Time": "datetime", "Id": "long", "RawData": "string"},
    transform=(
        "source | parse RawData with ClientIp:string ' - ' User:string ' [' * '] \"' Verb:string ' '"
        " Path:string ' ' Protocol:string '\" ' Status:int ' ' Size:long ' \"' Referrer:string '\" \"'"
        " Agent:string '\"'"
        " | project TimeGenerated = Time, Id, ClientIp, User, Verb, Path, Protocol, Status, Size,"
        " Referrer, Agent"
    ),
    output={
        "TimeGenerated": "datetime",
        "Id": "long",
        "ClientIp": "string",
        "User": "string",
        "Verb": "string",
        "Path": "string",
        "Protocol": "string",
        "Status": "int",
        "Size": "long",
        "Referrer": "string",
        "Agent": "string",
    },
)
SHAPES = {"plain": PLAIN, "parse": PARSE}


class BodyMaker:
    """Makes distinct request bodies of about `size` bytes of JSON, gzip or as they are. Not shared between threads."""

    def __init__(self, shape: str, size: int, time: str, seed: int, *, gzip: bool = True) -> None:
        self._gzip = gzip
        self._random = random.Random(seed)
        self._make_row = _plain_row if shape == "plain" else _parse_row
        rows: list[bytes] = []
        first = self._row(0, time)
        length = len(first) + 2
        while length < size:
            row = b"," + self._row(len(rows) + 1, time)
            rows.append(row)
            length += len(row)
        self._prefix, self._suffix = (b"[" + first).split(b"%0*d" % (_ID_DIGITS, 0), 1)
        self._rest = b"".join(rows) + b"]"
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        self._deflated = deflate.compress(self._rest) + deflate.flush(zlib.Z_FINISH)
        self.rows = len(rows) + 1
        self.kept_rows = sum(b'"Level":"Trace"' not in row for row in [first, *rows])
        self.json_bytes = length

    def make(self, serial: int) -> bytes:
        """A body whose first row has this serial number."""
        head = self._prefix + b"%0*d" % (_ID_DIGITS, serial) + self._suffix
        if not self._gzip:
            return head + self._rest
        crc = isal_zlib.crc32(self._rest, isal_zlib.crc32(head))
        size = len(head)
        stored = b"\x00" + struct.pack("<HH", size, size ^ 0xFFFF) + head
        return _HEADER + stored + self._deflated + struct.pack("<II", crc, size + len(self._rest))

    def _row(self, number: int, time: str) -> bytes:
        return json.dumps(self._make_row(self._random, number, time), separators=(",", ":")).encode()


def _words(source: random.Random, count: int) -> str:
    return " ".join(source.choice(_VOCABULARY) for _ in range(count))


_VOCABULARY = [
    "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz", k=3 + seed % 7)) for seed in range(2000)
]


def _plain_row(source: random.Random, number: int, time: str) -> dict[str, object]:
    # The first row of a body carries the serial number in place of its zeros, and is always kept.
    level = "Info" if number == 0 else source.choice(["Trace", "Debug", "Info", "Info", "Warning", "Error"])
    return {
        "Time": time,
        "Id": number,
        "Host": f"web-{source.randrange(200):03d}.example.net",
        "Level": level,
        "Service": source.choice(["checkout", "search", "basket", "login", "media"]),
        "DurationMs": round(source.expovariate(1 / 120), 3),
        "Status": source.choice([200, 200, 200, 201, 204, 301, 404, 500]),
        "Message": _words(source, 30),
        "Trace": f"{0:0{_ID_DIGITS}d}" if number == 0 else f"{source.getrandbits(128):032x}",
        "Context": {
            "user": {"id": source.randrange(10**6), "tier": source.choice(["free", "pro", "team"])},
            "tags": [_words(source, 1), _words(source, 1)],
            "region": source.choice(["north", "south", "east", "west"]),
            "retry": source.random() < 0.1,
        },
    }


def _parse_row(source: random.Random, number: int, time: str) -> dict[str, object]:
    tail = f"{0:0{_ID_DIGITS}d}" if number == 0 else f"{source.getrandbits(48):x}"
    address = ".".join(str(source.randrange(256)) for _ in range(3))
    verb = source.choice(["GET", "POST", "PUT"])
    line = (
        f"10.{address} - user{source.randrange(9999)}"
        f' [10/Oct/2026:13:55:36 +0000] "{verb} /shop/{_words(source, 1)}/{tail} HTTP/1.1"'
        f" {source.choice([200, 204, 301, 404])} {source.randrange(10**6)}"
        f' "https://example.net/{_words(source, 1)}" "Mozilla/5.0 ({_words(source, 6)})"'
    )
    return {"Time": time, "Id": number, "RawData": line}
