"""Reads the query API's requests: bodies, query strings, the `Prefer` header. Every bound is here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from starlette.requests import Request

from headrace.query import bodies
from headrace.query.errors import bad_argument, invalid_json
from headrace.query.model import Preferences, QueryRequest, TimeRange
from headrace.query.timespan import TimespanError, intersect, parse_timespan
from headrace.settings import QuerySettings
from headrace.wire.bodies import BodyTooLargeError, read_bounded
from headrace.wire.problems import http_error

_T = TypeVar("_T")

MAX_BODY_BYTES = 1024 * 1024
MAX_WORKSPACES = 100
MAX_BATCH = 100


class QueryBody(msgspec.Struct, frozen=True):
    """The JSON body of a query; unknown properties are ignored, and the letter case of names."""

    query: str
    timespan: str | None = None
    workspaces: list[str] | None = None
    resources: list[str] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The workspaces and resources beside the one in the address."""
        return (*(self.workspaces or ()), *(self.resources or ()))


class BatchItem(msgspec.Struct, frozen=True):
    """One request of a batch."""

    id: str
    workspace: str
    body: QueryBody
    path: str = "/query"
    method: str = "POST"
    headers: dict[str, str] | None = None


class BatchBody(msgspec.Struct, frozen=True):
    """The JSON body of a batch."""

    requests: list[BatchItem]


async def read_body(request: Request) -> bytes:
    """The body of a query, within its bound. Raises `HttpError` 413."""
    try:
        return await read_bounded(request, MAX_BODY_BYTES)
    except BodyTooLargeError:
        message = f"A query's body has at most {MAX_BODY_BYTES} bytes."
        raise http_error(413, "RequestEntityTooLarge", message) from None


def read_query(content: bytes, url: Mapping[str, str], now: int) -> QueryRequest:
    """The query of a POST. A timespan in the URL and one in the body both hold. Raises `HttpError` 400.

    The URL's parameters have lower-case names, here and in `read_url_query`.
    """
    body = decode(content, QueryBody)
    spans = (body.timespan, url.get("timespan"))
    return _request(body.query, spans, body.names, now)


def read_url_query(url: Mapping[str, str], now: int) -> QueryRequest:
    """The query of a GET. Raises `HttpError` 400."""
    if not url.get("query"):
        raise bad_argument("The query parameter 'query' is missing.", "query")
    workspaces = tuple(name for name in url.get("workspaces", "").split(",") if name.strip())
    return _request(url["query"], (url.get("timespan"),), workspaces, now)


def read_batch(content: bytes) -> tuple[BatchItem, ...]:
    """The items of a batch. Raises `HttpError` 400 when the batch as a whole is wrong."""
    items = tuple(decode(content, BatchBody).requests)
    if len(items) > MAX_BATCH:
        raise bad_argument(f"A batch holds at most {MAX_BATCH} requests.", "requests")
    if len({item.id for item in items}) != len(items):
        raise bad_argument("Each request of a batch needs an id of its own.", "requests")
    return items


def item_query(item: BatchItem, now: int) -> QueryRequest:
    """The query of a batch item. Raises `HttpError` 400."""
    return _request(item.body.query, (item.body.timespan,), item.body.names, now)


def read_preferences(headers: Iterable[str], settings: QuerySettings) -> Preferences:
    """What the headers `Prefer` say, of which each may be empty: unknown preferences are ignored, `wait` is bounded."""
    found = {}
    for part in ",".join(headers).split(","):
        name, _, value = part.strip().partition("=")
        found[name.lower()] = value.strip().lower()
    wait = found.get("wait", "")
    seconds = (
        int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else settings.default_wait_seconds
    )
    return Preferences(
        wait=max(1, min(seconds, settings.max_wait_seconds)),
        statistics=found.get("include-statistics") == "true",
        render=found.get("include-render") == "true",
        data_sources=found.get("include-datasources") == "true",
    )


def decode(content: bytes, kind: type[_T]) -> _T:
    """A body as `kind`, whose properties have lower-case names. Raises `HttpError` 400."""
    if not content:
        raise bad_argument("The request has no body.", "body")
    try:
        return bodies.decode(content, kind, any_case=True)
    except bodies.BodyError as error:
        if error.malformed:
            raise invalid_json(str(error)) from None
        raise bad_argument(f"The body is not what a query takes: {error}.", "body") from None


def _request(text: str, spans: tuple[str | None, ...], workspaces: tuple[str, ...], now: int) -> QueryRequest:
    if not text.strip():
        raise bad_argument("The query is empty.", "query")
    if len(workspaces) > MAX_WORKSPACES:
        raise bad_argument(f"A query reads at most {MAX_WORKSPACES} workspaces.", "workspaces")
    time_range: TimeRange = (None, None)
    for span in spans:
        if span:
            try:
                time_range = intersect(time_range, parse_timespan(span, now))
            except TimespanError as error:
                raise bad_argument(str(error), "timespan") from None
    return QueryRequest(text, time_range, workspaces)
