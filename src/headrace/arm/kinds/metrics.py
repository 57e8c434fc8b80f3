"""Metrics of a data collection rule. Mirrors Microsoft.Insights/metrics and metricDefinitions."""

from __future__ import annotations

from headrace.arm import store
from headrace.arm.ids import METRIC_DEFINITION_TYPE, METRIC_NAMESPACE_TYPE, METRIC_TYPE, RULE_TYPE
from headrace.arm.kinds.base import Kind
from headrace.arm.kinds.scopes import require_scope_resource
from headrace.arm.metricquery import answer, definitions_of, read_query
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.observe.rule_metrics import NAMESPACE
from headrace.wire.problems import http_error

_NONE = Answer(200, {"value": []})


class Metrics(Kind):
    """Microsoft.Insights/metrics of a rule: read only."""

    type = METRIC_TYPE

    def list(self, call: Call) -> Answer:
        """GET of numbers."""
        rule = _rule(call)
        asked = read_query(call.query, call.now)
        # A rule that takes calls counts them under its immutable id.
        points = call.deps.metrics(rule.unique_id or "", asked.start, asked.end)
        return Answer(200, answer(asked, rule.id, rule.location, points))


class MetricDefinitions(Kind):
    """Microsoft.Insights/metricDefinitions: a rule's; of all else there are none."""

    type = METRIC_DEFINITION_TYPE

    def list(self, call: Call) -> Answer:
        """GET of the metrics that there are."""
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
