"""The Logs Ingestion tutorial, start to end, with Azure's own clients."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.monitor.ingestion import LogsIngestionClient
from azure.monitor.ingestion.aio import LogsIngestionClient as AsyncLogsIngestionClient

from tests.clients.conftest import Azure
from tests.server.kit import eventually

pytestmark = pytest.mark.server

STREAM = "Custom-MyTableRawData"
DECLARATION = {
    STREAM: {
        "columns": [
            {"name": "Time", "type": "datetime"},
            {"name": "Computer", "type": "string"},
            {"name": "AdditionalContext", "type": "dynamic"},
            {"name": "RawData", "type": "string"},
        ]
    }
}
TRANSFORM = (
    "source | parse RawData with ClientIp:string ' ' * ' [' * '] \"' Verb:string ' ' Path:string ' ' * '\" '"
    " Status:int ' ' Size:long"
    " | where Verb != 'HEAD'"
    " | project TimeGenerated = Time, Computer, ClientIp, Verb, Path, Status, Size,"
    " CounterName = tostring(AdditionalContext.CounterName), AdditionalContext"
)
COLUMNS = {
    "TimeGenerated": "datetime",
    "Computer": "string",
    "ClientIp": "string",
    "Verb": "string",
    "Path": "string",
    "Status": "int",
    "Size": "long",
    "CounterName": "string",
    "AdditionalContext": "dynamic",
}


def access_line(number: int, verb: str = "GET") -> str:
    return (
        f'10.0.0.{number % 256} - frank [10/Oct/2026:13:55:36 -0700] "{verb} /page/{number}?q=a%20b HTTP/1.1" '
        f"{200 + number % 5} {1000 + number}"
    )


def sample(number: int, time: datetime, verb: str = "GET") -> MutableMapping[str, Any]:
    return {
        "Time": time.isoformat(),
        "Computer": f"web-{number:04d}",
        "AdditionalContext": {"CounterName": f"Counter {number}", "Level": number / 4, "Tags": ["a", number]},
        "RawData": access_line(number, verb),
    }


def expected(number: int, time: datetime) -> dict[str, Any]:
    return {
        "TimeGenerated": time,
        "Computer": f"web-{number:04d}",
        "ClientIp": f"10.0.0.{number % 256}",
        "Verb": "GET",
        "Path": f"/page/{number}?q=a%20b",
        "Status": 200 + number % 5,
        "Size": 1000 + number,
        "CounterName": f"Counter {number}",
        "AdditionalContext": {"CounterName": f"Counter {number}", "Level": number / 4, "Tags": ["a", number]},
    }


def rule_properties(workspace: str, endpoint: str | None, output: str) -> dict[str, Any]:
    return {
        **({"dataCollectionEndpointId": endpoint} if endpoint is not None else {}),
        "streamDeclarations": DECLARATION,
        "destinations": {"logAnalytics": [{"workspaceResourceId": workspace, "name": "central"}]},
        "dataFlows": [
            {
                "streams": [STREAM],
                "destinations": ["central"],
                "transformKql": TRANSFORM,
                "outputStream": output,
            }
        ],
    }


def test_the_tutorial_end_to_end(azure: Azure) -> None:
    workspace = azure.workspace("tutorial-workspace")
    azure.table("tutorial-workspace", "MyTable_CL", COLUMNS)
    azure.table("tutorial-workspace", "Other_CL", COLUMNS)
    endpoint = azure.endpoint("tutorial-endpoint")
    properties = rule_properties(workspace.id, endpoint.id, "Custom-MyTable_CL")
    rule = azure.rule("tutorial-rule", properties)
    azure.grant(rule.id)
    assert rule.immutable_id.startswith("dcr-") and len(rule.immutable_id) == 36
    assert endpoint.logs_ingestion.endpoint.startswith("https://localhost:")

    now = datetime.now(UTC).replace(microsecond=123000)
    times = [now - timedelta(minutes=number) for number in range(40)]
    rows = [sample(number, time) for number, time in enumerate(times)]
    rows.append(sample(99, now, "HEAD"))
    with LogsIngestionClient(endpoint.logs_ingestion.endpoint, azure.credential) as client:
        client.upload(rule.immutable_id, STREAM, rows)

        def stored(table: str) -> list[dict[str, Any]]:
            found = azure.rows(
                workspace.customer_id,
                f"{table} | project-away TenantId, Type, _ResourceId | order by Computer asc",
            )
            return [row | {"AdditionalContext": json.loads(row["AdditionalContext"])} for row in found]

        wanted = [expected(number, time) for number, time in enumerate(times)]
        assert eventually(lambda: stored("MyTable_CL"), lambda found: len(found) >= 40) == wanted

        properties["dataFlows"][0]["outputStream"] = "Custom-Other_CL"
        changed = azure.rule("tutorial-rule", properties)
        assert changed.immutable_id == rule.immutable_id
        client.upload(rule.immutable_id, STREAM, rows)
        assert eventually(lambda: stored("Other_CL"), lambda found: len(found) >= 40) == wanted
        assert stored("MyTable_CL") == wanted


def test_one_endpoint_serves_several_rules(azure: Azure) -> None:
    workspace = azure.workspace("several-rules")
    endpoint = azure.endpoint("several-endpoint")
    base = endpoint.logs_ingestion.endpoint
    rules = []
    for name in ("One_CL", "Two_CL"):
        azure.table("several-rules", name, COLUMNS)
        rule = azure.rule(f"rule-{name[:3]}", rule_properties(workspace.id, endpoint.id, f"Custom-{name}"))
        azure.grant(rule.id)
        rules.append(rule)
    with LogsIngestionClient(base, azure.credential) as client:
        for number, rule in enumerate(rules):
            client.upload(rule.immutable_id, STREAM, [sample(number, datetime.now(UTC))])
    for number, name in enumerate(("One_CL", "Two_CL")):
        found = eventually(partial(azure.rows, workspace.customer_id, name), bool)
        assert [row["Computer"] for row in found] == [f"web-{number:04d}"]


def test_one_stream_feeds_two_tables(azure: Azure) -> None:
    workspace = azure.workspace("two-flows")
    for name in ("Errors_CL", "Rest_CL"):
        azure.table("two-flows", name, {"TimeGenerated": "datetime", "Level": "string", "Message": "string"})
    stream = "Custom-Levels"
    flows = [
        {
            "streams": [stream],
            "destinations": ["central"],
            "transformKql": f"source | where Level {operator} 'Error' | extend TimeGenerated = now()",
            "outputStream": f"Custom-{table}",
        }
        for operator, table in (("==", "Errors_CL"), ("!=", "Rest_CL"))
    ]
    rule = azure.rule(
        "two-flows",
        {
            "streamDeclarations": {
                stream: {
                    "columns": [{"name": "Level", "type": "string"}, {"name": "Message", "type": "string"}]
                }
            },
            "destinations": {"logAnalytics": [{"workspaceResourceId": workspace.id, "name": "central"}]},
            "dataFlows": flows,
        },
        kind="Direct",
    )
    azure.grant(rule.id)
    levels = ["Error", "Info", "Error", "Debug", ""]
    direct = rule.endpoints.logs_ingestion
    with LogsIngestionClient(direct, azure.credential) as client:
        client.upload(
            rule.immutable_id, stream, [{"Level": level, "Message": str(i)} for i, level in enumerate(levels)]
        )
    errors = eventually(lambda: azure.rows(workspace.customer_id, "Errors_CL | sort by Message asc"), bool)
    rest = eventually(lambda: azure.rows(workspace.customer_id, "Rest_CL | sort by Message asc"), bool)
    assert [row["Message"] for row in errors] == ["0", "2"]
    assert [row["Message"] for row in rest] == ["1", "3", "4"]


PLAIN_COLUMNS = {"TimeGenerated": "datetime", "Id": "long", "Text": "string"}
PLAIN_DECLARATION = {
    "Custom-Plain_CL": {"columns": [{"name": name, "type": kind} for name, kind in PLAIN_COLUMNS.items()]}
}


@pytest.fixture(scope="module")
def plain(azure: Azure) -> tuple[str, str, str]:
    """A rule that passes everything through: immutable id, stream, workspace id."""
    workspace = azure.workspace("plain-workspace")
    azure.table("plain-workspace", "Plain_CL", PLAIN_COLUMNS)
    rule = azure.rule(
        "plain-rule",
        {
            "streamDeclarations": PLAIN_DECLARATION,
            "destinations": {"logAnalytics": [{"workspaceResourceId": workspace.id, "name": "central"}]},
            "dataFlows": [{"streams": ["Custom-Plain_CL"], "destinations": ["central"]}],
        },
    )
    azure.grant(rule.id)
    return rule.immutable_id, "Custom-Plain_CL", workspace.customer_id


def ids(azure: Azure, workspace: str, low: int, high: int) -> list[int]:
    return [
        row["Id"]
        for row in azure.rows(
            workspace, f"Plain_CL | where Id between ({low} .. {high}) | sort by Id asc | project Id"
        )
    ]


def test_a_list_over_a_megabyte_goes_in_chunks(azure: Azure, plain: tuple[str, str, str]) -> None:
    rule, stream, workspace = plain
    now = datetime.now(UTC).isoformat()
    rows: list[MutableMapping[str, Any]] = [
        {"TimeGenerated": now, "Id": 10_000 + number, "Text": "x" * 400} for number in range(6000)
    ]
    azure.ingestion.upload(rule, stream, rows)
    found = eventually(lambda: ids(azure, workspace, 10_000, 15_999), lambda seen: len(seen) >= 6000)
    assert found == list(range(10_000, 16_000))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_stream(azure: Azure, plain: tuple[str, str, str], compressed: bool) -> None:
    rule, stream, workspace = plain
    low = 20_000 + compressed * 1000
    content = json.dumps(
        [{"TimeGenerated": None, "Id": low + number, "Text": "é"} for number in range(3)]
    ).encode()
    azure.ingestion.upload(rule, stream, io.BytesIO(gzip.compress(content) if compressed else content))
    assert eventually(lambda: ids(azure, workspace, low, low + 2), lambda seen: len(seen) >= 3) == [
        low,
        low + 1,
        low + 2,
    ]


@pytest.mark.anyio
async def test_the_asynchronous_client(azure: Azure, plain: tuple[str, str, str]) -> None:
    from azure.identity.aio import ClientSecretCredential

    rule, stream, workspace = plain
    env = azure.env
    credential = ClientSecretCredential(
        env["AZURE_TENANT_ID"],
        env["AZURE_CLIENT_ID"],
        env["AZURE_CLIENT_SECRET"],
        authority=env["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
    )
    async with credential, AsyncLogsIngestionClient(env["HEADRACE_INGEST_URL"], credential) as client:
        await client.upload(rule, stream, [{"TimeGenerated": None, "Id": 30_000, "Text": "aio"}])
    assert eventually(lambda: ids(azure, workspace, 30_000, 30_000), bool) == [30_000]


def test_what_a_client_sees_of_an_unknown_rule_and_stream(azure: Azure, plain: tuple[str, str, str]) -> None:
    rule, stream, _ = plain
    with pytest.raises(ResourceNotFoundError) as unknown:
        azure.ingestion.upload("dcr-" + "0" * 32, stream, [{"Id": 1}])
    assert unknown.value.error is not None and unknown.value.error.code == "NotFound"
    with pytest.raises(HttpResponseError) as refused:
        azure.ingestion.upload(rule, "Custom-Nowhere", [{"Id": 1}])
    assert refused.value.status_code == 400
    assert refused.value.error is not None and refused.value.error.code == "InvalidStream"


def test_a_row_over_the_limit_is_refused_whole(azure: Azure, plain: tuple[str, str, str]) -> None:
    rule, stream, _ = plain
    with pytest.raises(HttpResponseError) as refused:
        azure.ingestion.upload(rule, stream, [{"Id": 1, "Text": "y" * 9_000_000}])
    assert refused.value.status_code == 413


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"outputStream": "Custom-Missing_CL"}, "InvalidOutputTable", "Custom-Missing_CL"),
        ({"transformKql": "source | extend TimeGenerated = now(,)"}, "InvalidTransformQuery", "1:"),
        ({"transformKql": "source | where Nope == 1"}, "InvalidTransformQuery", "Nope"),
        ({"transformKql": "source | project Id, Text"}, "InvalidTransformQuery", "TimeGenerated"),
        (
            {"transformKql": "source | extend Id = 'text'"},
            "InvalidTransformOutput",
            "Id [produced:'String', output:'Long']",
        ),
        ({"streams": ["Custom-Undeclared"]}, "InvalidStream", "Custom-Undeclared"),
    ],
)
def test_a_wrong_rule_is_refused_with_azures_code(
    azure: Azure, plain: tuple[str, str, str], change: dict[str, Any], code: str, says: str
) -> None:
    workspace = azure.log_analytics.workspaces.get(azure.group, "plain-workspace")
    flow = {
        "streams": ["Custom-Plain_CL"],
        "destinations": ["central"],
        "outputStream": "Custom-Plain_CL",
    } | change
    body = {
        "streamDeclarations": PLAIN_DECLARATION,
        "destinations": {"logAnalytics": [{"workspaceResourceId": workspace.id, "name": "central"}]},
        "dataFlows": [flow],
    }
    with pytest.raises(HttpResponseError) as refused:
        azure.rule("wrong-rule", body)
    assert refused.value.status_code == 400
    error = refused.value.error
    assert error is not None and error.code == "InvalidPayload"
    details = [(detail.code, detail.message, detail.target) for detail in error.details]
    assert any(found == code and says in str(message) for found, message, _ in details), details
    assert all(str(target).startswith("properties.dataFlows[0]") for _, _, target in details), details
