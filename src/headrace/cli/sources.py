"""Rows from files: NDJSON, a JSON array, or CSV, plain or gzip, in chunks that fit one request."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

import msgspec

from headrace.errors import Problem, ProblemError

CHUNK_BYTES = 1_000_000


class SourceFormat(StrEnum):
    """How rows stand in a file."""

    NDJSON = "ndjson"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows for one request: `body` is their JSON array, `first` the place of the first of them in the file."""

    first: int
    rows: int
    body: bytes


def guess_format(path: Path) -> SourceFormat:
    """The format that a file's name tells; NDJSON where it tells none."""
    names = [suffix.lower().lstrip(".") for suffix in path.suffixes]
    for name in reversed(names):
        if name in set(SourceFormat):
            return SourceFormat(name)
        if name == "jsonl":
            return SourceFormat.NDJSON
    return SourceFormat.NDJSON


def open_source(path: Path) -> IO[bytes]:
    """The file's bytes, unzipped if it is gzip; `-` is standard input. Raises `ProblemError`."""
    try:
        raw: IO[bytes] = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    except OSError as error:
        raise ProblemError(Problem("FileUnreadable", f"{path}: {error.strerror}.")) from None
    buffered = io.BufferedReader(raw)  # type: ignore[type-var]
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=buffered)  # type: ignore[return-value]
    return buffered


def chunks(stream: IO[bytes], form: SourceFormat, skip: int) -> Iterator[Chunk]:
    """The rows after the first `skip`, gathered to about a megabyte each. Raises `ProblemError` with the place."""
    gathered: list[bytes] = []
    size = 2
    first = skip
    for place, row in enumerate(_rows(stream, form)):
        if place < skip:
            continue
        if gathered and size + len(row) + 1 > CHUNK_BYTES:
            yield Chunk(first, len(gathered), b"[" + b",".join(gathered) + b"]")
            gathered, size, first = [], 2, place
        gathered.append(row)
        size += len(row) + 1
    if gathered:
        yield Chunk(first, len(gathered), b"[" + b",".join(gathered) + b"]")


def _rows(stream: IO[bytes], form: SourceFormat) -> Iterator[bytes]:
    if form is SourceFormat.NDJSON:
        return _lines(stream)
    if form is SourceFormat.JSON:
        return _array(stream)
    return _csv(stream)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(stream, 1):
        stripped = line.strip()
        if stripped:
            _check_object(stripped, f"line {number}")
            yield stripped


def _array(stream: IO[bytes]) -> Iterator[bytes]:
    try:
        members = msgspec.json.decode(stream.read(), type=list[msgspec.Raw])
    except msgspec.DecodeError as error:
        raise ProblemError(Problem("NotAnArray", f"The file is not a JSON array: {error}.")) from None
    for number, member in enumerate(members):
        row = bytes(member)
        _check_object(row, f"member {number}")
        yield row


def _csv(stream: IO[bytes]) -> Iterator[bytes]:
    """Every value goes as text: the rule's stream declaration gives it its type; an empty cell is left out."""
    for row in csv.DictReader(io.TextIOWrapper(stream, "utf-8-sig", newline="")):
        values = {name: value for name, value in row.items() if name is not None and value != ""}
        yield json.dumps(values, ensure_ascii=False).encode()


class _Anything(msgspec.Struct):
    """Any JSON object: its members are checked and skipped."""


_OBJECT = msgspec.json.Decoder(_Anything)


def _check_object(row: bytes, place: str) -> None:
    try:
        _OBJECT.decode(row)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError(Problem("NotAnObject", f"The {place} is not a JSON object: {error}.")) from None
