"""`POST /api/logs`: the Data Collector API, answered by the gateway.

A post is signed with a workspace's key, checked, and made durable in the journal before it is answered 200. The
tables follow in the pipeline. Checks go from the address over the headers and the signature to the body. Those of
long bodies are made by one thread beside the event loop, one after the other.
Source: Azure Monitor, 'HTTP Data Collector API', request and return codes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping
from concurrent.futures import Executor
from email.utils import parsedate_to_datetime
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headrace.catalog.names import MAX_CUSTOM_TABLES
from headrace.clock import SECOND, Clock, from_datetime
from headrace.collector.errors import CollectorError, error_response
from headrace.collector.model import (
    API_VERSION,
    MAX_LOG_TYPE,
    RESERVED_PROPERTIES,
    Source,
    is_log_type,
    is_resource_id,
    is_time_field,
)
from headrace.collector.signature import is_signed, read_signature
from headrace.ingest.admission import Admitted
from headrace.ingest.body import (
    BodyTooLargeError,
    Budget,
    ClientGoneError,
    Lease,
    NoRoomError,
    SlowBodyError,
    drain_body,
    read_body,
)
from headrace.ingest.jsontext import BOM
from headrace.ingest.model import Observer, Refusal, View
from headrace.ingest.parts import admit_by_parts
from headrace.journal.model import DiskFullError, Entry, JournalBrokenError, JournalFullError, JournalWriter
from headrace.settings import IngestSettings, Settings
from headrace.wire import correlation
from headrace.wire.problems import HttpError

MAX_SKEW = 15 * 60 * SECOND
"""How far a post's date may be from ours, in microseconds, so that an overheard post cannot be sent again later."""

MOST_LOG_TYPES = 1000
"""Log types of a workspace that a gateway gets to know. Twice as many as a workspace has tables."""

_SHORT_BYTES = 32 * 1024
"""Up to here, a body is checked sooner than another thread is asked to."""

_BROKEN_RETRY_SECONDS = 5
_FEED_RETRY_SECONDS = 1


class SharedKeys(Protocol):
    """A workspace's keys, base64 (`headrace.arm.store.SharedKeys`)."""

    @property
    def primary(self) -> str:
        """One of them."""
        ...

    @property
    def secondary(self) -> str:
        """The other."""
        ...


