"""Results as the query API writes them: columns of Arrow data in, the JSON text of rows out.

Shapes of values follow the Logs Query API: datetime as ISO 8601 with a trimmed fraction and `Z`, timespan as
`[-][d.]hh:mm:ss[.fffffff]`, decimal as text, NaN and infinities as text, dynamic as JSON text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from headrace.kql.types import LEAST_DATETIME, MOST_DATETIME, KustoType

_TICKS_PER_SECOND = 10_000_000
_TICKS_PER_DAY = 86_400 * _TICKS_PER_SECOND
_encoder = msgspec.json.Encoder()


def encode_rows(batch: pa.RecordBatch, types: Iterable[KustoType], *, nested: bool = False) -> bytes:
    """The rows of a batch as JSON arrays joined by commas, without the outer brackets.

    With `nested` dynamic values are JSON in the JSON, not text of it.
    """
    types = tuple(types)
    if not types:
        # A select has a column even where none is asked for.
        return b",".join([b"[]"] * batch.num_rows)
    columns = [
        _json(column) if nested and kusto is KustoType.DYNAMIC else _VALUES[kusto](column)
        for column, kusto in zip(batch.columns, types, strict=True)
    ]
    return _encoder.encode(list(zip(*columns, strict=True)))[1:-1]


def _values(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return values


def _text(column: pa.Array) -> list[Any]:
    return _values(pc.fill_null(column.cast(pa.string()), ""))


def _real(column: pa.Array) -> list[Any]:
    values = _values(column)
    if pc.all(pc.is_finite(column), skip_nulls=True).as_py() in (True, None):
        return values
    return [_special(value) for value in values]


def _special(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _as_text(column: pa.Array) -> list[Any]:
    return _values(column.cast(pa.string()))


def _decimal(column: pa.Array) -> list[Any]:
    """Decimal digits without the zeros that only the column's scale brings."""
    text = column.cast(pa.string())
    has_point = pc.match_substring(text, ".")
    trimmed = pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".")
    return _values(pc.if_else(has_point, trimmed, text))


def _datetime(column: pa.Array) -> list[Any]:
    """ISO 8601; null where a sum left the years 1 to 9999, which no reader takes."""
    ticks = column.cast(pa.int64())
    known = pc.and_(pc.greater_equal(ticks, LEAST_DATETIME), pc.less_equal(ticks, MOST_DATETIME))
    ticks = pc.if_else(known, ticks, None)
    micros = _floor_divide(ticks, 10)
    digit = pc.subtract(ticks, pc.multiply(micros, 10)).cast(pa.string())
    text = pc.replace_substring(micros.cast(pa.timestamp("us")).cast(pa.string()), " ", "T")
    with_fraction = pc.binary_join_element_wise(text, digit, "")
    trimmed = pc.utf8_rtrim(pc.utf8_rtrim(with_fraction, "0"), ".")
    return _values(pc.binary_join_element_wise(trimmed, pa.scalar("Z"), ""))


def _timespan(column: pa.Array) -> list[Any]:
    ticks = column.cast(pa.int64())
    size = pc.abs(ticks)
    days = pc.divide(size, _TICKS_PER_DAY)
    rest = pc.subtract(size, pc.multiply(days, _TICKS_PER_DAY))
    seconds = pc.divide(rest, _TICKS_PER_SECOND)
    fraction = pc.subtract(rest, pc.multiply(seconds, _TICKS_PER_SECOND))
    clock = seconds.cast(pa.int32()).cast(pa.time32("s")).cast(pa.string())
    sign = pc.if_else(pc.less(ticks, 0), "-", "")
    day = pc.if_else(
        pc.greater(days, 0), pc.binary_join_element_wise(days.cast(pa.string()), pa.scalar("."), ""), ""
    )
    tail = pc.if_else(
        pc.greater(fraction, 0),
        pc.binary_join_element_wise(pa.scalar("."), pc.utf8_lpad(fraction.cast(pa.string()), 7, "0"), ""),
        "",
    )
    return _values(pc.binary_join_element_wise(sign, day, clock, tail, ""))


def _dynamic(column: pa.Array) -> list[Any]:
    """Objects and arrays as JSON text; a dynamic string as the bare string."""
    values = _values(column.cast(pa.string()))
    quoted = pc.starts_with(column.cast(pa.string()), '"')
    if not pc.any(quoted, skip_nulls=True).as_py():
        return values
    return [msgspec.json.decode(value) if value and value[0] == '"' else value for value in values]


def _json(column: pa.Array) -> list[Any]:
    return [None if value is None else msgspec.Raw(value) for value in _values(column.cast(pa.string()))]


def _floor_divide(values: pa.Array, divisor: int) -> pa.Array:
    quotient = pc.divide(values, divisor)
    remainder = pc.subtract(values, pc.multiply(quotient, divisor))
    return pc.if_else(pc.less(remainder, 0), pc.subtract(quotient, 1), quotient)


_VALUES: dict[KustoType, Callable[[pa.Array], list[Any]]] = {
    KustoType.STRING: _text,
    KustoType.INT: _values,
    KustoType.LONG: _values,
    KustoType.REAL: _real,
    KustoType.BOOL: _values,
    KustoType.DATETIME: _datetime,
    KustoType.TIMESPAN: _timespan,
    KustoType.DYNAMIC: _dynamic,
    KustoType.GUID: _as_text,
    KustoType.DECIMAL: _decimal,
}
