"""Conversions between types, and questions about a value's type."""

from __future__ import annotations

from functools import partial

from headrace.kql.bind.functions.declare import (
    BOOL,
    DATETIME,
    DECIMAL,
    DOCUMENTED,
    DYNAMIC,
    GUID,
    INT,
    LONG,
    REAL,
    STRING,
    TIMESPAN,
    scalar,
)
from headrace.kql.bind.functions.registry import Naming

_VALUE = "value: any"
_listed = partial(scalar, family="conversion", transform=DOCUMENTED, naming=Naming.FIRST)
_extended = partial(scalar, family="conversion", naming=Naming.FIRST)

FUNCTIONS = (
    _listed("tostring", "The value as text; null is the empty text.", _VALUE, STRING),
    _listed("tolong", "The value as a long, null if it is none.", _VALUE, LONG),
    _listed("toint", "The value as an int, null if it is none.", _VALUE, INT),
    _listed("todouble", "The value as a real, null if it is none.", _VALUE, REAL, aliases=("toreal",)),
    _listed("tobool", "The value as a bool, null if it is none.", _VALUE, BOOL, aliases=("toboolean",)),
    _listed("todatetime", "The value as a datetime (UTC), null if it is none.", _VALUE, DATETIME),
    _listed(
        "totimespan", "The value as a timespan, null if it is none.", _VALUE, TIMESPAN, aliases=("totime",)
    ),
    _listed("toguid", "The value as a guid, null if it is none.", _VALUE, GUID),
    _extended("todecimal", "The value as a decimal, null if it is none.", _VALUE, DECIMAL),
    _listed("parse_json", "The value of a JSON text; other text stays a string.", _VALUE, DYNAMIC),
    _extended(
        "todynamic",
        "The value of a JSON text; other text stays a string.",
        _VALUE,
        DYNAMIC,
        aliases=("parsejson", "toobject"),
    ),
    _listed("gettype", "The name of the value's type.", _VALUE, STRING, naming=Naming.PREFIX, prefix="type"),
    _listed("isnull", "Whether the value is null.", _VALUE, BOOL, naming=Naming.COLUMN),
    _listed(
        "isnotnull",
        "Whether the value is not null.",
        _VALUE,
        BOOL,
        aliases=("notnull",),
        naming=Naming.COLUMN,
    ),
    _extended("dynamic_to_json", "The value as canonical JSON text.", _VALUE, STRING, naming=Naming.COLUMN),
)