class Collector:
    """The ASGI application of `/api/logs`.

    `keys` are the workspaces' by customerId. `checker` is the one thread that checks long bodies.
    """

    def __init__(
        self,
        settings: Settings,
        keys: View[Mapping[str, SharedKeys]],
        journal: JournalWriter,
        observer: Observer,
        clock: Clock,
        checker: Executor,
    ) -> None:
        self._most = settings.collector.max_bytes
        self._ingest = _widened(settings.ingest, self._most)
        self._budget = Budget(max(settings.ingest.max_pending_bytes, self._most))
        self._keys = keys
        self._journal = journal
        self._observer = observer
        self._clock = clock
        self._checker = checker
        self._log_types: dict[str, set[str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One post."""
        request = Request(scope, receive)
        request_id = correlation.new_request_id()
        try:
            response = await self._answer(request, request_id)
        except ClientGoneError:
            return
        response.headers[correlation.REQUEST_ID.decode()] = request_id
        await response(scope, receive, send)

    async def _answer(self, request: Request, request_id: str) -> Response:
        unread = True
        try:
            source = _read_source(request)
            told = _told_length(request)
            if told is not None:
                # A stranger's body takes no memory.
                self._authenticate(request, source, told)
            with Lease(self._budget) as lease:
                unread = False
                body = await self._body(request, lease)
                if len(body) != told:
                    self._authenticate(request, source, len(body))
                self._know(source)
                admitted = await self._admit(request, body)
                await self._keep(request, request_id, source, admitted)
        except CollectorError as error:
            # A sender that waits for `100 Continue` has not begun, and need not.
            waits = request.headers.get("expect", "").lower() == "100-continue"
            if unread and not waits:
                await drain_body(request.receive, self._ingest.body_timeout_seconds)
            refusal = Refusal(request_id, "", "", "", error.status, error.code, error.message)
            self._observer.refused(refusal)
            response = error_response(error)
            if unread and waits:
                response.headers["connection"] = "close"
            return response
        self._observer.answered(source.rule, source.stream)
        return Response(status_code=200)

    async def _body(self, request: Request, lease: Lease) -> bytes:
        try:
            return await read_body(request.receive, self._most, self._ingest.body_timeout_seconds, lease)
        except BodyTooLargeError as error:
            message = (
                f"A post has at most {self._most} bytes; this one has {error.size}. Send it in smaller parts."
            )
            raise CollectorError(404, "RequestTooLarge", message) from None
        except NoRoomError:
            raise CollectorError(429, "TooManyRequests", "Too many posts are under way.", 1) from None
        except SlowBodyError:
            raise CollectorError(408, "RequestTimeout", "The body did not arrive in time.") from None

    def _authenticate(self, request: Request, source: Source, length: int) -> None:
        """Raises `CollectorError` 403 unless one of the workspace's keys signed the post, not long ago."""
        if self._keys.age() > self._ingest.feed_timeout_seconds:
            message = "This gateway does not know the current keys."
            raise CollectorError(503, "ServiceUnavailable", message, _FEED_RETRY_SECONDS)
        date = request.headers.get("x-ms-date", "")
        moment = _moment(date)
        if moment is None or abs(moment - self._clock.now()) > MAX_SKEW:
            message = "x-ms-date is to be the time of sending, like 'Mon, 04 Apr 2016 08:00:00 GMT'."
            raise CollectorError(403, "InvalidAuthorization", message)
        signature = read_signature(request.headers.get("authorization", ""))
        keys = self._keys.current.get(source.workspace)
        both: Collection[str] = (keys.primary, keys.secondary) if keys is not None else ()
        content_type = request.headers.get("content-type", "")
        if signature is None or not is_signed(signature, both, length, content_type, date):
            message = (
                "The signature is not one of this workspace's keys over this request. Check the workspace id and "
                "the key (POST .../workspaces/{name}/sharedKeys shows it)."
            )
            raise CollectorError(403, "InvalidAuthorization", message)

    def _know(self, source: Source) -> None:
        """Raises `CollectorError` 400 for one log type too many: something is kept of each, table or not."""
        known = self._log_types.setdefault(source.workspace, set())
        if source.log_type not in known and len(known) >= MOST_LOG_TYPES:
            message = (
                f"The workspace has been sent {MOST_LOG_TYPES} log types, and it has at most {MAX_CUSTOM_TABLES} "
                "tables. Send to one of those; what a record is about belongs into a property."
            )
            raise CollectorError(400, "InvalidLogType", message)
        known.add(source.log_type)

    async def _admit(self, request: Request, body: bytes) -> Admitted:
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip"):
            raise CollectorError(
                400, "InvalidDataFormat", f"The Content-Encoding '{encoding[:40]}' is not known."
            )
        if encoding != "gzip" and len(body) <= _SHORT_BYTES:
            return _admitted(body, "", self._ingest)
        loop = asyncio.get_running_loop()
        encoding = encoding if encoding == "gzip" else ""
        return await loop.run_in_executor(self._checker, _admitted, body, encoding, self._ingest)

    async def _keep(self, request: Request, request_id: str, source: Source, admitted: Admitted) -> None:
        if not admitted.rows:
            return
        entry = Entry(
            request_id=request_id,
            client_request_id=correlation.client_request_id(
                request.headers.get("x-ms-client-request-id", "").encode("latin-1")
            ),
            principal=source.workspace,
            rule=source.rule,
            rule_version=source.version,
            stream=source.stream,
            encoding=admitted.encoding,
            body=admitted.body,
            length=admitted.length,
            rows=admitted.rows,
            time_field=source.time_field,
            resource_id=source.resource_id,
        )
        try:
            self._observer.accepted(await self._journal.submit(entry))
        except DiskFullError as error:
            message = "The disk is full."
            raise CollectorError(503, "ServiceUnavailable", message, math.ceil(error.retry_after)) from None
        except JournalFullError as error:
            message = "The pipeline is behind. Try again later."
            raise CollectorError(429, "TooManyRequests", message, math.ceil(error.retry_after)) from None
        except JournalBrokenError:
            message = "The disk refuses to store data."
            raise CollectorError(503, "ServiceUnavailable", message, _BROKEN_RETRY_SECONDS) from None


def _admitted(body: bytes, encoding: str, settings: IngestSettings) -> Admitted:
    """The body as it goes into the journal. Raises `CollectorError` when it is not an array of records, or one."""
    if not encoding:
        body = body.removeprefix(BOM)
        if body.lstrip().startswith(b"{"):
            body = b"[" + body + b"]"
    try:
        return admit_by_parts(body, encoding, settings, _check_reserved)
    except HttpError as error:
        raise CollectorError(400, "InvalidDataFormat", error.problem.message) from None


def _widened(settings: IngestSettings, most: int) -> IngestSettings:
    """The gateway's bounds with a post's size in place of a call's."""
    return settings.model_copy(update={"max_wire_bytes": most, "max_inflated_bytes": most})


def _read_source(request: Request) -> Source:
    """What the headers say of the records. Raises `CollectorError`."""
    if request.method != "POST":
        raise CollectorError(404, "NotFound", "Records are sent with POST.")
    version = request.query_params.get("api-version", "")
    if not version:
        raise CollectorError(400, "MissingApiVersion", f"Add ?api-version={API_VERSION}.")
    if version != API_VERSION:
        raise CollectorError(400, "InvalidApiVersion", f"The api-version is {API_VERSION}.")
    headers = request.headers
    content_type = headers.get("content-type", "")
    if not content_type:
        raise CollectorError(400, "MissingContentType", "Add the header Content-Type: application/json.")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise CollectorError(400, "UnsupportedContentType", "Send application/json as Content-Type.")
    log_type = headers.get("log-type", "").strip()
    if not log_type:
        raise CollectorError(400, "MissingLogType", "Add the header Log-Type: it names the table.")
    if not is_log_type(log_type):
        message = f"A Log-Type is a letter and then letters, digits and '_', {MAX_LOG_TYPE} in all at most."
        raise CollectorError(400, "InvalidLogType", message)
    signature = read_signature(headers.get("authorization", ""))
    if signature is None:
        message = "Add the header Authorization: SharedKey {workspace id}:{signature}."
        raise CollectorError(403, "InvalidAuthorization", message)
    time_field = headers.get("time-generated-field", "").strip()
    resource_id = headers.get("x-ms-azureresourceid", "").strip()
    if time_field and not is_time_field(time_field):
        message = "The header time-generated-field names a property: letters, digits and '_'."
        raise CollectorError(400, "InvalidDataFormat", message)
    if resource_id and not is_resource_id(resource_id):
        raise CollectorError(400, "InvalidDataFormat", "The header x-ms-AzureResourceId is no resource id.")
    return Source(signature.workspace, log_type, time_field, resource_id.lower())


def _told_length(request: Request) -> int | None:
    """The body's length as its sender told it; None when it did not."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _check_reserved(body: bytes) -> None:
    """Raises `CollectorError` when a record has a reserved property. Only bodies that may are looked into."""
    if not any(b'"%s"' % name.encode() in body for name in RESERVED_PROPERTIES):
        return
    names = {
        name for record in msgspec.json.decode(body, type=list[dict[str, msgspec.Raw]]) for name in record
    }
    found = [name for name in RESERVED_PROPERTIES if name in names]
    if found:
        message = f"The property name '{found[0]}' is reserved. Give the property another name."
        raise CollectorError(400, "InvalidDataFormat", message)


def _moment(text: str) -> int | None:
    """An RFC 1123 date in microseconds since 1970; None when it is none."""
    try:
        return from_datetime(parsedate_to_datetime(text))
    except (ValueError, OverflowError):
        return None
