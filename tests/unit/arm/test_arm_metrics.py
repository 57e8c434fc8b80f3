"""Metrics of rules: queries as Azure's clients send them, answered from numbers by the minute."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.arm.conftest import GROUP, RULE, SUBSCRIPTION, WORKSPACE, World, rule_body

from headrace.arm.metricquery import answer, read_query
from headrace.clock import HOUR, MINUTE, iso
from headrace.observe.rule_metrics import Point
from headrace.wire.problems import HttpError

NOW = 480_000 * HOUR + 30 * MINUTE
POINTS = [
    (NOW - 3 * MINUTE, Point(1, "Custom-A", "204", 10, 1)),
    (NOW - 3 * MINUTE, Point(1, "Custom-A", "400", 2, 1)),
    (NOW - 2 * MINUTE, Point(1, "Custom-B", "204", 5, 1)),
    (NOW - 2 * MINUTE, Point(5, "Custom-A", "", 90, 3)),
    (NOW - MINUTE, Point(5, "Custom-A", "", 10, 2)),
]


def ask(**query: str) -> list[dict[str, Any]]:
    span = f"{iso(NOW - 4 * MINUTE)}/{iso(NOW)}"
    names = {"filter": "$filter"}
    asked = read_query(
        {"timespan": span, **{names.get(name, name): text for name, text in query.items()}}, NOW
    )
    document = answer(asked, "/rules/r", "eastus", POINTS)
    assert document["namespace"] == "microsoft.insights/datacollectionrules"
    series: list[dict[str, Any]] = document["value"][0]["timeseries"]
    return series


def totals(series: dict[str, Any]) -> list[float]:
    return [point["total"] for point in series["data"]]


def test_without_a_filter_a_metric_is_one_series() -> None:
    (series,) = ask(metricnames="ApiCallReceived_Count")
    assert series["metadatavalues"] == []
    assert totals(series) == [0, 12, 5, 0]
    assert series["data"][1]["timeStamp"] == "2024-10-04T00:27:00Z"


def test_dimensions_split_and_narrow() -> None:
    name = "ApiCallReceived_Count"
    split = ask(metricnames=name, filter="InputStreamId eq '*'")
    assert [(one["metadatavalues"][0]["value"], totals(one)) for one in split] == [
        ("Custom-A", [0, 12, 0, 0]),
        ("Custom-B", [0, 0, 5, 0]),
    ]
    assert split[0]["metadatavalues"][0]["name"]["value"] == "inputstreamid"
    (one,) = ask(metricnames=name, filter="InputStreamId eq 'custom-a' and ResponseCode ne '204'")
    assert totals(one) == [0, 2, 0, 0]
    both = ask(
        metricnames=name, filter="(ResponseCode eq '204' or ResponseCode eq '400') and InputStreamId sw 'C'"
    )
    assert len(both) == 3
    assert len(ask(metricnames=name, filter="InputStreamId eq '*'", top="1")) == 1
    assert ask(metricnames=name, filter="InputStreamId eq 'Nope'") == []


def test_intervals_and_aggregations() -> None:
    (series,) = ask(
        metricnames="TransformRuntime_DurationMs",
        interval="PT5M",
        aggregation="average,Maximum,minimum,count,total",
    )
    (point,) = series["data"]
    del point["timeStamp"]
    assert point == {"average": 20, "maximum": 30, "minimum": 5, "count": 5, "total": 100}
    (whole,) = ask(metricnames="TransformRuntime_DurationMs", interval="FULL")
    assert [one["average"] for one in whole["data"]] == [20]
    (minutes,) = ask(metricnames="TransformationRuntime_DurationMs")
    # Without a run there is no average.
    assert [one.get("average") for one in minutes["data"]] == [None, None, 30, 5]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("metricnames", "Nope"),
        ("metricnames", ",".join(["BytesReceived_Count"] * 21)),
        ("interval", "PT2M"),
        ("aggregation", "median"),
        ("timespan", "yesterday"),
        ("timespan", "2024-01-02/2024-01-01"),
        ("timespan", "2020-01-01/2024-01-01"),
        ("timespan", "P"),
        ("timespan", "P1D/0001-01-01T00:00:00Z"),
        ("timespan", "9999-12-31T12:00:00Z/PT13H"),
        ("top", "0"),
        ("top", "many"),
        ("top", "\u00b2"),
        ("top", "0000000019999"),
        ("$filter", "Nope eq '1'"),
        ("$filter", "InputStreamId eq 1"),
        ("$filter", "InputStreamId eq 'a' or ResponseCode eq '1'"),
        ("$filter", "x" * 5000),
    ],
)
def test_what_is_wrong_is_named(parameter: str, value: str) -> None:
    with pytest.raises(HttpError) as caught:
        read_query({"metricnames": "ApiCallReceived_Count", parameter: value}, NOW)
    assert caught.value.status == 400
    assert caught.value.problem.target == parameter


def test_timespans_in_every_form() -> None:
    for text, start, end in (
        ("PT1H", NOW - HOUR + MINUTE, NOW + MINUTE),
        (f"{iso(NOW - HOUR)}/{iso(NOW)}", NOW - HOUR, NOW),
        (f"{iso(NOW - HOUR)}/PT30M", NOW - HOUR, NOW - HOUR // 2),
        (f"PT30M/{iso(NOW)}", NOW - HOUR // 2, NOW),
        ("2024-10-04T02:00:00 02:00/2024-10-04T00:30:00", 480_000 * HOUR, NOW),
    ):
        asked = read_query({"timespan": text}, NOW)
        assert (asked.start, asked.end) == (start, end), text


def test_routes_of_a_rule(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    for version in ("2018-01-01", "2019-07-01", "2023-10-01", "2024-02-01"):
        document = world.get(f"{RULE}/providers/Microsoft.Insights/metrics", version=version)
        assert [one["name"]["value"] for one in document["value"]] == ["BytesReceived_Count"]
        assert document["value"][0]["id"].startswith(RULE)
        assert document["resourceregion"] == "eastus"
    defined = world.get(f"{RULE}/providers/microsoft.insights/metricDefinitions", version="2018-01-01")[
        "value"
    ]
    assert [one["name"]["value"] for one in defined] == [
        "BytesReceived_Count",
        "ApiCallReceived_Count",
        "RowsDropped_Count",
        "RowsReceived_Count",
        "TransformationErrors_Count",
        "TransformationRuntime_DurationMs",
    ]
    assert [one["value"] for one in defined[1]["dimensions"]] == ["InputStreamId", "ResponseCode"]
    names = world.get(f"{RULE}/providers/Microsoft.Insights/metricNamespaces", version="2024-02-01")
    assert names["value"][0]["properties"]["metricNamespaceName"] == "microsoft.insights/datacollectionrules"


def test_a_metric_is_answered_under_the_name_that_it_was_asked_by(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    for asked in ("TransformationErrors_Count", "TransformErrors_Count"):
        path = f"{RULE}/providers/Microsoft.Insights/metrics?metricnames={asked.lower()}"
        (found,) = world.get(path, version="2024-02-01")["value"]
        assert found["name"] == {"value": asked, "localizedValue": "Logs Transform Errors per Min"}


def test_only_rules_have_metrics_and_only_readers_see_them(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    path = "/providers/Microsoft.Insights/metrics"
    assert world.call("GET", f"{WORKSPACE}{path}").status_code == 404
    assert world.call("GET", f"{RULE}x{path}").status_code == 404
    for listed in ("metricNamespaces", "metricDefinitions"):
        path = f"/providers/microsoft.insights/{listed}"
        for scope in (GROUP, WORKSPACE, f"/subscriptions/{SUBSCRIPTION}"):
            assert world.get(f"{scope}{path}") == {"value": []}
        assert world.call("GET", f"{WORKSPACE}x{path}").status_code == 404
        assert world.get(f"{RULE}{path}")["value"]
    path = "/providers/Microsoft.Insights/metrics"
    assert world.call("PUT", f"{RULE}{path}", {}).status_code == 405
    assert world.call("GET", f"{RULE}{path}", token=world.other_app()).status_code == 403
    reader = world.other_app(("Monitoring Reader", GROUP))
    assert world.call("GET", f"{RULE}{path}", token=reader).status_code == 200
