"""Metrics of rules: queries as Azure's clients send them, answered from numbers by the minute."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.arm.conftest import GROUP, RULE, SUBSCRIPTION, WORKSPACE, World, rule_body

from headrace.arm.metricquery import answer, read_query
from headrace.clock import HOUR, MINUTE, iso
from headrace.observe.rule_metrics import Point
from headrace.wire.problems import HttpError

NOBODY = "00000000-0000-0000-0000-000000000001"
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
    document = answer(asked, "/rules/r", "eastus", [("/rules/r", POINTS)])
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


def test_dimensions_rolled_up_narrow_and_do_not_split() -> None:
    name, narrow = "ApiCallReceived_Count", "ResponseCode eq '204' and InputStreamId eq '*'"
    (one,) = ask(metricnames=name, filter=narrow, rollupby="inputstreamid,responsecode")
    assert (one["metadatavalues"], totals(one)) == ([], [0, 10, 5, 0])
    split = ask(metricnames=name, filter=narrow, rollupby="ResponseCode")
    assert [item["metadatavalues"][0]["value"] for item in split] == ["Custom-A", "Custom-B"]


def test_series_are_ranked_as_asked() -> None:
    for order, first in (("total asc", "Custom-B"), ("Sum desc", "Custom-A"), ("count", "Custom-A")):
        series = ask(
            metricnames="ApiCallReceived_Count", filter="InputStreamId eq '*'", orderby=order, top="1"
        )
        assert [one["metadatavalues"][0]["value"] for one in series] == [first], order


def test_an_interval_is_adjusted_and_unknown_dimensions_left_out_where_that_is_asked_for() -> None:
    for given, wanted in (("PT2M", "PT5M"), ("PT1S", "PT1M"), ("P9D", "P1D"), ("pt1h", "PT1H")):
        assert read_query({"interval": given, "autoadjusttimegrain": "true"}, NOW).interval == wanted
    assert read_query({"$filter": "Nope eq 'x'", "validatedimensions": "false"}, NOW).conditions == ()


def test_several_resources_are_told_apart_by_their_dimension() -> None:
    resources = " or ".join(f"Microsoft.ResourceId eq '{name}'" for name in ("/rules/R", "/rules/s"))
    text = f"({resources}) and (InputStreamId eq 'Custom-A')"
    query = {
        "timespan": f"{iso(NOW - 4 * MINUTE)}/{iso(NOW)}", "metricnames": "ApiCallReceived_Count", "$filter": text
    }  # fmt: skip
    asked = read_query(query, NOW, across=True)
    assert asked.takes("/rules/r") and not asked.takes("/rules/t")
    document = answer(asked, "/subscriptions/1", "", [("/rules/r", POINTS), ("/rules/s", POINTS[:1])])
    found = {
        tuple(one["value"] for one in item["metadatavalues"]): totals(item)
        for item in document["value"][0]["timeseries"]
    }
    assert found == {("/rules/r", "Custom-A"): [0, 12, 0, 0], ("/rules/s", "Custom-A"): [0, 10, 0, 0]}
    with pytest.raises(HttpError):
        read_query(query, NOW)


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
        ("interval", "PT2M"),
        ("metricnamespace", "Microsoft.Compute/virtualMachines"),
        ("orderby", "size"),
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
        ("2024-10-04T00%3A00%3A00.0%2F2024-10-04T00%3A30%3A00Z", 480_000 * HOUR, NOW),
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


def test_a_subscriptions_rules_are_asked_together(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    subscription = f"/subscriptions/{SUBSCRIPTION}"
    path = f"{subscription}/providers/microsoft.insights/metrics"
    namespace = "microsoft.insights/dataCollectionRules"
    shared = f"region=East US&metricnamespace={namespace}&metricnames=RowsReceived_Count"
    shown = world.get(f"{path}?{shared}", version="2021-05-01")
    assert (
        shown["value"][0]["id"].startswith(f"{subscription}/providers/")
        and shown["resourceregion"] == "East US"
    )
    before = world.database.change()
    body = {"filter": f"Microsoft.ResourceId eq '{RULE}'", "metricNames": "RowsDropped_Count", "top": 3}
    posted = world.call("POST", f"{path}?{shared}", body, version="2021-05-01").json()
    assert [one["name"]["value"] for one in posted["value"]] == ["RowsDropped_Count"]
    assert world.database.change() == before
    wrong = world.call("POST", path, {"filter": []}, version="2021-05-01").json()["error"]
    assert wrong["target"] == "filter"
    defined = world.get(
        f"{subscription}/providers/microsoft.insights/metricdefinitions?metricnamespace={namespace}"
    )
    assert len(defined["value"]) == 6
    reader = world.other_app(("Monitoring Reader", GROUP))
    assert world.call("GET", f"{path}?{shared}", token=reader).status_code == 403


def batch(world: World, *ids: object, query: str = "", **options: Any) -> Any:
    path = f"/subscriptions/{SUBSCRIPTION}/metrics:getBatch?metricnamespace=Microsoft.Insights/dataCollectionRules"
    return world.call("POST", f"{path}&{query}", {"resourceids": list(ids)}, version="2024-02-01", **options)


def test_a_batch_has_an_answer_for_each_rule(world: World) -> None:
    world.basics()
    for path in (RULE, f"{RULE}b"):
        world.put(path, rule_body())
    start = iso(world.clock.now() - HOUR)
    names, narrow = "RowsReceived_Count,BytesReceived_Count", "InputStreamId eq '*'"
    query = f"metricnames={names}&starttime={start}&interval=PT5M&filter={narrow}"
    token = world.token(audience="https://metrics.monitor.azure.com")
    values = batch(world, RULE, f"{RULE}b", query=query, token=token).json()["values"]
    assert [one["resourceid"] for one in values] == [RULE, f"{RULE}b"]
    assert (values[0]["interval"], values[0]["resourceregion"]) == ("PT5M", "eastus")
    assert values[0]["starttime"] == f"{start[:16]}:00Z"
    assert [one["name"]["value"] for one in values[0]["value"]] == [
        "RowsReceived_Count",
        "BytesReceived_Count",
    ]


def test_a_batch_takes_rules_that_the_caller_may_read(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    for ids in ((), (5,), ("x",), (WORKSPACE,), (RULE.replace(SUBSCRIPTION, NOBODY),), (RULE,) * 51):
        refused = batch(world, *ids)
        assert (refused.status_code, refused.json()["error"]["target"]) == (400, "resourceids"), ids
    assert batch(world, f"{RULE}x").status_code == 404
    assert batch(world, RULE, token=world.other_app()).status_code == 403
    assert batch(world, RULE, token=world.other_app(("Monitoring Reader", RULE))).status_code == 200
