"""Rule documents: what they mean, and every way in which they are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog import standard
from headrace.catalog.rules import FLOW_STRIDE, Rule, RuleLimits, parse_rule
from headrace.errors import ProblemError
from headrace.kql.types import KustoType

SHARED = Path(__file__).parents[4] / "shared" / "dcr"
WORKSPACE = "/subscriptions/S/resourceGroups/G/providers/Microsoft.OperationalInsights/workspaces/W"
IMMUTABLE = "dcr-0123456789abcdef0123456789abcdef"


def document(**changes: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "streamDeclarations": {"Custom-A": {"columns": [{"name": "a", "type": "string"}]}},
        "destinations": {"logAnalytics": [{"workspaceResourceId": WORKSPACE, "name": "la"}]},
        "dataFlows": [{"streams": ["Custom-A"], "destinations": ["la"], "outputStream": "Custom-T_CL"}],
    }
    return {"id": "/X/Rule", "kind": "Direct", "properties": {**properties, **changes}}


def parse(**changes: Any) -> Rule:
    return parse_rule(document(**changes), IMMUTABLE, 3)


def faults(**changes: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(ProblemError) as raised:
        parse(**changes)
    return [(problem.code, problem.target) for problem in raised.value.problems]


def test_a_rule_is_read() -> None:
    rule = parse()
    assert (rule.immutable_id, rule.version, rule.resource_id, rule.kind) == (
        IMMUTABLE,
        3,
        "/x/rule",
        "Direct",
    )
    flow = rule.flows_of("Custom-A")[0]
    assert (flow.index, flow.target, flow.table, flow.transform) == (
        0,
        "properties.dataFlows[0]",
        "T_CL",
        "source",
    )
    assert flow.workspaces == (WORKSPACE.lower(),)
    assert rule.flows_of("Custom-B") == ()


def test_every_type_of_a_column_in_any_case() -> None:
    types = {
        "string": KustoType.STRING,
        "INT": KustoType.INT,
        "long": KustoType.LONG,
        "real": KustoType.REAL,
        "boolean": KustoType.BOOL,
        "dateTime": KustoType.DATETIME,
        "dynamic": KustoType.DYNAMIC,
    }
    columns = [{"name": f"c{place}", "type": name} for place, name in enumerate(types)]
    rule = parse(streamDeclarations={"Custom-A": {"columns": columns}})
    assert [column.type for column in rule.streams["Custom-A"].columns] == list(types.values())


def test_other_destinations_are_kept_and_get_no_flow() -> None:
    rule = parse(
        destinations={"eventHubsDirect": [{"eventHubResourceId": "x", "name": "hub"}]},
        dataFlows=[{"streams": ["Custom-A"], "destinations": ["hub"]}],
    )
    assert (list(rule.streams), rule.flows) == (["Custom-A"], ())


@pytest.mark.parametrize("kind", ["guid", "timespan", "decimal", "text", "", None, 7])
def test_other_types_are_refused(kind: object) -> None:
    columns = [{"name": "c", "type": kind}]
    target = "properties.streamDeclarations.Custom-A.columns[0].type"
    assert faults(streamDeclarations={"Custom-A": {"columns": columns}}) == [("InvalidStream", target)]


def test_an_absent_output_stream_is_the_input_stream() -> None:
    flow = {"streams": ["Microsoft-Syslog", "Microsoft-CommonSecurityLog"], "destinations": ["la"]}
    rule = parse(dataFlows=[flow, {"streams": ["Custom-A"], "destinations": ["la"]}])
    assert [(f.index, f.place, f.streams, f.table) for f in rule.flows] == [
        (0, 0, ("Microsoft-Syslog",), "Syslog"),
        (1, 1, ("Custom-A",), "A"),
        (FLOW_STRIDE, 0, ("Microsoft-CommonSecurityLog",), "CommonSecurityLog"),
    ]
    syslog = standard.find("Syslog")
    assert syslog is not None
    assert rule.streams["Microsoft-Syslog"].columns == syslog.columns


def test_one_stream_fans_out_to_several_flows() -> None:
    flows = [
        {
            "streams": ["Custom-A"],
            "destinations": ["la"],
            "outputStream": f"Custom-T{n}_CL",
            "transformKql": text,
        }
        for n, text in enumerate(["source | where a == 'x'", "source", " source\n"])
    ]
    rule = parse(dataFlows=flows)
    assert [flow.table for flow in rule.flows_of("Custom-A")] == ["T0_CL", "T1_CL", "T2_CL"]
    assert [flow.transform for flow in rule.flows] == ["source | where a == 'x'", "source", "source"]


def test_agents_parts_are_left_alone() -> None:
    rule = parse(
        dataSources={
            "performanceCounters": [
                {"streams": ["Microsoft-InsightsPerf"], "counterSpecifiers": ["x"], "name": "p"}
            ],
            "platformTelemetry": [{"streams": ["Some.Provider/things:Metrics-Group-All"], "name": "t"}],
            "unheardOf": [{"streams": ["Microsoft-Whatever"]}, "text"],
        },
        destinations={
            "logAnalytics": [{"workspaceResourceId": WORKSPACE, "name": "la", "workspaceId": "ignored"}],
            "azureMonitorMetrics": {"name": "metrics"},
            "eventHubsDirect": [{"eventHubResourceId": "x", "name": "hub"}],
        },
        dataFlows=[
            {"streams": ["Microsoft-InsightsPerf", "Microsoft-Whatever"], "destinations": ["metrics", "hub"]},
            {"streams": ["Some.Provider/things:Metrics-Group-All"], "destinations": ["la"]},
            {
                "streams": ["Custom-A"],
                "destinations": ["la"],
                "outputStream": "Custom-T_CL",
                "captureOverflow": True,
            },
        ],
    )
    assert list(rule.streams) == ["Custom-A"]
    assert [flow.index for flow in rule.flows] == [2]


def declares(*columns: Any, name: str = "Custom-A") -> dict[str, Any]:
    return {"streamDeclarations": {name: {"columns": list(columns)}}}


def flows(**changes: Any) -> dict[str, Any]:
    return {"dataFlows": [{"streams": ["Custom-A"], "destinations": ["la"], **changes}]}


DECLARED = "properties.streamDeclarations"
FLOW0 = "properties.dataFlows[0]"
NUMBER = {"name": "a", "type": "int"}
AGAIN = {"name": "a", "type": "long"}
LA = {"workspaceResourceId": WORKSPACE, "name": "la"}
NO_WORKSPACE = {"workspaceResourceId": "/subscriptions/x", "name": "la"}


@pytest.mark.parametrize(
    ("changes", "code", "target"),
    [
        (declares(NUMBER, name="A"), "InvalidStream", f"{DECLARED}.A"),
        (declares(), "InvalidStream", f"{DECLARED}.Custom-A.columns"),
        (declares({"type": "int"}), "InvalidStream", f"{DECLARED}.Custom-A.columns[0].name"),
        (declares(NUMBER, AGAIN), "InvalidStream", f"{DECLARED}.Custom-A.columns[1].type"),
        (flows(streams=["Custom-B"]), "InvalidStream", f"{FLOW0}.streams[0]"),
        (flows(streams=["Microsoft-Nope"]), "InvalidStream", f"{FLOW0}.streams[0]"),
        (flows(streams=[]), "InvalidDataFlow", f"{FLOW0}.streams"),
        (flows(destinations=None), "InvalidDataFlow", f"{FLOW0}.destinations"),
        (flows(destinations=["b"]), "InvalidDataFlow", f"{FLOW0}.destinations[0]"),
        (flows(outputStream="T_CL"), "InvalidOutputTable", FLOW0),
        (flows(transformKql=5), "InvalidTransformQuery", FLOW0),
        (flows(transform="t"), "InvalidTransform", f"{FLOW0}.transform"),
        (
            flows(streams=["Custom-A", "Microsoft-Syslog"], transformKql="source | extend x = 1"),
            "InvalidDataFlow",
            f"{FLOW0}.streams",
        ),
        ({"dataFlows": "x"}, "InvalidDataFlow", "properties.dataFlows"),
        ({"dataFlows": ["x"]}, "InvalidDataFlow", FLOW0),
        ({"transformations": "t"}, "InvalidTransform", "properties.transformations"),
        (
            {"destinations": {"logAnalytics": [NO_WORKSPACE]}},
            "InvalidDestination",
            "properties.destinations.logAnalytics[0].workspaceResourceId",
        ),
        (
            {"destinations": {"logAnalytics": [LA], "azureMonitorMetrics": {"name": "la"}}},
            "InvalidDestination",
            "properties.destinations.azureMonitorMetrics.name",
        ),
    ],
)
def test_every_fault_has_its_code_and_place(changes: dict[str, Any], code: str, target: str) -> None:
    assert (code, target) in faults(**changes)


@pytest.mark.parametrize(
    ("alias", "name", "kusto"),
    [
        ("bool", "boolean", KustoType.BOOL),
        ("Date", "datetime", KustoType.DATETIME),
        ("double", "real", KustoType.REAL),
        ("int64", "long", KustoType.LONG),
    ],
)
def test_kustos_other_names_of_a_type_are_refused_with_azures(
    alias: str, name: str, kusto: KustoType
) -> None:
    aliased = declares({"name": "b", "type": alias})
    with pytest.raises(ProblemError) as raised:
        parse(**aliased)
    (problem,) = raised.value.problems
    assert (problem.code, problem.target) == (
        "InvalidStream",
        "properties.streamDeclarations.Custom-A.columns[0].type",
    )
    assert problem.hint is not None and name in problem.hint
    stored = parse_rule(document(**aliased), IMMUTABLE, 1, limits=RuleLimits.stored())
    assert [column.type for column in stored.streams["Custom-A"].columns] == [kusto]


def test_a_column_may_be_declared_again_with_the_same_type_only() -> None:
    """Published rules do the first; which of two types counts, nobody could tell."""
    twice = declares({"name": "b", "type": "boolean"}, {"name": "b", "type": "Boolean"})
    assert len(parse(**twice).streams["Custom-A"].columns) == 1
    with pytest.raises(ProblemError) as raised:
        parse(**declares({"name": "b", "type": "int"}, {"name": "b", "type": "long"}))
    problem = raised.value.problems[0]
    assert problem.code == "InvalidStream"
    assert problem.target == "properties.streamDeclarations.Custom-A.columns[1].type"
    assert "'b' is declared twice" in problem.message


def test_names_of_columns_are_case_sensitive() -> None:
    both = parse(**declares({"name": "b", "type": "int"}, {"name": "B", "type": "string"}))
    assert [(one.name, one.type) for one in both.streams["Custom-A"].columns] == [
        ("b", KustoType.INT),
        ("B", KustoType.STRING),
    ]


def test_a_stream_goes_to_one_workspace() -> None:
    both = [{"workspaceResourceId": f"{WORKSPACE}{n}", "name": f"la{n}"} for n in range(2)]
    flows = [
        {"streams": ["Custom-A"], "destinations": [f"la{n}"], "outputStream": "Custom-T_CL"} for n in range(2)
    ]
    assert faults(destinations={"logAnalytics": both}, dataFlows=flows) == [
        ("InvalidDataFlow", "properties.dataFlows[1].destinations")
    ]


def test_what_goes_past_every_workspace_needs_no_columns() -> None:
    destinations = {
        "logAnalytics": [{"workspaceResourceId": WORKSPACE, "name": "la"}],
        "monitoringAccounts": [{"accountResourceId": "/x", "name": "account"}],
        "storageBlobsDirect": [{"storageAccountResourceId": "/x", "containerName": "c", "name": "blob"}],
    }
    sources = {
        "dataSources": {"logFiles": [{"streams": ["Custom-Lines"], "format": "text", "name": "lines"}]},
        "directDataSources": {"otelMetrics": [{"streams": ["Custom-Otlp"], "name": "otlp"}]},
    }
    flow = {"streams": ["Custom-A"], "destinations": ["la"], "outputStream": "Custom-T_CL"}
    past = [
        {"streams": ["Custom-Lines"], "destinations": ["blob"]},
        {"streams": ["Custom-Otlp", "Microsoft-RemoteWrite"], "destinations": ["account"]},
    ]
    rule = parse(destinations=destinations, dataFlows=[*past, flow], **sources)
    assert (list(rule.streams), [one.place for one in rule.flows]) == (["Custom-A"], [2])
    wanted = [("InvalidStream", f"{FLOW0}.streams[0]")]
    for name in ("Custom-Lines", "Microsoft-RemoteWrite"):
        stored = {"streams": [name], "destinations": ["blob", "la"]}
        assert faults(destinations=destinations, dataFlows=[stored, flow], **sources) == wanted
    nobody = {"streams": ["Custom-Nobody"], "destinations": ["blob"]}
    assert faults(destinations=destinations, dataFlows=[nobody, flow], **sources) == wanted


def test_a_rule_of_workspace_transforms_has_the_streams_of_tables() -> None:
    body = document(
        streamDeclarations=None,
        dataFlows=[
            {
                "streams": ["Microsoft-Table-Syslog"],
                "destinations": ["la"],
                "transformKql": "source | take 0",
            },
            {"streams": ["Microsoft-Table-Own_CL"], "destinations": ["la"], "transformKql": "source"},
        ],
    )
    rule = parse_rule({**body, "kind": "workspacetransforms"}, IMMUTABLE, 1)
    assert rule.kind == "WorkspaceTransforms"
    assert list(rule.streams) == ["Microsoft-Table-Syslog"]
    assert [(flow.place, flow.table, flow.output_stream) for flow in rule.flows] == [
        (0, "Syslog", "Microsoft-Syslog")
    ]


@pytest.mark.parametrize("name", ["dataSources", "directDataSources"])
def test_data_sources_that_are_no_object_are_told_once(name: str) -> None:
    assert faults(**{name: []}) == [("InvalidDataSource", f"properties.{name}")]


@pytest.mark.parametrize("stream", ["Microsoft-Syslog", "Microsoft-Table-", "Custom-A"])
def test_a_rule_of_workspace_transforms_has_no_other_streams(stream: str) -> None:
    body = {
        **document(dataFlows=[{"streams": [stream], "destinations": ["la"]}]),
        "kind": "WorkspaceTransforms",
    }
    with pytest.raises(ProblemError) as raised:
        parse_rule(body, IMMUTABLE, 1)
    assert [(one.code, one.target) for one in raised.value.problems] == [
        ("InvalidStream", f"{FLOW0}.streams[0]")
    ]


def test_a_rule_of_workspace_transforms_is_for_one_workspace() -> None:
    both = [{"workspaceResourceId": f"{WORKSPACE}{n}", "name": f"la{n}"} for n in range(2)]
    flow = {"streams": ["Microsoft-Table-Event"], "destinations": ["la0"]}
    body = document(destinations={"logAnalytics": both}, dataFlows=[flow])
    with pytest.raises(ProblemError) as raised:
        parse_rule({**body, "kind": "WorkspaceTransforms"}, IMMUTABLE, 1)
    assert [one.target for one in raised.value.problems] == ["properties.destinations.logAnalytics"]


def test_limits_are_azures_where_asked_for() -> None:
    long = "source | where " + " or ".join("a == 'x'" for _ in range(2000))
    flow = {
        "streams": ["Custom-A"],
        "destinations": ["la"],
        "outputStream": "Custom-T_CL",
        "transformKql": long,
    }
    assert parse(dataFlows=[flow]).flows[0].transform == long
    with pytest.raises(ProblemError) as raised:
        parse_rule(document(dataFlows=[flow]), IMMUTABLE, 1, limits=RuleLimits.azure())
    assert raised.value.problems[0].code == "InvalidTransformQuery"
    flow = {**flow, "transformKql": "source"}
    assert len(parse(dataFlows=[flow] * 10).flows) == 10
    assert faults(dataFlows=[flow] * 11) == [("InvalidDataFlow", "properties.dataFlows")]
    assert (
        len(parse_rule(document(dataFlows=[flow] * 11), IMMUTABLE, 1, limits=RuleLimits.stored()).flows) == 11
    )


def test_kinds_are_trimmed() -> None:
    assert parse_rule({**document(), "kind": "  direct "}, IMMUTABLE, 1).kind == "Direct"
    assert parse_rule({**document(), "kind": "agentdirecttostore"}, IMMUTABLE, 1).kind == "AgentDirectToStore"
    assert parse_rule({**document(), "kind": None}, IMMUTABLE, 1).kind == ""


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared real rules")
def test_every_real_rule_is_read() -> None:
    files = sorted(SHARED.glob("*.json"))
    assert len(files) == 36
    for path in files:
        real = json.loads(path.read_text(encoding="utf-8"))
        names = {name for flow in real["dataFlows"] for name in flow["destinations"]}
        workspaces = [{"workspaceResourceId": WORKSPACE, "name": name} for name in sorted(names)]
        rule = parse(
            streamDeclarations=real["streamDeclarations"],
            dataFlows=real["dataFlows"],
            destinations={"logAnalytics": workspaces},
        )
        assert len(rule.flows) == len(real["dataFlows"]), path.name
        assert set(rule.streams) == {name for flow in real["dataFlows"] for name in flow["streams"]}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from(["Custom-A", "la", "source"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
COLUMN = st.fixed_dictionaries(
    {}, optional={"name": JSON, "type": JSON | st.sampled_from(["string", "guid"])}
)
FLOW = st.fixed_dictionaries(
    {},
    optional={
        "streams": JSON
        | st.lists(st.sampled_from(["Custom-A", "Custom-B", "Microsoft-Syslog", ""]), max_size=3),
        "destinations": JSON | st.lists(st.sampled_from(["la", "lb"]), max_size=2),
        "transformKql": JSON,
        "outputStream": JSON | st.sampled_from(["Custom-T_CL", "Microsoft-Syslog", "Custom-"]),
    },
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "kind": JSON,
        "id": JSON,
        "properties": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "streamDeclarations": JSON
                | st.dictionaries(
                    st.sampled_from(["Custom-A", "A", "Custom-"]),
                    st.fixed_dictionaries({"columns": st.lists(COLUMN, max_size=3)}) | JSON,
                ),
                "destinations": JSON
                | st.fixed_dictionaries(
                    {
                        "logAnalytics": st.lists(
                            st.fixed_dictionaries({"name": JSON, "workspaceResourceId": JSON})
                        )
                    }
                ),
                "dataSources": JSON
                | st.dictionaries(st.sampled_from(["syslog", "extensions"]), st.lists(JSON)),
                "dataFlows": JSON | st.lists(FLOW, max_size=3),
                "transformations": JSON,
            },
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(RULES)
def test_a_document_is_a_rule_or_problems(body: dict[str, Any]) -> None:
    try:
        rule = parse_rule(body, IMMUTABLE, 1)
    except ProblemError as error:
        assert all(problem.code.startswith("Invalid") and problem.message for problem in error.problems)
        assert len(error.problems) <= 50
        return
    for flow in rule.flows:
        assert flow.streams[0] in rule.streams
        assert flow.output_stream.endswith(flow.table)
    assert len({flow.index for flow in rule.flows}) == len(rule.flows)
