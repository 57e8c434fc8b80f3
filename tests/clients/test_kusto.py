"""Kusto's own client: a workspace is a database."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoApiError, KustoMultiApiError

from tests.clients.conftest import Azure
from tests.server.kit import eventually

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def kusto(azure: Azure) -> Iterator[KustoClient]:
    url = azure.env["HEADRACE_KUSTO_URL"]
    builder = KustoConnectionStringBuilder.with_azure_token_credential(url, azure.credential)
    with KustoClient(builder) as client:
        yield client


@pytest.fixture
def database(azure: Azure) -> str:
    return azure.env["HEADRACE_WORKSPACE_NAME"]


def shown(kusto: KustoClient, database: str, command: str) -> list[dict[str, Any]]:
    return [row.to_dict() for row in kusto.execute_mgmt(database, command).primary_results[0]]


def test_rows_come_back_with_their_types(kusto: KustoClient, azure: Azure, database: str) -> None:
    answer = kusto.execute(
        database,
        "print s='x', i=int(7), l=9007199254740993, r=1.5, b=true, d=datetime(2026-01-02T03:04:05.6Z), t=1d+2h,"
        " j=dynamic({'a':[1]}), g=guid(74be27de-1e4e-49d9-b579-fe0b331d3642), m=decimal(1.25), e=int(null)",
    )
    (row,) = answer.primary_results[0]
    assert (row["s"], row["i"], row["l"], row["r"], row["b"]) == ("x", 7, 9007199254740993, 1.5, True)
    assert row["d"] == datetime(2026, 1, 2, 3, 4, 5, 600000, tzinfo=UTC)
    assert (row["t"], float(row["m"]), row["e"]) == (timedelta(days=1, hours=2), 1.25, None)
    assert json.loads(row["j"]) == {"a": [1]}
    assert [column.column_type for column in answer.primary_results[0].columns] == (
        ["string", "int", "long", "real", "bool", "datetime", "timespan", "dynamic", "guid", "decimal", "int"]
    )
    assert answer.errors_count == 0


def test_an_uploaded_row_is_queried_through_kusto(kusto: KustoClient, azure: Azure) -> None:
    marker = "through-kusto"
    azure.ingestion.upload(
        azure.env["HEADRACE_DCR_IMMUTABLE_ID"],
        azure.env["HEADRACE_DCR_STREAM"],
        [{"Time": datetime.now(UTC).isoformat(), "Message": marker}],
    )
    text = f"{azure.env['HEADRACE_TABLE']} | where Message == '{marker}' | project Message"
    database = azure.env["HEADRACE_WORKSPACE_ID"]

    def look() -> list[Any]:
        return [row["Message"] for row in kusto.execute(database, text).primary_results[0]]

    assert eventually(look, bool) == [marker]


def test_parameters_options_and_streaming(kusto: KustoClient, database: str) -> None:
    properties = ClientRequestProperties()
    properties.set_parameter("n", "long(3)")
    properties.set_parameter("since", "datetime(2026-05-01)")
    properties.set_parameter("word", "datetime(not)")
    text = (
        "declare query_parameters(n: long, since: datetime, word: string);"
        " range x from 1 to n step 1 | extend since, word"
    )
    rows = [row.to_dict() for row in kusto.execute(database, text, properties).primary_results[0]]
    assert [row["x"] for row in rows] == [1, 2, 3]
    assert rows[0]["since"] == datetime(2026, 5, 1, tzinfo=UTC)
    assert rows[0]["word"] == "datetime(not)"
    frames = kusto.execute_streaming_query(database, "range x from 1 to 1000 step 1")
    primary = next(iter(frames.iter_primary_results()))
    assert sum(row["x"] for row in primary) == 500500


def test_a_result_that_is_cut_off_is_an_error_as_in_kusto(kusto: KustoClient, database: str) -> None:
    properties = ClientRequestProperties()
    properties.set_option("truncationmaxrecords", 10)
    with pytest.raises(KustoMultiApiError, match="record count limit 10"):
        kusto.execute(database, "range x from 1 to 100 step 1", properties)


def test_errors_say_what_is_wrong_and_where(kusto: KustoClient, database: str) -> None:
    with pytest.raises(KustoApiError) as caught:
        kusto.execute(database, "print x = 1 | where y > 1")
    error = caught.value.get_api_error()
    assert error.code == "General_BadRequest" and error.permanent
    assert error.type == "Kusto.Data.Exceptions.SemanticException"
    assert error.description is not None and "`y`" in error.description and "line 1" in error.description
    with pytest.raises(KustoApiError) as syntax:
        kusto.execute(database, "print x = ")
    assert syntax.value.get_api_error().type == "Kusto.Data.Exceptions.SyntaxException"
    with pytest.raises(KustoApiError, match="was not found"):
        kusto.execute("nowhere", "print 1")


def test_tools_find_databases_tables_and_columns(kusto: KustoClient, azure: Azure, database: str) -> None:
    table = azure.env["HEADRACE_TABLE"]
    assert database in [row["DatabaseName"] for row in shown(kusto, "", ".show databases")]
    assert table in [row["TableName"] for row in shown(kusto, database, ".show tables")]
    (text,) = shown(kusto, database, f".show table {table} cslschema")
    assert "TimeGenerated:datetime" in text["Schema"]
    (text,) = shown(kusto, database, f".show table ['{table}'] schema as json")
    columns = {column["Name"]: column for column in json.loads(text["Schema"])["OrderedColumns"]}
    assert columns["TimeGenerated"] == {
        "Name": "TimeGenerated",
        "Type": "System.DateTime",
        "CslType": "datetime",
    }
    rows = shown(kusto, database, ".show database schema")
    assert (table, "TimeGenerated", "System.DateTime") in [
        (row["TableName"], row["ColumnName"], row["ColumnType"]) for row in rows
    ]
    (text,) = shown(kusto, database, f".show database {database} schema as json")
    assert table in json.loads(text["ClusterSchema"])["Databases"][database]["Tables"]
    assert shown(kusto, database, ".show version")[0]["ServiceOffering"] == "Headrace"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (".drop table T", "`.drop table T` is not supported"),
        (".show tables | count", "Send the command alone"),
        (".show table Nowhere", "Nowhere"),
        ("print 1", "begins with a dot"),
    ],
)
def test_other_commands_are_refused_by_name(
    kusto: KustoClient, database: str, command: str, words: str
) -> None:
    with pytest.raises(KustoApiError, match=words):
        kusto.execute_mgmt(database, command)


def test_a_token_is_needed_but_for_the_metadata(azure: Azure) -> None:
    base = azure.env["HEADRACE_KUSTO_URL"]
    trusted = ssl.create_default_context(cafile=azure.env["SSL_CERT_FILE"])
    with httpx.Client(base_url=base, verify=trusted) as client:
        found = client.get("/v1/rest/auth/metadata").json()["AzureAD"]
        assert found["KustoServiceResourceId"] == base
        assert found["FirstPartyAuthorityUrl"] == f"{base}/{azure.env['AZURE_TENANT_ID']}"
        refused = client.post("/v2/rest/query", json={"db": "x", "csl": "print 1"})
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "AuthenticationFailed"


def test_metadata_tells_editors_what_there_is(azure: Azure) -> None:
    token = azure.credential.get_token("https://api.loganalytics.io/.default").token
    trusted = ssl.create_default_context(cafile=azure.env["SSL_CERT_FILE"])
    url = f"{azure.env['HEADRACE_QUERY_URL']}/workspaces/{azure.env['HEADRACE_WORKSPACE_ID']}/metadata"
    with httpx.Client(verify=trusted, headers={"Authorization": f"Bearer {token}"}) as client:
        found = client.get(url).json()
        assert client.post(url).json() == found
    tables = {table["name"]: table for table in found["tables"]}
    sample = tables[azure.env["HEADRACE_TABLE"]]
    assert {"name": "TimeGenerated", "type": "datetime"} in sample["columns"]
    assert sample["timespanColumn"] == "TimeGenerated"
    assert "Syslog" in tables
    (workspace,) = found["workspaces"]
    assert (
        workspace["id"] == azure.env["HEADRACE_WORKSPACE_ID"]
        and sample["id"] in workspace["related"]["tables"]
    )
