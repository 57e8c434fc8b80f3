"""Reads the requests of Kusto's clients; every bound is here.

Source: Azure Data Explorer, 'Query/management HTTP request' and 'Request properties'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from headrace.errors import Problem
from headrace.query.bodies import BodyError, decode
from headrace.settings import QuerySettings
from headrace.wire.problems import HttpError

MAX_PARAMETERS = 500
_CLOCK = re.compile(r"(?:(\d{1,3})[.:])?(\d{1,2}):(\d{2}):(\d{2})(?:\.\d{1,7})?")

_T = TypeVar("_T")

Parameter = str | int | float | bool


class _Properties(msgspec.Struct, frozen=True):
    Options: dict[str, Any] | None = None
    Parameters: dict[str, Any] | None = None
    ClientRequestId: str | None = None


class _Body(msgspec.Struct, frozen=True):
    csl: str
    db: str | None = None
    properties: _Properties | str | None = None


@dataclass(frozen=True, slots=True)
class KustoRequest:
    """A query or command, the database it names, and what bounds it."""

    text: str
    database: str
    wait: int
    max_rows: int | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def read_request(content: bytes, settings: QuerySettings) -> KustoRequest:
    """The request of a POST. Properties may be an object or its JSON text. Raises `HttpError` 400."""
    body = _decode(content, _Body)
    properties = body.properties or _Properties()
    if isinstance(properties, str):
        properties = _decode(properties, _Properties)
    options = properties.Options or {}
    if not body.csl.strip():
        raise bad_request("The request has no text.", "csl")
    return KustoRequest(
        text=body.csl,
        database=(body.db or "").strip(),
        wait=_wait(options.get("servertimeout"), settings),
        max_rows=_max_rows(options),
        parameters=_parameters(properties.Parameters or {}),
    )


def bad_request(message: str, target: str) -> HttpError:
    """400: a property of the request is wrong."""
    return HttpError(400, Problem("General_BadRequest", message, target=target))


def _decode(content: bytes | str, kind: type[_T]) -> _T:
    try:
        return decode(content, kind)
    except BodyError as error:
        raise bad_request(f"The body is not what a query takes: {error}.", "body") from None


def _wait(given: Any, settings: QuerySettings) -> int:
    if given is None:
        return settings.default_wait_seconds
    clock = _CLOCK.fullmatch(given.strip()) if isinstance(given, str) else None
    if clock is None:
        raise bad_request(
            "`servertimeout` is a timespan such as 00:04:00.", "properties.Options.servertimeout"
        )
    days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
    wait = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return max(1, min(wait, settings.max_wait_seconds))


def _max_rows(options: Mapping[str, Any]) -> int | None:
    given = [options[name] for name in ("query_take_max_records", "truncationmaxrecords") if name in options]
    if any(isinstance(value, bool) or not isinstance(value, int) or value < 0 for value in given):
        raise bad_request("A count of records is a whole number.", "properties.Options.truncationmaxrecords")
    return min(given, default=None)


def _parameters(given: Mapping[str, Any]) -> dict[str, Parameter]:
    if len(given) > MAX_PARAMETERS:
        raise bad_request(f"A query has at most {MAX_PARAMETERS} parameters.", "properties.Parameters")
    return {name: _parameter(name, value) for name, value in given.items()}


def _parameter(name: str, value: Any) -> Parameter:
    if isinstance(value, str | bool | int | float):
        return value
    raise bad_request("A parameter's value is a text, a number or a bool.", f"properties.Parameters.{name}")
