"""Azure's query client: values of every type, time spans, batches, errors, partial answers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.monitor.query import LogsBatchQuery, LogsQueryPartialResult, LogsQueryResult, LogsQueryStatus

from tests.clients.conftest import Azure
from tests.server.kit import eventually

pytestmark = pytest.mark.server


def one(azure: Azure, text: str, **options: Any) -> LogsQueryResult:
    result = azure.query_client.query_workspace(
        azure.env["HEADRACE_WORKSPACE_ID"], text, timespan=options.pop("timespan", None), **options
    )
    assert isinstance(result, LogsQueryResult)
    return result


def test_every_type_arrives_as_documented(azure: Azure) -> None:
    table = one(
        azure,
        "print b=true, d=datetime(2021-06-02T00:18:13.3170000Z), s=datetime(2021-06-02T00:18:59Z), i=int(7),"
        " l=9007199254740993, r=1.5, n=real(nan), p=real(+inf), t='x\"y', x=1d+2h+3m+4s, f=100ms, j=dynamic({'a':1}),"
        " g=guid(74be27de-1e4e-49d9-b579-fe0b331d3642), m=decimal(1.25), e=int(null), z=''",
    ).tables[0]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    types = dict(zip(table.columns, table.columns_types, strict=True))
    assert row["d"] == datetime(2021, 6, 2, 0, 18, 13, 317000, tzinfo=UTC)
    assert row["s"] == datetime(2021, 6, 2, 0, 18, 59, tzinfo=UTC)
    assert (row["b"], row["i"], row["l"], row["r"]) == (True, 7, 9007199254740993, 1.5)
    assert (row["n"], row["p"], row["t"]) == ("NaN", "Infinity", 'x"y')
    assert (row["x"], row["f"], row["j"]) == ("1.02:03:04", "00:00:00.1000000", '{"a":1}')
    assert (row["g"], row["m"], row["e"], row["z"]) == (
        "74be27de-1e4e-49d9-b579-fe0b331d3642",
        "1.25",
        None,
        "",
    )
    expected = "bool datetime datetime int long real real real string timespan timespan dynamic guid decimal int string"
    assert list(types.values()) == expected.split()


def test_statistics_and_render_come_when_asked_for(azure: Azure) -> None:
    result = one(
        azure,
        "range x from 1 to 3 step 1 | render columnchart with (title='Three')",
        include_statistics=True,
        include_visualization=True,
    )
    assert result.statistics is not None
    query = result.statistics["query"]
    assert query["executionTime"] > 0
    assert set(query) == {"executionTime", "datasetStatistics"}
    assert result.visualization is not None
    assert (result.visualization["visualization"], result.visualization["title"]) == ("columnchart", "Three")
    plain = one(azure, "print 1")
    assert not plain.statistics and not plain.visualization


def test_a_time_span_is_applied_beside_the_query(azure: Azure) -> None:
    marker = f"span-{time.time_ns()}"
    now = datetime.now(UTC)
    rows = [{"Time": (now - timedelta(hours=hours)).isoformat(), "Message": marker} for hours in (0, 2, 20)]
    azure.ingestion.upload(azure.env["HEADRACE_DCR_IMMUTABLE_ID"], azure.env["HEADRACE_DCR_STREAM"], rows)
    text = f"{azure.env['HEADRACE_TABLE']} | where Message == '{marker}' | count"

    def count(timespan: Any) -> int:
        return int(one(azure, text, timespan=timespan).tables[0].rows[0][0])

    assert eventually(lambda: count(None), lambda seen: seen >= 3) == 3
    assert count(timedelta(hours=1)) == 1
    assert count(timedelta(hours=3)) == 2
    assert count((now - timedelta(hours=21), now - timedelta(hours=1))) == 2
    assert count((now - timedelta(hours=21), timedelta(hours=2))) == 1


def test_a_batch_answers_each_by_its_id(azure: Azure) -> None:
    workspace = azure.env["HEADRACE_WORKSPACE_ID"]
    queries = [
        LogsBatchQuery(workspace, "print x=1", timespan=None),
        LogsBatchQuery(workspace, "print y=", timespan=None),
        LogsBatchQuery(workspace, "Missing_CL | take 1", timespan=timedelta(days=1)),
        LogsBatchQuery(workspace, "print z=2", timespan=None, include_statistics=True),
    ]
    results = azure.query_client.query_batch(queries)
    assert [result.status for result in results] == [
        LogsQueryStatus.SUCCESS,
        LogsQueryStatus.FAILURE,
        LogsQueryStatus.FAILURE,
        LogsQueryStatus.SUCCESS,
    ]
    assert results[0].tables[0].rows[0][0] == 1 and results[3].tables[0].rows[0][0] == 2


@pytest.mark.parametrize(
    ("text", "inner", "says"),
    [
        ("Heartbeat | whree x", "SyntaxError", "whree"),
        ("NoSuchTable_CL | take 1", "SemanticError", "NoSuchTable_CL"),
    ],
)
def test_a_wrong_query_says_where(azure: Azure, text: str, inner: str, says: str) -> None:
    with pytest.raises(HttpResponseError) as refused:
        one(azure, text)
    assert refused.value.status_code == 400
    error = refused.value.error
    assert error is not None and error.code == "BadArgumentError"
    assert error.innererror is not None and error.innererror["code"] == inner
    assert says in str(refused.value.message)


def test_an_unknown_workspace_is_404(azure: Azure) -> None:
    with pytest.raises(HttpResponseError) as refused:
        azure.query_client.query_workspace("00000000-0000-0000-0000-000000000000", "print 1", timespan=None)
    assert refused.value.status_code == 404


def test_a_result_over_the_limit_is_partial(azure: Azure) -> None:
    result = azure.query_client.query_workspace(
        azure.env["HEADRACE_WORKSPACE_ID"], "range x from 1 to 500100 step 1", timespan=None
    )
    assert isinstance(result, LogsQueryPartialResult)
    assert len(result.partial_data[0].rows) == 500_000
    assert "500000" in str(result.partial_error.details)


def test_a_query_over_its_time_is_stopped(azure: Azure) -> None:
    numbers = "range x from 1 to 400000 step 1 | extend k = 1"
    slow = f"{numbers} | join kind=inner ({numbers}) on k | summarize max(x * x1)"
    with pytest.raises(HttpResponseError) as refused:
        one(azure, slow, server_timeout=1, retry_total=0)
    assert refused.value.status_code == 504
    assert one(azure, "print 1").tables[0].rows[0][0] == 1


def test_the_same_query_in_two_workspaces_never_mixes(azure: Azure) -> None:
    found = []
    for name in ("never-mixed-1", "never-mixed-2"):
        workspace = azure.workspace(name)
        azure.table(name, "Same_CL", {"TimeGenerated": "datetime", "Text": "string"})
        rule = azure.rule(
            f"rule-{name}",
            {
                "streamDeclarations": {"Custom-Same_CL": {"columns": [{"name": "Text", "type": "string"}]}},
                "destinations": {"logAnalytics": [{"workspaceResourceId": workspace.id, "name": "w"}]},
                "dataFlows": [
                    {
                        "streams": ["Custom-Same_CL"],
                        "destinations": ["w"],
                        "transformKql": "source | extend TimeGenerated = now()",
                    }
                ],
            },
        )
        azure.grant(rule.id)
        azure.ingestion.upload(rule.immutable_id, "Custom-Same_CL", [{"Text": name}])
        found.append(workspace.customer_id)
    for name, workspace_id in zip(("never-mixed-1", "never-mixed-2"), found, strict=True):
        seen = eventually(partial(azure.rows, workspace_id, "Same_CL"), bool)
        assert [row["Text"] for row in seen] == [name]
        assert {row["TenantId"] for row in seen} == {workspace_id}
    both = azure.query_client.query_workspace(
        found[0], "Same_CL | project Text | sort by Text asc", timespan=None, additional_workspaces=[found[1]]
    )
    assert [row[0] for row in both.tables[0].rows] == ["never-mixed-1", "never-mixed-2"]
