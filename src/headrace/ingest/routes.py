"""The gateway: the Logs Ingestion API in process, everything else handed on.

`POST /dataCollectionRules/{immutableId}/streams/{stream}?api-version=...` is answered here, by plain ASGI and
without disk or SQL save for the journal. Its checks go in Azure's order: size, token, rule, role, stream,
type and encoding, body. 204 is sent when the payload is durable, and never before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.clock import Clock, SystemClock
from headrace.identity.model import INGESTION, Caller, TokenError
from headrace.ingest import errors
from headrace.ingest.admission import Admitted, admit
from headrace.ingest.body import (
    DRAIN_BYTES,
    BodyTooLargeError,
    Budget,
    ClientGoneError,
    Lease,
    NoRoomError,
    SlowBodyError,
    drain_body,
    read_body,
)
from headrace.ingest.errorlog import ErrorLog, Told
from headrace.ingest.model import (
    Dropped,
    Observer,
    Refusal,
    Rights,
    RuleHead,
    SilentObserver,
    Verifier,
    View,
)
from headrace.ingest.throttle import Throttle
from headrace.journal.model import (
    DiskFullError,
    Entry,
    JournalBrokenError,
    JournalFullError,
    JournalWriter,
    Record,
)
from headrace.settings import Settings
from headrace.wire import correlation
from headrace.wire.addresses import Addresses
from headrace.wire.asgi import answer_bytes, answer_empty, answer_error
from headrace.wire.problems import HttpError
from headrace.wire.targets import path_segments, query_value
from headrace.wire.versions import is_well_formed

WRITE_ACTION = "Microsoft.Insights/Telemetry/Write"
"""The data action that a caller needs on the rule."""

_PREFIX = "datacollectionrules"
_MOST_DECISIONS = 10_000
_BROKEN_RETRY_SECONDS = 5.0
_FEED_RETRY_SECONDS = 1.0


class _Call:
    """One request of the ingestion API on its way."""

    __slots__ = (
        "caller",
        "client_id",
        "drained",
        "given_stream",
        "given_up",
        "head",
        "headers",
        "ids",
        "receive",
        "request_id",
        "rule",
        "stream",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.receive = receive
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = correlation.new_request_id()
        self.client_id = correlation.client_request_id(self.headers.get(correlation.CLIENT_REQUEST_ID))
        self.ids = [(correlation.REQUEST_ID, self.request_id.encode())]
        if self.client_id and correlation.wants_client_request_id(
            self.headers.get(correlation.RETURN_CLIENT_REQUEST_ID)
        ):
            self.ids.append((correlation.CLIENT_REQUEST_ID, self.client_id.encode()))
        self.head: RuleHead | None = None
        self.caller: Caller | None = None
        self.rule = ""
        self.given_stream = ""
        self.stream = ""
        self.drained = False
        self.given_up = False

    def header(self, name: bytes) -> str:
        """The header's text; empty when it is not there."""
        return self.headers.get(name, b"").decode("latin-1").strip()

    def content_length(self) -> int | None:
        """The declared length of the body, if any."""
        given = self.headers.get(b"content-length")
        return int(given) if given is not None and given.isdigit() else None

    def known(self, caller: Caller, rule: RuleHead) -> None:
        """A verified caller means an existing rule."""
        self.caller = caller
        self.head = rule
        self.rule = rule.immutable_id

    def told(self) -> Told | None:
        """What an error row says of the call; None as long as its rule is not known."""
        if self.head is None or self.caller is None:
            return None
        return Told(
            rule=self.head,
            principal=self.caller.object_id,
            stream=self.stream or errors.quoted(self.given_stream),
            declared=bool(self.stream),
            request_id=self.request_id,
            client_request_id=self.client_id,
        )


