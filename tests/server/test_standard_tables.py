"""Every standard table that takes direct ingestion: one row to each of them, and read back."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.catalog import standard
from headrace.catalog.standard import StandardTable
from headrace.kql.types import KustoType
from tests.server.kit import Api, Rule, eventually

pytestmark = [pytest.mark.server]

TABLES = [table for name in standard.names() if (table := standard.find(name)) and table.ingestion]
FLOWS = 10
"""The most data flows, and streams, that one rule may have."""
GROUPS = [TABLES[first : first + FLOWS] for first in range(0, len(TABLES), FLOWS)]
GUID = "74be27de-1e4e-49d9-b579-fe0b331d3642"
VALUES: dict[KustoType, Any] = {
    KustoType.STRING: "a 'text'",
    KustoType.INT: 7,
    KustoType.LONG: 2**40,
    KustoType.REAL: 1.5,
    KustoType.BOOL: True,
    KustoType.DATETIME: "2026-01-02T03:04:05.678Z",
    KustoType.DYNAMIC: {"k": [1, "x"]},
    KustoType.GUID: GUID,
}


def record_of(table: StandardTable, time: str) -> dict[str, Any]:
    """A value for each column."""
    row = {column.name: VALUES[column.type] for column in table.columns}
    return row | {"TimeGenerated": time}


def stream_of(table: StandardTable) -> list[dict[str, str]]:
    """The declaration of a stream with the table's columns; a guid comes as text."""
    names = {KustoType.GUID: "string", KustoType.BOOL: "boolean"}
    return [
        {"name": column.name, "type": names.get(column.type, column.type.value)} for column in table.columns
    ]


def flow_of(table: StandardTable) -> dict[str, Any]:
    guids = [column.name for column in table.columns if column.type is KustoType.GUID]
    casts = ", ".join(f"{name} = toguid({name})" for name in guids)
    return {
        "streams": [f"Custom-{table.name}"],
        "destinations": ["there"],
        "transformKql": f"source | extend {casts}" if casts else "source",
        "outputStream": f"Microsoft-{table.name}",
    }


def make_rule(api: Api, workspace: str, tables: Sequence[StandardTable], number: int) -> str:
    """A rule with a stream and a data flow for each table; its immutable id."""
    body = {
        "location": api.env["HEADRACE_LOCATION"],
        "properties": {
            "streamDeclarations": {f"Custom-{table.name}": {"columns": stream_of(table)} for table in tables},
            "destinations": {"logAnalytics": [{"workspaceResourceId": workspace, "name": "there"}]},
            "dataFlows": [flow_of(table) for table in tables],
        },
    }
    made = api.put(api.rule_id(f"standard-{number}"), body)
    immutable_id: str = made["properties"]["immutableId"]
    return immutable_id


@pytest.fixture(scope="module")
def sending(api: Api) -> Iterator[Api]:
    """The server with the right to send to every rule of the group, for this module alone."""
    assignment = api.grant(api.group)
    yield api
    api.delete(assignment, "2022-04-01")


def test_the_list_is_azures() -> None:
    assert len(TABLES) == 104


def test_a_row_for_each_of_them(sending: Api) -> None:
    api = sending
    workspace, customer = api.make_workspace(f"standard-{uuid.uuid4().hex[:8]}")
    time = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    for number, tables in enumerate(GROUPS):
        immutable_id = make_rule(api, workspace, tables, number)
        for table in tables:
            rule = Rule(api, "", immutable_id, f"Custom-{table.name}")
            rule.send([record_of(table, time)])
    for tables in GROUPS:
        wait_for_rows(api, customer, tables)
        for table in tables:
            assert read_back(api, customer, table) == expected(table, time), table.name


def wait_for_rows(api: Api, customer: str, tables: Sequence[StandardTable]) -> None:
    """Return once each of the tables has its row."""
    names = ", ".join(table.name for table in tables)
    text = f"union withsource = name {names} | summarize dcount(name)"
    eventually(lambda: api.value(text, customer), lambda count: count == len(tables))


def read_back(api: Api, customer: str, table: StandardTable) -> dict[str, Any]:
    """The one row of a table by column, what every table has by itself left out."""
    answer = api.query(table.name, customer)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["tables"]
    (row,) = found["rows"]
    cells = dict(zip((column["name"] for column in found["columns"]), row, strict=True))
    assert cells["Type"] == table.name
    assert cells["TenantId"] == customer
    return {column.name: cells[column.name] for column in table.columns}


def expected(table: StandardTable, time: str) -> dict[str, Any]:
    row = record_of(table, time)
    for column in table.columns:
        if column.type is KustoType.DYNAMIC:
            row[column.name] = json.dumps(row[column.name], separators=(",", ":"))
    return row | {"TimeGenerated": time.replace(".000Z", "Z")}
