"""Metrics of data collection rules. Mirrors Microsoft.Insights/metrics, metricDefinitions and metrics:getBatch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace.arm import store
from headrace.arm.ids import (
    METRIC_BATCH_TYPE,
    METRIC_DEFINITION_TYPE,
    METRIC_NAMESPACE_TYPE,
    METRIC_TYPE,
    RULE_TYPE,
    parse_id,
)
from headrace.arm.kinds.base import Kind, find_member, invalid, require_scope
from headrace.arm.kinds.scopes import require_scope_resource
from headrace.arm.metricquery import MetricQuery, answer, definitions_of, read_query
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.clock import iso
from headrace.identity.challenge import arm_forbidden
from headrace.observe.rule_metrics import NAMESPACE, Point
from headrace.wire.problems import http_error

_NONE = Answer(200, {"value": []})


MOST_RESOURCES = 50
"""Resources of one batch: Azure's bound."""

_MOST_RULES = 1000
_READ = f"{METRIC_TYPE}/read"
_IN_BODIES = {"filter": "$filter"}
"""Parameters that have other names in bodies and batches."""


class Metrics(Kind):
    """Microsoft.Insights/metrics, read only: of a rule, or of a subscription's rules together."""

    type = METRIC_TYPE

    def list(self, call: Call) -> Answer:
        """GET of numbers."""
        return self._answer(call, call.query)

    def ask(self, call: Call) -> Answer:
        """POST of a question that is too long for an address; the body's parameters go before the address's."""
        return self._answer(call, {**call.query, **_parameters(call.body)})

    def _answer(self, call: Call, query: Mapping[str, str]) -> Answer:
        across = _is_subscription(call)
        asked = read_query(query, call.now, across=across)
        rules = [_rule(call)] if not across else _rules_of(call, asked, query.get("region", ""))
        scope, place = (
            (call.target.scope, query.get("region", "")) if across else (rules[0].id, rules[0].location)
        )
        return Answer(
            200, answer(asked, scope, place, [(rule.id, _points(call, rule, asked)) for rule in rules])
        )


class MetricsBatch(Kind):
    """`POST /subscriptions/{id}/metrics:getBatch`: numbers of several rules, each with an answer of its own."""

    type = METRIC_BATCH_TYPE

    def ask(self, call: Call) -> Answer:
        """POST of the resources' ids; everything else stands in the address."""
        require_scope(call)
        listed = find_member(call.body, "resourceids")
        if not isinstance(listed, list) or not 0 < len(listed) <= MOST_RESOURCES:
            raise invalid(f"'resourceids' is a list of 1 to {MOST_RESOURCES} resource ids.", "resourceids")
        rules = [_readable(call, resource_id) for resource_id in listed]
        given = {_IN_BODIES.get(name, name): value for name, value in call.query.items()}
        start, end = given.get("starttime"), given.get("endtime")
        if start or end:
            given["timespan"] = f"{start or 'PT1H'}/{end or iso(call.now)}"
        asked = read_query(given, call.now)
        return Answer(200, {"values": [self._one(call, asked, rule) for rule in rules]})

    @staticmethod
    def _one(call: Call, asked: MetricQuery, rule: Resource) -> dict[str, Any]:
        document = answer(asked, rule.id, rule.location, [(rule.id, _points(call, rule, asked))])
        start, _, end = document.pop("timespan").partition("/")
        return {"starttime": start, "endtime": end, "resourceid": rule.id, **document}


class MetricDefinitions(Kind):
    """Microsoft.Insights/metricDefinitions: a rule's, or those of all rules; of all else there are none."""

    type = METRIC_DEFINITION_TYPE

    def list(self, call: Call) -> Answer:
        """GET of the metrics that there are."""
        if _is_subscription(call) and call.query.get("metricnamespace", "").lower() == NAMESPACE.lower():
            return Answer(200, definitions_of(call.target.scope))
        rule = _found(call)
        return _NONE if rule is None else Answer(200, definitions_of(rule.id))


class MetricNamespaces(Kind):
    """Microsoft.Insights/metricNamespaces: a rule has the platform's one, all else has none."""

    type = METRIC_NAMESPACE_TYPE

    def list(self, call: Call) -> Answer:
        """GET of the namespaces."""
        rule = _found(call)
        if rule is None:
            return _NONE
        name = NAMESPACE.replace("/", "-")
        shown = {
            "id": f"{rule.id}/providers/microsoft.insights/metricNamespaces/{name}",
            "type": METRIC_NAMESPACE_TYPE,
            "name": name,
            "classification": "Platform",
            "properties": {"metricNamespaceName": NAMESPACE},
        }
        return Answer(200, {"value": [shown]})


def _found(call: Call) -> Resource | None:
    """The rule that the call is about; None where it is about something else that is there. Raises `HttpError` 404."""
    item = store.get(call.connection, call.target.scope.lower())
    if item is not None and item.type == RULE_TYPE:
        return item
    require_scope_resource(call)
    return None


def _rule(call: Call) -> Resource:
    rule = _found(call)
    if rule is None:
        raise http_error(
            404,
            "ResourceNotFound",
            f"There is no data collection rule '{call.target.scope}'. Only these have metrics here.",
        )
    return rule


def _points(call: Call, rule: Resource, asked: MetricQuery) -> Iterable[tuple[int, Point]]:
    # A rule that takes calls counts them under its immutable id.
    return call.deps.metrics(rule.unique_id or "", asked.start, asked.end)


def _is_subscription(call: Call) -> bool:
    return call.target.subscription is not None and call.target.scope.count("/") == 2


def _rules_of(call: Call, asked: MetricQuery, region: str) -> Sequence[Resource]:
    """The subscription's rules that are asked about."""
    require_scope(call)
    place = region.replace(" ", "").lower()
    rules = store.select_page(
        call.connection, RULE_TYPE, subscription=call.target.subscription, limit=_MOST_RULES
    )
    return [rule for rule in rules if place in ("", "global", rule.location) and asked.takes(rule.id)]


def _readable(call: Call, resource_id: object) -> Resource:
    """A rule of the subscription whose numbers the caller may read. Raises `HttpError`."""
    target = parse_id(resource_id) if isinstance(resource_id, str) else None
    if target is None or target.type != RULE_TYPE or target.subscription != call.target.subscription:
        raise invalid(
            "Each of 'resourceids' is the id of a data collection rule in the address's subscription.",
            "resourceids",
        )
    caller = call.caller
    if not call.deps.access.current.allows(caller.object_id, _READ, target.id, groups=caller.groups):
        raise arm_forbidden(caller, _READ, target.id)
    found = store.get(call.connection, target.key)
    if found is None:
        raise http_error(404, "ResourceNotFound", f"The Resource '{target.short}' was not found.")
    return found


def _parameters(body: Mapping[str, Any]) -> dict[str, str]:
    """A body's parameters by their lower-case names in addresses. Raises `HttpError` 400."""
    found = {}
    for name, value in body.items():
        if value is None:
            continue
        if not isinstance(value, str | int | float | bool):
            raise invalid(f"'{name[:64]}' is a text, a number or a bool.", name[:64])
        found[_IN_BODIES.get(name.lower(), name.lower())] = str(value)
    return found
