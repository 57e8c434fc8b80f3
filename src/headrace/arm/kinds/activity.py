"""The activity log: who changed what of a subscription. Mirrors Microsoft.Insights/eventtypes/values."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from http.client import responses
from itertools import islice
from typing import Any

from headrace.arm.filters import Term, parse_filter
from headrace.arm.ids import EVENT_TYPE, parse_id
from headrace.arm.kinds.base import Kind, invalid, require_scope
from headrace.arm.model import Activity, Answer, Call
from headrace.clock import from_iso, iso

MAX_EVENTS = 5000
_TIME = "eventtimestamp"
_NAMESPACE = uuid.UUID("0d5e5a52-9a4e-4c5c-8b43-0c7a1d9c5f70")
_TEXTS: dict[str, Callable[[Activity], str]] = {
    "resourcegroupname": lambda event: _group(event),
    "resourceuri": lambda event: event.scope,
    "resourceid": lambda event: event.scope,
    "resourceprovider": lambda event: event.operation.partition("/")[0],
    "correlationid": lambda event: event.correlation,
    "caller": lambda event: event.principal,
    "status": lambda event: _status(event),
    "operations": lambda event: event.operation,
}
_KEPT_WHOLE = frozenset({"eventchannels", "levels"})
"""Terms of Azure's that let every event of this log through."""


class Events(Kind):
    """`/subscriptions/{id}/providers/Microsoft.Insights/eventtypes/management/values`."""

    type = EVENT_TYPE

    def list(self, call: Call) -> Answer:
        """GET of the newest events, newest first, that `$filter` lets through."""
        require_scope(call)
        terms = parse_filter(call.query.get("$filter"), {_TIME, *_TEXTS, *_KEPT_WHOLE})
        times = {term.value: _moment(term.value) for term in terms if term.field == _TIME}
        root = call.target.scope
        found = islice(
            (
                event
                for event in call.deps.activity(*_window(terms, times))
                if _inside(event, root) and all(_holds(event, term, times) for term in terms)
            ),
            MAX_EVENTS,
        )
        chosen = [name.strip() for name in call.query.get("$select", "").split(",") if name.strip()]
        shown = [_document(call, event) for event in found]
        if chosen:
            shown = [{name: item[name] for name in chosen if name in item} for item in shown]
        return Answer(200, {"value": shown})


def _window(terms: Sequence[Term], times: Mapping[str, int]) -> tuple[int | None, int | None]:
    """The span of time that no event outside of it can be let through by, in UTC microseconds."""
    bounds = [(term.op, times[term.value]) for term in terms if term.field == _TIME]
    since = max((moment for op, moment in bounds if op in ("ge", "gt", "eq")), default=None)
    until = min((moment for op, moment in bounds if op in ("le", "lt", "eq")), default=None)
    return since, until


def _inside(event: Activity, root: str) -> bool:
    scope, key = event.scope.lower(), root.lower()
    return scope == key or scope.startswith(f"{key}/")


def _holds(event: Activity, term: Term, times: Mapping[str, int]) -> bool:
    if term.field in _KEPT_WHOLE:
        return True
    if term.field != _TIME:
        return term.holds(_TEXTS[term.field](event))
    moment, wanted = event.time, times[term.value]
    return {
        "ge": moment >= wanted,
        "gt": moment > wanted,
        "le": moment <= wanted,
        "lt": moment < wanted,
        "eq": moment == wanted,
    }.get(term.op, True)


def _moment(text: str) -> int:
    try:
        return from_iso(text)
    except ValueError:
        raise invalid("eventTimestamp is compared with an ISO 8601 time.", "$filter") from None


def _group(event: Activity) -> str:
    target = parse_id(event.scope)
    return target.group or "" if target is not None else ""


def _status(event: Activity) -> str:
    return "Succeeded" if event.status < 400 else "Failed"


def _named(value: str) -> dict[str, str]:
    return {"value": value, "localizedValue": value}


def _document(call: Call, event: Activity) -> dict[str, Any]:
    target = parse_id(event.scope)
    kind = target.type if target is not None else event.operation.rpartition("/")[0]
    phrase = responses.get(event.status, "")
    own = str(uuid.uuid5(_NAMESPACE, f"{event.time}/{event.correlation}/{event.operation}/{event.scope}"))
    return {
        "id": f"{event.scope}/events/{own}",
        "eventDataId": own,
        "eventName": {"value": "EndRequest", "localizedValue": "End request"},
        "category": _named("Administrative"),
        "channels": "Operation",
        "level": "Informational" if event.status < 400 else "Error",
        "eventTimestamp": iso(event.time),
        "submissionTimestamp": iso(event.time),
        "operationName": _named(event.operation),
        "operationId": event.correlation,
        "correlationId": event.correlation,
        "status": _named(_status(event)),
        "subStatus": {
            "value": event.code or phrase.replace(" ", ""),
            "localizedValue": f"{event.code or phrase} (HTTP Status Code: {event.status})",
        },
        "caller": event.principal,
        "claims": {"appid": event.client} if event.client else {},
        "authorization": {"action": event.operation, "scope": event.scope},
        "httpRequest": {"clientIpAddress": event.address, "clientRequestId": event.correlation},
        "resourceId": event.scope,
        "resourceGroupName": target.group if target is not None else None,
        "resourceProviderName": _named(kind.partition("/")[0]),
        "resourceType": _named(kind),
        "subscriptionId": call.target.subscription,
        "tenantId": call.caller.tenant,
        "properties": {"statusCode": str(event.status), "errorCode": event.code},
    }
