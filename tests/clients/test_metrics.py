"""Metrics of a rule with Azure's management client."""

from __future__ import annotations

import time

import pytest

from tests.clients.conftest import Azure

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_metrics_of_a_rule(azure: Azure) -> None:
    env = azure.env
    rule = azure.monitor.data_collection_rules.get(env["HEADRACE_RESOURCE_GROUP"], "headrace-rule")
    defined = {one.name.value: one for one in azure.monitor.metric_definitions.list(rule.id)}
    assert defined["ApiCallReceived_Count"].primary_aggregation_type == "Total"
    azure.ingestion.upload(
        env["HEADRACE_DCR_IMMUTABLE_ID"], env["HEADRACE_DCR_STREAM"], [{"Message": "measured"}]
    )
    deadline = time.monotonic() + 60
    while True:
        answer = azure.monitor.metrics.list(
            rule.id,
            metricnames="ApiCallReceived_Count",
            aggregation="Total",
            interval="PT1M",
            filter="ResponseCode eq '204'",
        )
        (metric,) = answer.value
        if sum(point.total for series in metric.timeseries for point in series.data) >= 1:
            break
        assert time.monotonic() < deadline, "the call is not counted"
        time.sleep(0.2)
    assert answer.namespace == "microsoft.insights/datacollectionrules"
    assert (metric.name.value, metric.unit) == ("ApiCallReceived_Count", "Count")
