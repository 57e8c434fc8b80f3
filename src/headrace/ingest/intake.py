"""From a request to a durable record: the checks in Azure's order, and what is told of each outcome.

Nothing here waits or touches a disk: `check` looks at a request's head, `keep` at its body and hands it to the
journal. The connection that a request came by reads the body in between and answers at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from headrace.clock import Clock, SystemClock
from headrace.identity.model import INGESTION, Caller, TokenError
from headrace.ingest import errors
from headrace.ingest.admission import Admitted, admit
from headrace.ingest.body import Budget
from headrace.ingest.call import Call
from headrace.ingest.errorlog import ErrorLog
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
    Pending,
    Record,
)
from headrace.settings import Settings
from headrace.wire.addresses import Addresses
from headrace.wire.problems import HttpError
from headrace.wire.targets import query_value
from headrace.wire.versions import is_well_formed

WRITE_ACTION = "Microsoft.Insights/Telemetry/Write"
"""The data action that a caller needs on the rule."""

_MOST_DECISIONS = 10_000
_MOST_VERSIONS = 64
_BROKEN_RETRY_SECONDS = 5.0
_FEED_RETRY_SECONDS = 1.0


class Intake:
    """What a gateway's connections share; for its event loop alone.

    `access` and `rules` are kept up to date from outside; when either is older than
    `settings.ingest.feed_timeout_seconds`, calls are refused with 503. `rules` is keyed by lower-case immutable
    id. `budget` are the bytes that all bodies under way may take.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        verifier: Verifier,
        access: View[Rights],
        rules: View[Mapping[str, RuleHead]],
        journal: JournalWriter,
        addresses: Addresses,
        throttle: Throttle,
        observer: Observer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings.ingest
        self.budget = Budget(settings.ingest.max_pending_bytes)
        self._mode = settings.mode
        self._verifier = verifier
        self._access = access
        self._rules = rules
        self._journal = journal
        self._addresses = addresses
        self._throttle = throttle
        self._observer = observer or SilentObserver()
        self._error_log = ErrorLog(clock or SystemClock())
        self._decided_by: Rights | None = None
        self._decisions: dict[tuple[str, tuple[str, ...], str], bool] = {}
        self._versions: set[bytes] = set()

    def check(self, call: Call, query: bytes, immutable_id: str, stream: str) -> None:
        """Everything that can be said before the body is there. Raises `HttpError`."""
        call.given_stream = stream
        declared = call.content_length()
        if declared is not None and declared > self.settings.max_wire_bytes:
            self._identify(call, immutable_id, stream)
            raise errors.wire_body_too_large(self.settings.max_wire_bytes, declared)
        self._check_version(query)
        self._check_feed()
        caller = self._caller(call)
        rule = self._rules.current.get(immutable_id.lower())
        if rule is None:
            raise errors.rule_not_found(immutable_id)
        call.caller, call.rule = caller, rule
        self._check_role(caller, rule)
        call.stream = _declared_stream(rule, stream)
        wait = self._throttle.enter(rule.immutable_id)
        if wait is not None:
            raise errors.rule_throttled(rule.immutable_id, wait)
        _check_content_type(call.header(b"content-type"))
        call.encoding = _content_encoding(call.header(b"content-encoding"))

    def keep(self, call: Call, body: bytes) -> list[Pending]:
        """Check the body of a call that passed `check`, and hand it to the journal.

        What is returned must be done before the 204; see `kept`. Raises `HttpError`.
        """
        assert call.caller is not None and call.rule is not None
        admitted = admit(body, call.encoding, self.settings, self._mode)
        self._throttle.add(call.rule.immutable_id, admitted.length)
        pending: list[Pending] = []
        if admitted.dropped:
            self._note_dropped(call, admitted, pending)
        if admitted.rows:
            entry = Entry(
                request_id=call.request_id,
                client_request_id=call.client_id,
                principal=call.caller.object_id,
                rule=call.rule.immutable_id,
                rule_version=call.rule.version,
                stream=call.stream,
                encoding=admitted.encoding,
                body=admitted.body,
                length=admitted.length,
                rows=admitted.rows,
            )
            pending.append(self._submit(entry, admitted.inflated))
        return pending

    def kept(self, call: Call, records: Sequence[Record]) -> None:
        """All of a call is durable: note it; the 204 may go out."""
        for record in records:
            if record.entry.stream == call.stream:
                self._observer.accepted(record)
        self._observer.answered(call.rule_id, call.stream)

    def refused(self, call: Call, error: HttpError) -> None:
        """Note a call that is answered with an error."""
        problem = error.problem
        self._observer.refused(
            Refusal(
                call.request_id,
                call.client_id,
                call.rule_id,
                call.stream,
                error.status,
                problem.code,
                problem.message,
                call.caller.object_id if call.caller else "",
                call.caller.app_id if call.caller else "",
                call.address,
            )
        )

    def note_refused(self, call: Call, error: HttpError) -> Pending | None:
        """Tell the rule's owner of a call that is answered with an error, as far as the journal takes it.

        The answer waits for what is returned, and is the same however it ends.
        """
        told = call.told()
        if told is None or isinstance(error.__cause__, JournalFullError | JournalBrokenError):
            return None
        entry = self._error_log.refused(told, error.status, error.problem)
        if entry is None:
            return None
        with suppress(HttpError):
            return self._submit(entry)
        return None

    def _identify(self, call: Call, immutable_id: str, stream: str) -> None:
        """Whose call it is that is refused before anybody asks, as far as that can be told."""
        with suppress(HttpError):
            self._check_feed()
            caller = self._caller(call)
            rule = self._rules.current.get(immutable_id.lower())
            if rule is not None:
                self._check_role(caller, rule)
                call.caller, call.rule = caller, rule
                call.stream = _declared_stream(rule, stream)

    def _note_dropped(self, call: Call, admitted: Admitted, pending: list[Pending]) -> None:
        """What is left out is told in the journal before anything is answered, within a bound of repeats."""
        whole = not admitted.body
        reason = "not an array" if whole else "not an object"
        self._observer.dropped(
            Dropped(call.request_id, call.client_id, call.rule_id, call.stream, admitted.dropped, reason)
        )
        told = call.told()
        entry = self._error_log.dropped(told, admitted.dropped, whole=whole) if told is not None else None
        if entry is not None:
            pending.append(self._submit(entry))

    def _submit(self, entry: Entry, inflated: bytes | None = None) -> Pending:
        try:
            return self._journal.submit(entry, inflated)
        except (JournalFullError, JournalBrokenError) as error:
            raise journal_refusal(error) from error

    def _check_version(self, query: bytes) -> None:
        """Queries that passed are remembered, a few of them: clients send the same one always."""
        if query in self._versions:
            return
        version = query_value(query, "api-version")
        if not version:
            raise errors.missing_version()
        if not is_well_formed(version):
            raise errors.invalid_version(version)
        if len(self._versions) < _MOST_VERSIONS:
            self._versions.add(query)

    def _check_feed(self) -> None:
        limit = self.settings.feed_timeout_seconds
        if self._rules.age() > limit or self._access.age() > limit:
            raise errors.unavailable(
                "This gateway does not know the current rules and permissions.", _FEED_RETRY_SECONDS
            )

    def _caller(self, call: Call) -> Caller:
        given = call.headers.get(b"authorization")
        try:
            return self._verifier.verify(None if given is None else given.decode("latin-1"), INGESTION)
        except TokenError as error:
            authority = self._addresses.authority(call.header(b"host") or None, self._access.current.tenant)
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


def journal_refusal(error: BaseException) -> HttpError:
    """The answer to a call that the journal did not take, caused by `error`. Raises it if that is not why."""
    if isinstance(error, DiskFullError):
        refusal = errors.unavailable("The disk is full.", error.retry_after)
    elif isinstance(error, JournalFullError):
        refusal = errors.journal_full(error.retry_after)
    elif isinstance(error, JournalBrokenError):
        refusal = errors.unavailable("The disk refuses to store data.", _BROKEN_RETRY_SECONDS)
    else:
        raise error
    refusal.__cause__ = error
    return refusal


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
