"""Conversions between types: what `to*()` does, and what the binder asks for where types meet."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal

from sqlglot import exp

from headrace.kql.bind.functions.registry import Constant, Value
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.types import KustoType

STRING, INT, LONG, REAL = KustoType.STRING, KustoType.INT, KustoType.LONG, KustoType.REAL
BOOL, DATETIME, TIMESPAN = KustoType.BOOL, KustoType.DATETIME, KustoType.TIMESPAN
DYNAMIC, GUID, DECIMAL = KustoType.DYNAMIC, KustoType.GUID, KustoType.DECIMAL

# Ticks from 0001-01-01 to 1970-01-01: where a number stands for a datetime it counts from year one.
YEAR_ONE = 621_355_968_000_000_000
TICKS_A_SECOND = 10_000_000
TICKS_A_DAY = 864_000_000_000


def literal(kind: KustoType, value: Value) -> exp.Expression:
    """A constant of a Kusto type in its representation (see `base`)."""
    if value is None:
        return b.text("") if kind is STRING else b.null(b.SQL_TYPES[kind])
    if kind is BOOL:
        return b.value(bool(value))
    if kind in (STRING, GUID, DYNAMIC):
        return b.text(str(value))
    if kind is REAL:
        return b.real(float(value))
    if kind is DECIMAL:
        return b.decimal(Decimal(str(value)))
    if kind is INT:
        return b.cast(b.number(int(value)), "INT")
    return b.long(int(value))


def typed(kind: KustoType, value: Value) -> Typed:
    """A constant with its type."""
    return Typed(literal(kind, value), kind, Constant(value))


def convert(argument: Typed, target: KustoType) -> Typed:
    """The value as another type, by the rules of `to*()`; null or the empty string where it does not fit."""
    if argument.type is target:
        return argument
    return Typed(_TO[target](argument), target, _constant(argument, target))


def _constant(argument: Typed, target: KustoType) -> Constant | None:
    """What is known of a constant after the conversions that bring no surprise."""
    constant = argument.constant
    if constant is None or constant.value is None:
        return constant if constant is None or target is not STRING else Constant("")
    value = constant.value
    if argument.type in (INT, LONG) and target in (INT, LONG):
        return constant
    if argument.type in (INT, LONG) and target is REAL:
        return Constant(float(value))
    return None


def to_string(argument: Typed) -> exp.Expression:
    """`tostring`: never null."""
    kind, sql = argument.type, argument.sql
    if kind is STRING:
        return sql
    if kind is DYNAMIC:
        return b.coalesce(member_text(sql), "")
    return b.coalesce(text_or_null(argument), "")


def text_or_null(argument: Typed) -> exp.Expression:
    """The text of a value that is not a string; NULL for its null."""
    kind, sql = argument.type, argument.sql
    if kind in (STRING, GUID):
        return sql
    if kind is DYNAMIC:
        return member_text(sql)
    if kind is REAL:
        return b.call("kql_real_text", sql)
    if kind is DATETIME:
        return b.call("kql_datetime_text", sql)
    if kind is TIMESPAN:
        return b.call("kql_timespan_text", sql)
    if kind is DECIMAL:
        return b.call("kql_decimal_text", sql)
    return b.cast(sql, "VARCHAR")


def member_text(sql: exp.Expression) -> exp.Expression:
    """The text of a dynamic; a member is extracted as text at once."""
    direct = encoded_text(sql)
    if direct is not None:
        return direct
    path = json_path(sql)
    if path is not None:
        return b.call("json_extract_string", path.expressions[0], path.expressions[1])
    return b.call("kql_json_text", sql)


def encoded_text(sql: exp.Expression) -> exp.Expression | None:
    """The text inside what `encode_text` made, else None."""
    inner = sql.this if isinstance(sql, exp.Cast) else None
    if isinstance(inner, exp.Anonymous) and inner.this == "to_json" and inner.args.get("kql_text"):
        found: exp.Expression = inner.expressions[0]
        return found
    return None


def encode_text(sql: exp.Expression) -> exp.Expression:
    """A text as a dynamic string; NULL stays NULL. `tostring` of it takes the text back unread."""
    made = b.call("to_json", sql)
    made.set("kql_text", True)
    return b.cast(made, "VARCHAR")


def json_path(sql: exp.Expression) -> exp.Anonymous | None:
    """The `json_extract` call of an expression that `member` made, else None."""
    inner = sql.this if isinstance(sql, exp.Nullif) else None
    inner = inner.this if isinstance(inner, exp.Cast) else None
    if isinstance(inner, exp.Anonymous) and inner.this == "json_extract":
        return inner
    return None


def member(sql: exp.Expression, path: str) -> exp.Expression:
    """The member of a dynamic at a JSON path, as JSON text; NULL if there is none or it is null."""
    extract = b.call("json_extract", sql, b.text(path))
    return b.null_if(b.cast(extract, "VARCHAR"), "null")


def to_long(argument: Typed) -> exp.Expression:
    """`tolong`: text must be a whole number, a real is cut towards zero."""
    kind, sql = argument.type, argument.sql
    if kind is STRING:
        return b.call("kql_long", sql)
    if kind is DYNAMIC:
        return b.call("kql_json_long", sql)
    if kind in (REAL, DECIMAL):
        return b.try_cast(b.call("trunc", sql), "BIGINT")
    if kind is DATETIME:
        return b.add(sql, b.long(YEAR_ONE))
    if kind is GUID:
        return b.null("BIGINT")
    return b.cast(sql, "BIGINT")


def to_int(argument: Typed) -> exp.Expression:
    """`toint`."""
    if argument.type is INT:
        return argument.sql
    return b.try_cast(to_long(argument), "INT")


def to_real(argument: Typed) -> exp.Expression:
    """`todouble`."""
    kind, sql = argument.type, argument.sql
    if kind is STRING:
        return b.call("kql_real", sql)
    if kind is DYNAMIC:
        return b.call("kql_json_real", sql)
    if kind is GUID:
        return b.null("DOUBLE")
    if kind is DATETIME:
        return b.cast(b.add(sql, b.long(YEAR_ONE)), "DOUBLE")
    return b.cast(sql, "DOUBLE")


def to_bool(argument: Typed) -> exp.Expression:
    """`tobool`: `true`, `false`, or a number that is or is not zero."""
    kind, sql = argument.type, argument.sql
    if kind is STRING:
        return b.call("kql_bool", sql)
    if kind is DYNAMIC:
        return b.call("kql_bool", b.call("kql_json_text", sql))
    if kind in (INT, LONG, REAL, DECIMAL):
        return exp.NEQ(this=b.wrap(sql), expression=b.number(0))
    return b.null("BOOLEAN")


def to_datetime(argument: Typed) -> exp.Expression:
    """`todatetime`: text in any of the documented formats, a number as ticks from year one."""
    kind, sql = argument.type, argument.sql
    if kind is STRING:
        return b.call("kql_ticks", sql)
    if kind is DYNAMIC:
        return b.call("kql_json_ticks", sql)
    if kind in (INT, LONG):
        return b.call("kql_ticks_of_number", b.cast(sql, "BIGINT"))
    if kind in (REAL, DECIMAL):
        return b.call("kql_ticks_of_number", b.try_cast(b.call("trunc", sql), "BIGINT"))
    return b.null("BIGINT")


def to_timespan(argument: Typed) -> exp.Expression:
    """`totimespan`: text such as `1.02:03:04.5` or `2h`, a number as ticks."""
    kind, sql = argument.type, argument.sql
    if kind is STRING:
        return b.call("kql_span", sql)
    if kind is DYNAMIC:
        return b.call("kql_span", b.call("kql_json_text", sql))
    if kind in (INT, LONG):
        return b.cast(sql, "BIGINT")
    if kind in (REAL, DECIMAL):
        return b.try_cast(b.call("trunc", sql), "BIGINT")
    return b.null("BIGINT")


def to_guid(argument: Typed) -> exp.Expression:
    """`toguid`: 32 hexadecimal digits, dashes and braces passed over."""
    if argument.type is STRING:
        return b.call("kql_guid", argument.sql)
    if argument.type is DYNAMIC:
        return b.call("kql_guid", b.call("kql_json_text", argument.sql))
    return b.null("VARCHAR")


def to_decimal(argument: Typed) -> exp.Expression:
    """`todecimal`."""
    kind, sql = argument.type, argument.sql
    if kind is STRING:
        return b.try_cast(sql, "DECIMAL")
    if kind is DYNAMIC:
        return b.try_cast(b.call("kql_json_text", sql), "DECIMAL")
    if kind in (DATETIME, GUID):
        return b.null("DECIMAL")
    return b.try_cast(sql, "DECIMAL")


def to_dynamic(argument: Typed) -> exp.Expression:
    """The value inside a dynamic: as JSON text, NULL for null."""
    kind, sql = argument.type, argument.sql
    if kind is STRING or kind is GUID:
        if argument.constant is not None and isinstance(argument.constant.value, str):
            return b.text(quoted(argument.constant.value))
        return encode_text(sql)
    if kind is REAL:
        return b.call("kql_real_json", sql)
    if kind in (DATETIME, TIMESPAN, DECIMAL):
        return b.binary(exp.DPipe, b.binary(exp.DPipe, b.text('"'), text_or_null(argument)), b.text('"'))
    return b.cast(sql, "VARCHAR")


def quoted(content: str) -> str:
    """A text as a JSON string."""
    return json.dumps(content, ensure_ascii=False)


_TO: dict[KustoType, Callable[[Typed], exp.Expression]] = {
    STRING: to_string,
    INT: to_int,
    LONG: to_long,
    REAL: to_real,
    BOOL: to_bool,
    DATETIME: to_datetime,
    TIMESPAN: to_timespan,
    DYNAMIC: to_dynamic,
    GUID: to_guid,
    DECIMAL: to_decimal,
}


def converted(sql: exp.Expression, source: KustoType, target: KustoType) -> exp.Expression:
    """An expression of one type as another."""
    return sql if source is target else _TO[target](Typed(sql, source))


def _register(name: str, target: KustoType) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        return convert(arguments[0], target).sql

    lowers(name)(lowering)


for _name, _target in (
    ("tostring", STRING),
    ("tolong", LONG),
    ("toint", INT),
    ("todouble", REAL),
    ("tobool", BOOL),
    ("todatetime", DATETIME),
    ("totimespan", TIMESPAN),
    ("toguid", GUID),
    ("todecimal", DECIMAL),
):
    _register(_name, _target)


@lowers("parse_json", "todynamic")
def parse_json(arguments: Sequence[Typed]) -> exp.Expression:
    """Text that is JSON becomes its value, other text a string, the empty text null."""
    argument = arguments[0]
    if argument.type is DYNAMIC:
        # A string inside a dynamic is parsed once more; all else stays.
        return b.call("kql_json_again", argument.sql)
    if argument.type is not STRING:
        return to_dynamic(argument)
    return b.call("kql_json", argument.sql)


@lowers("gettype")
def gettype(arguments: Sequence[Typed]) -> exp.Expression:
    """The type's name; a dynamic tells the type of what it holds."""
    argument = arguments[0]
    if argument.type is DYNAMIC:
        return b.call("kql_json_type", argument.sql)
    name = argument.type.value
    if argument.type is STRING:
        return b.text(name)
    return b.when(b.is_null(argument.sql), b.text("null"), b.text(name))


