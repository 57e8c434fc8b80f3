"""Rows of `DCRLogErrors` that a gateway writes into its journal: calls it refused, and what it left out of bodies."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.clock import Clock
from headrace.errors import Problem
from headrace.ingest.model import RuleHead
from headrace.journal.model import Entry
from headrace.observe import log_errors


@dataclass(frozen=True, slots=True)
class Told:
    """The call that a row is about. `principal` is its caller's object id; `declared`: the rule has the stream."""

    rule: RuleHead
    principal: str
    stream: str
    declared: bool
    request_id: str
    client_request_id: str


class ErrorLog:
    """Makes the journal entries, and bounds how many of a kind there are in an hour; one for each gateway."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._repeats = log_errors.Repeats()

    def refused(self, told: Told, status: int, problem: Problem) -> Entry | None:
        """The entry about a call that was answered with an error; None where its kind is silent for now."""
        text = log_errors.refused_message(status, problem.code, problem.message)
        return self._entry(told, problem.code, text)

    def dropped(self, told: Told, members: int, *, whole: bool) -> Entry | None:
        """The entry about members, or a bare object, that mode `compatible` answered 204 and left out."""
        text = log_errors.dropped_message(members, whole=whole)
        return self._entry(told, "bare object" if whole else "other members", text)

    def _entry(self, told: Told, kind: str, text: str) -> Entry | None:
        rule = told.rule
        # Names that a client makes up are no kinds of their own: they would never fall silent.
        key = (rule.immutable_id, told.stream if told.declared else "", kind)
        message = self._repeats.message(key, self._clock.now(), text)
        if message is None:
            return None
        row = log_errors.ErrorRow(
            OperationName="Ingestion",
            InputStreamId=told.stream,
            Message=message,
            ClientRequestId=told.client_request_id,
            CorrelationId=told.request_id,
            resource_id=rule.resource_id.lower(),
        )
        body = log_errors.encode_rows([row])
        return Entry(
            request_id=told.request_id,
            client_request_id=told.client_request_id,
            principal=told.principal,
            rule=rule.immutable_id,
            rule_version=rule.version,
            stream=log_errors.STREAM,
            encoding="",
            body=body,
            length=len(body),
            rows=1,
        )
