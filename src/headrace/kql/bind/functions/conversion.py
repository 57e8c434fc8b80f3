"""Conversions between types, and questions about a value's type."""

from __future__ import annotations

from headrace.kql.bind.functions.declare import (
    BOOL,
    DATETIME,
    DECIMAL,
    DOCUMENTED,
    DYNAMIC,
    EXTENDED,
    GUID,
    INT,
    LONG,
    REAL,
    STRING,
    TIMESPAN,
    scalar,
)
from headrace.kql.bind.functions.registry import Function, Naming
from headrace.kql.types import KustoType


def _to(
    name: str,
    result: KustoType,
    doc: str,
    *,
    aliases: tuple[str, ...] = (),
    listed: bool = True,
    naming: Naming = Naming.FIRST,
    prefix: str = "",
) -> Function:
    return scalar(
        name,
        doc,
        "value: any",
        result,
        family="conversion",
        aliases=aliases,
        transform=DOCUMENTED if listed else EXTENDED,
        naming=naming,
        prefix=prefix,
    )


FUNCTIONS = (
    _to("tostring", STRING, "The value as text; null is the empty text."),
    _to("tolong", LONG, "The value as a long, null if it is none."),
    _to("toint", INT, "The value as an int, null if it is none."),
    _to("todouble", REAL, "The value as a real, null if it is none.", aliases=("toreal",)),
    _to("tobool", BOOL, "The value as a bool, null if it is none.", aliases=("toboolean",)),
    _to("todatetime", DATETIME, "The value as a datetime (UTC), null if it is none."),
    _to("totimespan", TIMESPAN, "The value as a timespan, null if it is none.", aliases=("totime",)),
    _to("toguid", GUID, "The value as a guid, null if it is none."),
    _to("todecimal", DECIMAL, "The value as a decimal, null if it is none.", listed=False),
    _to("parse_json", DYNAMIC, "The value of a JSON text; other text stays a string."),
    _to(
        "todynamic",
        DYNAMIC,
        "The value of a JSON text; other text stays a string.",
        listed=False,
        aliases=("parsejson", "toobject"),
    ),
    _to("gettype", STRING, "The name of the value's type.", naming=Naming.PREFIX, prefix="type"),
    _to("isnull", BOOL, "Whether the value is null.", naming=Naming.COLUMN),
    _to("isnotnull", BOOL, "Whether the value is not null.", aliases=("notnull",), naming=Naming.COLUMN),
    _to("dynamic_to_json", STRING, "The value as canonical JSON text.", listed=False, naming=Naming.COLUMN),
)