@lowers("isnull")
def isnull(arguments: Sequence[Typed]) -> exp.Expression:
    """A string is never null."""
    if arguments[0].type is STRING:
        return b.false()
    return b.is_null(arguments[0].sql)


@lowers("isnotnull")
def isnotnull(arguments: Sequence[Typed]) -> exp.Expression:
    """A string is never null."""
    if arguments[0].type is STRING:
        return b.true()
    return b.is_not_null(arguments[0].sql)


@lowers("isempty")
def isempty(arguments: Sequence[Typed]) -> exp.Expression:
    """An empty text, or a null; of a dynamic also the empty string inside."""
    argument = arguments[0]
    if argument.type is STRING:
        return b.equals(argument.sql, "")
    if argument.type is DYNAMIC:
        return b.equals(to_string(argument), "")
    return b.is_null(argument.sql)


@lowers("isnotempty")
def isnotempty(arguments: Sequence[Typed]) -> exp.Expression:
    """The opposite of `isempty`."""
    argument = arguments[0]
    if argument.type is STRING:
        return exp.NEQ(this=b.wrap(argument.sql), expression=b.text(""))
    if argument.type is DYNAMIC:
        return exp.NEQ(this=to_string(argument), expression=b.text(""))
    return b.is_not_null(argument.sql)


def to_dynamic_of(argument: Typed) -> exp.Expression:
    """The argument as JSON text, whatever its type."""
    return argument.sql if argument.type is DYNAMIC else to_dynamic(argument)
