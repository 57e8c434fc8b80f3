"""Rules as people publish them, imported over ARM with tables of their output, then each fed its sample rows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.catalog import standard
from headrace.catalog.names import RESERVED_COLUMNS, column_fault
from headrace.kql.api import KqlError, compile_transform
from headrace.kql.types import KustoType, Schema, SchemaColumn, parse_type
from tests.conftest import SHARED
from tests.server.kit import Api, Rule, eventually

pytestmark = [pytest.mark.server]

FOLDER = SHARED / "dcr"
FILES = sorted(FOLDER.glob("*.json")) if FOLDER.is_dir() else []

NAMES = {KustoType.BOOL: "boolean"}


@pytest.fixture(scope="module")
def imported(api: Api) -> Iterator[Api]:
    """The server with the right to send to every rule of the group, for this module alone."""
    assignment = api.grant(api.group)
    yield api
    api.delete(assignment, "2022-04-01")


def stream_schema(declared: dict[str, Any]) -> Schema:
    columns: dict[str, KustoType] = {}
    for column in declared["columns"]:
        columns.setdefault(column["name"], parse_type(column["type"]) or KustoType.STRING)
    return Schema(tuple(SchemaColumn(name, kind) for name, kind in columns.items()))


def table_of(api: Api, flow: dict[str, Any], declared: dict[str, Any]) -> tuple[str, str]:
    """The output table's name and output stream; a custom table is made of the transform's output."""
    output = flow.get("outputStream") or flow["streams"][0]
    kind, _, name = output.partition("-")
    if kind == "Microsoft" or standard.is_standard(name):
        return name, f"Microsoft-{name}"
    name = name if name.endswith("_CL") else f"{name}_CL"
    name = f"R{uuid.uuid4().hex[:8]}_{name}"
    compiled = compile_transform(flow.get("transformKql") or "source", stream_schema(declared))
    columns = {
        column.name: NAMES.get(column.type, column.type.value)
        for column in compiled.statements[-1].columns
        if column.name != "TimeGenerated"
        and column.name not in RESERVED_COLUMNS
        and column_fault(column.name) is None
    }
    api.make_table(name, columns)
    return name, f"Custom-{name}"


@pytest.mark.skipif(not FILES, reason="the collection of published rules is not here")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_published_rule_is_taken_and_carried_out(imported: Api, path: Path) -> None:
    api = imported
    document = json.loads(path.read_text())
    declarations: dict[str, Any] = document["streamDeclarations"]
    flows, tables = [], {}
    for flow in document["dataFlows"]:
        stream = flow["streams"][0]
        try:
            name, output = table_of(api, flow, declarations[stream])
        except KqlError as error:
            pytest.fail(f"KQL: {[problem.message for problem in error.problems]}")
        tables[stream] = name
        flows.append(flow | {"destinations": ["there"], "outputStream": output})
    body = {
        "location": api.env["HEADRACE_LOCATION"],
        "properties": {
            "streamDeclarations": declarations,
            "destinations": {"logAnalytics": [{"workspaceResourceId": api.workspace, "name": "there"}]},
            "dataFlows": flows,
        },
    }
    rule_id = api.rule_id(f"real-{path.stem[:50]}")
    answer = api.arm("PUT", rule_id, body)
    assert answer.status_code == 201, answer.text[:3000]
    shown = answer.json()["properties"]
    assert shown["streamDeclarations"] == declarations
    assert shown["dataFlows"] == flows
    samples: dict[str, list[dict[str, Any]]] = document["sampleInput"]
    for stream, rows in samples.items():
        if stream not in tables or not rows:
            continue
        table = tables[stream]
        before = count(api, table)
        rule = Rule(api, rule_id, shown["immutableId"], stream)
        rule.send(rows)
        wait_beyond(api, table, before)


def wait_beyond(api: Api, table: str, before: int) -> None:
    eventually(lambda: count(api, table), lambda seen: seen > before, 30)


def count(api: Api, table: str) -> int:
    return int(api.value(f"{table} | count"))
