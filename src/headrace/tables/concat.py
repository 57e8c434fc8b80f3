"""Parquet files one behind the other in one file: row groups are copied as bytes, only the footer is made anew.

Standard: Apache Parquet, `FileMetaData`. A column chunk's pages stand wherever the footer says, so moving them
means adding to the places in it. No row is read, which makes this a hundred times cheaper than a rewrite.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from headrace.tables.fresh import fresh_files
from headrace.tables.model import CommitError
from headrace.tables.thrift import Field, Items, Struct, ThriftError, decode, encode

_MAGIC = b"PAR1"
_TAIL = struct.Struct("<I4s")
_BLOCK = 1024 * 1024

_SCHEMA, _ROWS, _GROUPS = 2, 3, 4
_GROUP_COLUMNS, _GROUP_PLACE, _GROUP_NUMBER = 1, 5, 7
_CHUNK_PLACE = 2
_CHUNK_INDEXES = frozenset({4, 5, 6, 7})
"""Of a column chunk: where the indexes of its pages are. They are left out: inside they name places in the file."""
_CHUNK_META = 3
_META_PLACES = frozenset({9, 10, 11, 14})
"""Of its metadata: the offsets of data pages, index pages, dictionary page and bloom filter."""


@dataclass(frozen=True, slots=True)
class _Footer:
    path: Path
    fields: Struct
    body: int
    """Bytes between the leading magic and the footer."""

    def part(self, number: int) -> Field:
        return _field(self.fields, number)


def concatenate(paths: Sequence[Path], folder: Path) -> list[Path]:
    """New files in `folder` with all row groups of `paths` in their order, one for each schema among them.

    Nothing is synced. Raises `CommitError` when a file is not Parquet or cannot be read or written; then there is
    none.
    """
    try:
        footers = [_read_footer(path) for path in paths]
        groups: dict[bytes, list[_Footer]] = {}
        for footer in footers:
            groups.setdefault(encode([footer.part(_SCHEMA)]), []).append(footer)
        with fresh_files() as made:
            for group in groups.values():
                made.append(folder / f"{uuid.uuid4()}.parquet")
                _join(group, made[-1])
        return made
    except (OSError, ThriftError) as error:
        raise CommitError("the table's files could not be put together") from error


def _read_footer(path: Path) -> _Footer:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _TAIL.size, 0))
        tail = file.read()
        if len(tail) != _TAIL.size:
            raise ThriftError("too short for a Parquet file")
        length, magic = _TAIL.unpack(tail)
        start = size - _TAIL.size - length
        if magic != _MAGIC or start < len(_MAGIC):
            raise ThriftError("not a Parquet file")
        file.seek(start)
        return _Footer(path, decode(file.read(length)), start - len(_MAGIC))


def _join(footers: Sequence[_Footer], path: Path) -> None:
    rows = 0
    groups: list[Struct] = []
    with path.open("xb") as out:
        out.write(_MAGIC)
        for footer in footers:
            distance = out.tell() - len(_MAGIC)
            _copy(footer, out)
            rows += _number(footer.part(_ROWS))
            for group in _structs(footer.part(_GROUPS)):
                _move_group(group, distance, len(groups))
                groups.append(group)
        fields = footers[0].fields
        _field(fields, _ROWS).value = rows
        _field(fields, _GROUPS).value = Items(_items(_field(fields, _GROUPS)).kind, [*groups])
        footer_bytes = encode(fields)
        out.write(footer_bytes + _TAIL.pack(len(footer_bytes), _MAGIC))


def _copy(footer: _Footer, out: BinaryIO) -> None:
    left = footer.body
    with footer.path.open("rb", buffering=0) as file:
        file.seek(len(_MAGIC))
        while left:
            block = file.read(min(left, _BLOCK))
            if not block:
                raise ThriftError("a Parquet file became shorter")
            out.write(block)
            left -= len(block)


def _move_group(group: Struct, distance: int, number: int) -> None:
    for field in group:
        if field.number == _GROUP_PLACE:
            _move(field, distance)
        elif field.number == _GROUP_NUMBER:
            field.value = number
        elif field.number == _GROUP_COLUMNS:
            for chunk in _structs(field):
                _move_chunk(chunk, distance)


def _move_chunk(chunk: Struct, distance: int) -> None:
    chunk[:] = [field for field in chunk if field.number not in _CHUNK_INDEXES]
    for field in chunk:
        if field.number == _CHUNK_PLACE:
            _move(field, distance)
        elif field.number == _CHUNK_META and isinstance(field.value, list):
            for inner in field.value:
                if inner.number in _META_PLACES:
                    _move(inner, distance)


def _move(field: Field, distance: int) -> None:
    place = _number(field)
    # 0 is no place: writers put it where they do not say one.
    if place:
        field.value = place + distance


def _field(fields: Struct, number: int) -> Field:
    for field in fields:
        if field.number == number:
            return field
    raise ThriftError(f"the footer has no field {number}")


def _number(field: Field) -> int:
    if not isinstance(field.value, int):
        raise ThriftError(f"field {field.number} is not a number")
    return field.value


def _items(field: Field) -> Items:
    if not isinstance(field.value, Items):
        raise ThriftError(f"field {field.number} is not a list")
    return field.value


def _structs(field: Field) -> list[Struct]:
    values = _items(field).values
    structs = [value for value in values if isinstance(value, list)]
    if len(structs) != len(values):
        raise ThriftError(f"field {field.number} is not a list of structs")
    return structs
