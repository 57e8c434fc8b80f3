"""Rows from files: NDJSON, a JSON array, or CSV, plain or gzip, in chunks that fit one request."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

import msgspec

from headrace.errors import Problem, ProblemError

CHUNK_BYTES = 1_000_000
_LONGEST_CSV_CELL = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


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


class Source:
    """A file's bytes, unzipped if it is gzip. Use it in a `with` block.

    `raw` is the file itself: its place says how much of it has been read.
    """

    def __init__(self, path: Path) -> None:
        """Open it; `-` is standard input. Raises `ProblemError`."""
        self.path = path
        try:
            self.raw: IO[bytes] = sys.stdin.buffer if str(path) == "-" else path.open("rb")
        except OSError as error:
            raise ProblemError(Problem("FileUnreadable", f"{path}: {error.strerror}.")) from None
        buffered = io.BufferedReader(self.raw)  # type: ignore[type-var]
        self._closing = [buffered]
        self.stream: IO[bytes] = buffered
        try:
            zipped = buffered.peek(2)[:2] == b"\x1f\x8b"
        except OSError as error:
            self._close()
            raise ProblemError(Problem("FileUnreadable", f"{path}: {error.strerror}.")) from None
        if zipped:
            self.stream = gzip.GzipFile(fileobj=buffered)  # type: ignore[assignment]

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def chunks(self, form: SourceFormat, skip: int) -> Iterator[Chunk]:
        """The rows after the first `skip`, a megabyte at a time. Raises `ProblemError` with the place."""
        try:
            yield from chunks(self.stream, form, skip)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ProblemError(Problem("BrokenGzip", f"{self.path} is not whole gzip: {error}.")) from None

    def _close(self) -> None:
        if self.stream is not self._closing[0]:
            self.stream.close()
        self._closing[0].close()


def guess_format(path: Path) -> SourceFormat:
    """The format that a file's name tells; NDJSON where it tells none."""
    names = [suffix.lower().lstrip(".") for suffix in path.suffixes]
    for name in reversed(names):
        if name in set(SourceFormat):
            return SourceFormat(name)
        if name == "jsonl":
            return SourceFormat.NDJSON
    return SourceFormat.NDJSON


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
        stripped = (line.removeprefix(_BOM) if number == 1 else line).strip()
        if stripped:
            _check_object(stripped, f"line {number}", "--format json reads one array, --format csv a table.")
            yield stripped


def _array(stream: IO[bytes]) -> Iterator[bytes]:
    try:
        members = msgspec.json.decode(stream.read().removeprefix(_BOM), type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        hint = "--format ndjson reads an object a line."
        raise ProblemError(
            Problem("NotAnArray", f"The file is not a JSON array: {error}.", hint=hint)
        ) from None
    for number, member in enumerate(members, 1):
        row = bytes(member)
        _check_object(row, f"member {number}", None)
        yield row


def _csv(stream: IO[bytes]) -> Iterator[bytes]:
    """Every value goes as text: the rule's stream declaration gives it its type; an empty cell is left out."""
    csv.field_size_limit(_LONGEST_CSV_CELL)
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        names = next(reader, [])
        for row in reader:
            if len(row) > len(names):
                message = f"Line {reader.line_num} has {len(row)} cells, the first line names {len(names)}."
                raise ProblemError(Problem("NotACsv", message))
            if row:
                values = {name: value for name, value in zip(names, row, strict=False) if value != ""}
                yield json.dumps(values, ensure_ascii=False).encode()
    except csv.Error as error:
        raise ProblemError(Problem("NotACsv", f"Line {reader.line_num} is not CSV: {error}.")) from None
    except UnicodeDecodeError:
        message = f"The file is not UTF-8 text (after line {reader.line_num})."
        raise ProblemError(Problem("NotACsv", message, hint="Convert it, with iconv for example.")) from None
    finally:
        # The stream is the caller's to close.
        text.detach()


class _Anything(msgspec.Struct):
    """Any JSON object: its members are checked and skipped."""


_OBJECT = msgspec.json.Decoder(_Anything)


def _check_object(row: bytes, place: str, hint: str | None) -> None:
    try:
        _OBJECT.decode(row)
    except (msgspec.DecodeError, RecursionError) as error:
        message = f"The {place} is not a JSON object: {error}."
        raise ProblemError(Problem("NotAnObject", message, hint=hint)) from None
