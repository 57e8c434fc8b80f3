"""Thrift's compact protocol, as far as a Parquet footer needs it: values in, values out, nothing lost.

Standard: Apache Thrift compact protocol. A struct is a list of `Field`s in the order of the bytes, so that what
is not understood is written again as it was.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_MAX_DEPTH = 16
_DOUBLES = struct.Struct("<d")


class ThriftError(ValueError):
    """The bytes are not a struct of the compact protocol."""


@dataclass(slots=True)
class Field:
    """A field of a struct: its number, its type on the wire, and its value."""

    number: int
    kind: int
    value: Value


@dataclass(slots=True)
class Items:
    """A list, a set, or with `keys` a map; all values are of one `kind`."""

    kind: int
    values: list[Value]
    key_kind: int = 0
    keys: list[Value] | None = None


Struct = list[Field]
Value = int | bool | float | bytes | Items | Struct


def decode(data: bytes) -> Struct:
    """The struct that `data` begins with. Raises `ThriftError`."""
    try:
        return _Reader(data).struct(0)
    except (IndexError, struct.error) as error:
        raise ThriftError("the struct ends too early") from error


def encode(fields: Struct) -> bytes:
    """The struct's bytes."""
    out = bytearray()
    _write_struct(out, fields)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int) -> Struct:
        self._check_depth(depth)
        fields: Struct = []
        number = 0
        while head := self._byte():
            kind = head & 0x0F
            step = head >> 4
            number = number + step if step else self._integer()
            value = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
            fields.append(Field(number, kind, value))
        return fields

    def _value(self, kind: int, depth: int) -> Value:
        if kind in (_I16, _I32, _I64):
            return self._integer()
        if kind == _BINARY:
            return self._take(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._items(depth + 1)
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            (number,) = _DOUBLES.unpack(self._take(8))
            return float(number)
        if kind == _MAP:
            return self._map(depth + 1)
        raise ThriftError(f"there is no type {kind}")

    def _items(self, depth: int) -> Items:
        self._check_depth(depth)
        head = self._byte()
        kind, size = head & 0x0F, head >> 4
        if size == 15:
            size = self._varint()
        if size > len(self._data):
            raise ThriftError("a list is longer than all bytes")
        return Items(kind, [self._value(kind, depth) for _ in range(size)])

    def _map(self, depth: int) -> Items:
        self._check_depth(depth)
        size = self._varint()
        if not size:
            return Items(0, [], 0, [])
        if size > len(self._data):
            raise ThriftError("a map is longer than all bytes")
        head = self._byte()
        keys: list[Value] = []
        values: list[Value] = []
        for _ in range(size):
            keys.append(self._value(head >> 4, depth))
            values.append(self._value(head & 0x0F, depth))
        return Items(head & 0x0F, values, head >> 4, keys)

    def _check_depth(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ThriftError("values are nested too deeply")

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise ThriftError("a value is longer than what is left")
        value = self._data[self._at : end]
        self._at = end
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ThriftError("a number has too many bytes")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _write_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for field in fields:
        step = field.number - last
        if 0 < step <= 15:
            out.append(step << 4 | field.kind)
        else:
            out.append(field.kind)
            _write_integer(out, field.number)
        last = field.number
        if field.kind not in (_TRUE, _FALSE):
            _write(out, field.kind, field.value)
    out.append(0)


def _write(out: bytearray, kind: int, value: Value) -> None:
    if isinstance(value, bytes):
        _write_varint(out, len(value))
        out += value
    elif isinstance(value, Items):
        _write_items(out, value)
    elif isinstance(value, list):
        _write_struct(out, value)
    elif isinstance(value, float):
        out += _DOUBLES.pack(value)
    elif kind in (_TRUE, _FALSE, _BYTE):
        out.append(int(value))
    else:
        _write_integer(out, int(value))


def _write_items(out: bytearray, items: Items) -> None:
    size = len(items.values)
    if items.keys is not None:
        _write_varint(out, size)
        if size:
            out.append(items.key_kind << 4 | items.kind)
        for key, value in zip(items.keys, items.values, strict=True):
            _write(out, items.key_kind, key)
            _write(out, items.kind, value)
        return
    out.append(min(size, 15) << 4 | items.kind)
    if size >= 15:
        _write_varint(out, size)
    for value in items.values:
        _write(out, items.kind, value)


def _write_integer(out: bytearray, value: int) -> None:
    _write_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)


def _write_varint(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
