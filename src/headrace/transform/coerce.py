"""JSON text to typed columns, as one SQL select that DuckDB runs over whole request bodies.

The batch is a table of request bodies (`BATCH_COLUMNS`); the select yields a row for each object of each
body's array. Kusto's `to...()` rules hold: a value that does not fit its column's type nulls that value and
keeps the row. What the types make of JSON:

- string: text as it is; null or absent is empty; numbers, booleans, objects and arrays give their JSON text;
- int, long: a fraction is cut off, `true` is 1, text is read as a number, out of range is null;
- real: as DuckDB's DOUBLE reads it; bool: `true`, `false`, text of these, a number other than 0 is true;
- datetime: ISO 8601 with or without zone (UTC then), a space for `T`, more than six decimals are cut off, and
  RFC 822 and RFC 850 forms; anything else is null;
- dynamic: JSON text with the object's key order; real numbers take their shortest form; null is SQL NULL;
- guid: lower-case with dashes, or null.

Property names match exactly, letter case included. Of a property given twice in one object the first counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import sqlglot
from sqlglot import exp

from headrace.kql.types import KustoType

OFFSET = "h_offset"
RECEIVED = "h_received"
SOURCE = "h_source"
VERSION = "h_version"
RESOURCE = "h_resource"
BODY = "h_body"
BATCH_COLUMNS = (OFFSET, RECEIVED, SOURCE, VERSION, RESOURCE, BODY)
"""A batch's columns: journal offset BIGINT, received time TIMESTAMP, the rows' `_Source` VARCHAR, the rule's version
INTEGER, the resource id that came beside the body VARCHAR, body VARCHAR (a JSON array)."""

ROW = "h_row"
_OF_BODY = (OFFSET, RECEIVED, SOURCE, VERSION, RESOURCE)
CARRIED = (*_OF_BODY, ROW)
"""Columns that every source row has beside the stream's: which record it came from, and its place there."""

_RFC_FORMATS = tuple(
    f"{day}{date} {time}"
    for day, dates in (
        ("", ("%d %b %y", "%d %b %Y", "%d-%b-%y", "%d-%b-%Y")),
        ("%a, ", ("%d %b %y", "%d %b %Y", "%d-%b-%y", "%d-%b-%Y")),
        ("%A, ", ("%d %b %y", "%d %b %Y", "%d-%b-%y", "%d-%b-%Y")),
    )
    for date in dates
    for time in ("%H:%M:%S", "%H:%M")
)

_ISO = (
    r"^\s*\d{4}[-/]\d{1,2}[-/]\d{1,2}([Tt ]\d{1,2}:\d{2}(:\d{2}([.]\d+)?)?)?"
    r"\s*([Zz]|GMT|UTC|[+-]\d{2}(:?\d{2})?)?\s*$"
)

_COMMON_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.]\d+)?([+-]\d\d:\d\d)?"

_WHOLE_NUMBER = """
CASE WHEN contains(v, '.') OR contains(v, 'e') OR contains(v, 'E') OR contains(v, '_')
     THEN CASE WHEN v IN ('true', 'false') THEN CASE WHEN v = 'true' THEN 1 ELSE 0 END
               WHEN starts_with(v, '0x') AND NOT contains(v, '_') THEN try_cast(v AS BIGINT)
               WHEN NOT contains(v, '_') THEN try_cast(trunc(try_cast(v AS DOUBLE)) AS BIGINT)
          END
     ELSE try_cast(v AS BIGINT)
END
"""

_TEMPLATES: dict[KustoType, str] = {
    KustoType.LONG: _WHOLE_NUMBER,
    KustoType.INT: _WHOLE_NUMBER.replace("BIGINT", "INTEGER"),
    KustoType.REAL: "v",
    KustoType.BOOL: """
CASE WHEN v = 'true' THEN true WHEN v = 'false' THEN false
     WHEN v IS NULL OR v = '' THEN NULL
     WHEN lower(v) = 'true' THEN true WHEN lower(v) = 'false' THEN false
     ELSE try_cast(v AS DOUBLE) <> 0
END
""",
    # The usual comes first: ISO 8601 in UTC, then with an offset or without a zone, which takes three times as long.
    # All else takes ten times as long. DuckDB's TIMESTAMP ignores an offset.
    KustoType.DATETIME: f"""
coalesce(
  CASE WHEN instr(v, '-') = 5 AND v >= '0001' AND v < ':'
       THEN CASE WHEN suffix(v, 'Z') OR suffix(v, '+00:00') OR (strlen(v) = 19 AND array_extract(v, 17) = ':')
                 THEN try_cast(v AS TIMESTAMP)
                 WHEN regexp_full_match(v, '{_COMMON_ISO}')
                 THEN CASE WHEN array_extract(v, -6) IN ('+', '-')
                           THEN make_timestamp(epoch_us(try_cast(v AS TIMESTAMPTZ)))
                           ELSE try_cast(v AS TIMESTAMP) END
            END
  END,
  CASE WHEN v IS NULL OR strlen(v) > 64 OR v = '' THEN NULL
       WHEN trim(v) >= '0001' AND regexp_matches(v, '{_ISO}')
       THEN make_timestamp(epoch_us(try_cast(
              regexp_replace(regexp_replace(trim(v), '\\s*([Zz]|GMT|UTC)$', '+00'),
                             '([Tt ]\\d+:\\d+)([+-])', '\\1:00\\2') AS TIMESTAMPTZ)))
       WHEN regexp_matches(v, '\\d:\\d')
       THEN try_strptime(regexp_replace(trim(v), '\\s*(GMT|UTC|[+-]0000)$', ''), FORMATS)
  END)
""",
    KustoType.DYNAMIC: "CAST(v AS VARCHAR)",
    KustoType.GUID: "CAST(try_cast(v AS UUID) AS VARCHAR)",
}