class Gateway:
    """The ASGI 3 application of a gateway process.

    `access` and `rules` are kept up to date from outside; when either is older than
    `settings.ingest.feed_timeout_seconds`, calls are answered 503. `rules` is keyed by lower-case immutable
    id. `metrics` answers `/metrics`, `collector` `/api/logs`, `proxy` every other request that is not the
    ingestion API's. `ready` says whether recovery is done.
    `lifespan`, when given, is entered before the first request and left after the last.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        verifier: Verifier,
        access: View[Rights],
        rules: View[Mapping[str, RuleHead]],
        journal: JournalWriter,
        proxy: ASGIApp,
        ready: Callable[[], bool],
        addresses: Addresses,
        throttle: Throttle,
        observer: Observer | None = None,
        clock: Clock | None = None,
        metrics: ASGIApp | None = None,
        collector: ASGIApp | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._ingest = settings.ingest
        self._mode = settings.mode
        self._verifier = verifier
        self._access = access
        self._rules = rules
        self._journal = journal
        self._proxy = proxy
        self._ready = ready
        self._addresses = addresses
        self._throttle = throttle
        self._observer = observer or SilentObserver()
        self._clock = clock or SystemClock()
        self._error_log = ErrorLog(self._clock)
        self._metrics = metrics
        self._collector = collector
        self._lifespan = lifespan
        self._budget = Budget(settings.ingest.max_pending_bytes)
        self._decided_by: Rights | None = None
        self._decisions: dict[tuple[str, tuple[str, ...], str], bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request, or the server's start and stop."""
        kind = scope["type"]
        if kind == "http":
            await self._request(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        segments = path_segments(raw)
        first = segments[0].lower() if segments else ""
        if first == _PREFIX:
            await self._ingestion(scope, receive, send, segments)
        elif len(segments) == 1 and first in ("healthz", "readyz"):
            await self._health(first, send)
        elif (
            first == "api"
            and len(segments) == 2
            and segments[1].lower() == "logs"
            and self._collector is not None
        ):
            await self._collector(scope, receive, send)
        elif len(segments) == 1 and first == "metrics" and self._metrics is not None:
            await self._metrics(scope, receive, send)
        else:
            await self._proxy(scope, receive, send)

    async def _health(self, name: str, send: Send) -> None:
        good = name == "healthz" or self._ready()
        body = b'{"status":"ok"}' if good else b'{"status":"starting"}'
        await answer_bytes(send, 200 if good else 503, [(b"content-type", b"application/json")], body)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _ingestion(self, scope: Scope, receive: Receive, send: Send, segments: tuple[str, ...]) -> None:
        call = _Call(scope, receive)
        try:
            try:
                if scope["method"] != "POST" or len(segments) != 4 or segments[2].lower() != "streams":
                    raise errors.no_such_operation(scope["method"])
                await self._take(call, scope["query_string"], segments[1], segments[3])
            except HttpError as error:
                await self._refuse(call, scope, send, error)
                return
        except ClientGoneError:
            return
        self._observer.answered(call.rule, call.stream)
        await answer_empty(send, 204, call.ids)

    async def _take(self, call: _Call, query: bytes, immutable_id: str, stream: str) -> None:
        """Everything between the request and its 204. Raises `HttpError`, `ClientGoneError`."""
        call.given_stream = stream
        declared = call.content_length()
        if declared is not None and declared > self._ingest.max_wire_bytes:
            call.given_up = declared > DRAIN_BYTES
            self._identify(call, immutable_id, stream)
            raise errors.wire_body_too_large(self._ingest.max_wire_bytes, declared)
        _check_version(query)
        self._check_feed()
        caller = self._caller(call)
        rule = self._rules.current.get(immutable_id.lower())
        if rule is None:
            raise errors.rule_not_found(immutable_id)
        call.known(caller, rule)
        self._check_role(caller, rule)
        call.stream = _declared_stream(rule, stream)
        wait = self._throttle.enter(rule.immutable_id)
        if wait is not None:
            raise errors.rule_throttled(rule.immutable_id, wait)
        _check_content_type(call.header(b"content-type"))
        encoding = _content_encoding(call.header(b"content-encoding"))
        with Lease(self._budget) as lease:
            body = await self._body(call, lease)
            admitted = admit(body, encoding, self._ingest, self._mode)
            self._throttle.add(rule.immutable_id, admitted.length)
            await self._keep(call, caller, rule, admitted)

    def _identify(self, call: _Call, immutable_id: str, stream: str) -> None:
        """Whose call it is that is refused before anybody asks, as far as that can be told."""
        with suppress(HttpError):
            self._check_feed()
            caller = self._caller(call)
            rule = self._rules.current.get(immutable_id.lower())
            if rule is not None:
                self._check_role(caller, rule)
                call.known(caller, rule)
                call.stream = _declared_stream(rule, stream)

    async def _keep(self, call: _Call, caller: Caller, rule: RuleHead, admitted: Admitted) -> None:
        if admitted.dropped:
            await self._note_dropped(call, admitted)
        if admitted.rows:
            entry = _entry(
                call,
                caller,
                rule,
                call.stream,
                admitted.body,
                admitted.length,
                admitted.rows,
                admitted.encoding,
            )
            self._observer.accepted(await self._append(entry))

    async def _note_dropped(self, call: _Call, admitted: Admitted) -> None:
        """What is left out is told in the journal before anything is answered, within a bound of repeats."""
        whole = not admitted.body
        reason = "not an array" if whole else "not an object"
        self._observer.dropped(
            Dropped(call.request_id, call.client_id, call.rule, call.stream, admitted.dropped, reason)
        )
        told = call.told()
        entry = self._error_log.dropped(told, admitted.dropped, whole=whole) if told is not None else None
        if entry is not None:
            await self._append(entry)

    async def _note_refused(self, call: _Call, error: HttpError) -> None:
        """Tell the rule's owner, as far as the journal takes it: the answer does not depend on it."""
        told = call.told()
        if told is None or isinstance(error.__cause__, JournalFullError | JournalBrokenError):
            return
        entry = self._error_log.refused(told, error.status, error.problem)
        if entry is not None:
            with suppress(HttpError):
                await self._append(entry)

    async def _append(self, entry: Entry) -> Record:
        try:
            return await self._journal.append(entry)
        except DiskFullError as error:
            raise errors.unavailable("The disk is full.", error.retry_after) from error
        except JournalFullError as error:
            raise errors.journal_full(error.retry_after) from error
        except JournalBrokenError as error:
            raise errors.unavailable("The disk refuses to store data.", _BROKEN_RETRY_SECONDS) from error

    async def _body(self, call: _Call, lease: Lease) -> bytes:
        limit = self._ingest.max_wire_bytes
        seconds = self._ingest.body_timeout_seconds
        try:
            body = await read_body(call.receive, limit, seconds, lease)
        except BodyTooLargeError as error:
            call.drained = error.drained
            call.given_up = not error.drained
            raise errors.wire_body_too_large(limit, error.size) from error
        except NoRoomError as error:
            call.drained = error.drained
            raise errors.memory_full() from error
        except SlowBodyError as error:
            call.given_up = True
            raise errors.slow_body(seconds) from error
        call.drained = True
        return body

    def _check_feed(self) -> None:
        limit = self._ingest.feed_timeout_seconds
        if self._rules.age() > limit or self._access.age() > limit:
            raise errors.unavailable(
                "This gateway does not know the current rules and permissions.", _FEED_RETRY_SECONDS
            )

    def _caller(self, call: _Call) -> Caller:
        given = call.headers.get(b"authorization")
        try:
            return self._verifier.verify(None if given is None else given.decode("latin-1"), INGESTION)
        except TokenError as error:
            base = self._addresses.base(call.header(b"host") or None)
            authority = f"{base}/{self._access.current.tenant}"
            raise errors.token_refused(error, authority) from error

    def _check_role(self, caller: Caller, rule: RuleHead) -> None:
        """A decision is kept only as long as the snapshot of the store that it was made on."""
        rights = self._access.current
        if rights is not self._decided_by or len(self._decisions) > _MOST_DECISIONS:
            self._decided_by = rights
            self._decisions = {}
        key = (caller.object_id, caller.groups, rule.resource_id)
        allowed = self._decisions.get(key)
        if allowed is None:
            allowed = rights.allows(
                caller.object_id, WRITE_ACTION, rule.resource_id, data=True, groups=caller.groups
            )
            self._decisions[key] = allowed
        if not allowed:
            raise errors.access_denied(rule.immutable_id, rule.resource_id, rights.tenant, caller.object_id)

    async def _refuse(self, call: _Call, scope: Scope, send: Send, error: HttpError) -> None:
        """Let the client finish sending, then answer: one that still writes would see a reset instead."""
        headers = call.ids
        if not (call.drained or call.given_up):
            call.drained = await drain_body(call.receive, self._ingest.body_timeout_seconds)
        if not call.drained and scope.get("http_version", "1.1").startswith("1"):
            headers = [*headers, (b"connection", b"close")]
        problem = error.problem
        await self._note_refused(call, error)
        self._observer.refused(
            Refusal(
                call.request_id,
                call.client_id,
                call.rule,
                call.stream,
                error.status,
                problem.code,
                problem.message,
                call.caller.object_id if call.caller else "",
                call.caller.app_id if call.caller else "",
                str((scope.get("client") or ("",))[0]),
            )
        )
        await answer_error(send, error, headers)


def _check_version(query: bytes) -> None:
    version = query_value(query, "api-version")
    if not version:
        raise errors.missing_version()
    if not is_well_formed(version):
        raise errors.invalid_version(version)


def _entry(
    call: _Call,
    caller: Caller,
    rule: RuleHead,
    stream: str,
    body: bytes,
    length: int,
    rows: int,
    encoding: str,
) -> Entry:
    return Entry(
        request_id=call.request_id,
        client_request_id=call.client_id,
        principal=caller.object_id,
        rule=rule.immutable_id,
        rule_version=rule.version,
        stream=stream,
        encoding=encoding,
        body=body,
        length=length,
        rows=rows,
    )


def _declared_stream(rule: RuleHead, stream: str) -> str:
    """The stream as the rule spells it: the exact name first, then in any case."""
    if stream in rule.streams:
        return stream
    wanted = stream.lower()
    for name in rule.streams:
        if name.lower() == wanted:
            return name
    raise errors.stream_not_found(stream, rule.immutable_id, rule.streams)


def _check_content_type(given: str) -> None:
    if given == "application/json":
        return
    kind, _, parameters = given.partition(";")
    if kind.strip().lower() != "application/json":
        raise errors.wrong_content_type(given)
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise errors.wrong_content_type(given)


def _content_encoding(given: str) -> str:
    """Empty or `gzip`."""
    lowered = given.lower()
    if lowered in ("gzip", "x-gzip"):
        return "gzip"
    if lowered in ("", "identity"):
        return ""
    raise errors.wrong_content_encoding(given)