_EXTRACTED = {KustoType.REAL: "DOUBLE", KustoType.DYNAMIC: "JSON"}
"""What json_transform reads a value as; VARCHAR for all others, which are then cast Kusto's way in SQL."""


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A property to read: its name in the JSON, its type, and the column that the select gives it."""

    name: str
    type: KustoType
    sql_name: str


def source_select(batch: str, columns: Sequence[SourceColumn]) -> exp.Select:
    """The select that turns the table `batch` into typed rows: `columns`, then `CARRIED`.

    `h_received` is a TIMESTAMP in UTC; a datetime column too. Members that are JSON null give no row; any
    other member that is not an object gives a row without values, so a caller that lets such members
    through must first make them null.
    """
    groups = _without_collisions(columns)
    parsed = exp.select(*map(_column, _OF_BODY)).from_(exp.to_table(batch), copy=False)
    for number, group in enumerate(groups):
        structure = json.dumps([{column.name: _EXTRACTED.get(column.type, "VARCHAR") for column in group}])
        call = _call("json_transform", _column(BODY), exp.Literal.string(structure))
        parsed.select(exp.alias_(call, f"l{number}", copy=False), copy=False)
    rows = exp.select(*map(_column, _OF_BODY)).from_(parsed.subquery("p", copy=False), copy=False)
    for number in range(len(groups)):
        rows.select(exp.alias_(_call("unnest", _column(f"l{number}")), f"r{number}"), copy=False)
    places = _call("range", _call("len", _column("l0")))
    rows.select(exp.alias_(_call("unnest", places), ROW), copy=False)
    items: list[exp.Expr] = [_column(name) for name in CARRIED]
    for number, group in enumerate(groups):
        for place, column in enumerate(group, 1):
            value = _call("struct_extract_at", _column(f"r{number}"), exp.Literal.number(place))
            items.append(exp.alias_(value, f"v_{column.sql_name}", copy=False))
    values = exp.Select(expressions=items).from_(rows.subquery("u", copy=False), copy=False)
    values.where(_column("r0").is_(exp.null()).not_(), copy=False)
    typed = exp.Select(
        expressions=[
            *(
                exp.alias_(
                    _typed(column.type, f"v_{column.sql_name}"), column.sql_name, quoted=True, copy=False
                )
                for column in columns
            ),
            *(_column(name) for name in CARRIED),
        ]
    )
    return typed.from_(values.subquery("v", copy=False), copy=False)


def cut_text(column: str, limit: int) -> exp.Expr:
    """The VARCHAR column of that name, cut to at most `limit` bytes of UTF-8, never inside a character.

    The rare long text is cut in Python: said in SQL, the cut of hundreds of columns takes the engine as long to plan as
    a batch takes to run.
    """
    most = exp.Literal.number(limit)
    too_long = exp.GT(this=_call("strlen", _column(column)), expression=most)
    cut = _call(
        "kql_call", exp.Literal.string("first_bytes"), _column(column), exp.Literal.string(str(limit))
    )
    # The engine may let go of the memory of such a result too early, so it is copied by joining nothing to it.
    copied = exp.DPipe(this=cut, expression=exp.Literal.string(""), safe=True)
    return exp.Case(ifs=[exp.If(this=too_long, true=copied)], default=_column(column))


def _without_collisions(columns: Sequence[SourceColumn]) -> list[list[SourceColumn]]:
    """Groups in which no two names are equal in any letter case: fields of a struct cannot be."""
    groups: list[dict[str, SourceColumn]] = [{}]
    for column in columns:
        key = column.name.casefold()
        group = next((group for group in groups if key not in group), None)
        if group is None:
            group = {}
            groups.append(group)
        group[key] = column
    if not groups[0]:
        return [[SourceColumn("TimeGenerated", KustoType.STRING, "unused")]]
    return [list(group.values()) for group in groups]


@cache
def _template(text: str) -> exp.Expr:
    tree = sqlglot.parse_one(text, dialect="duckdb")

    def formats(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column) and node.name == "FORMATS":
            return exp.array(*(exp.Literal.string(text) for text in _RFC_FORMATS), dialect="duckdb")
        return node

    return tree.transform(formats)


def _fill(text: str, value: exp.Expr) -> exp.Expr:
    def put(node: exp.Expr) -> exp.Expr:
        return value.copy() if isinstance(node, exp.Column) and node.name == "v" else node

    return _template(text).transform(put)


def _typed(kusto: KustoType, column: str) -> exp.Expr:
    if kusto is KustoType.STRING:
        return exp.Coalesce(this=_column(column), expressions=[exp.Literal.string("")])
    text = _TEMPLATES.get(kusto)
    if text is None:
        raise ValueError(f"a stream cannot have a column of type {kusto}")
    return _fill(text, _column(column))


def _column(name: str) -> exp.Column:
    return exp.Column(this=exp.Identifier(this=name, quoted=True))


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))
