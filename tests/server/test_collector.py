"""The Data Collector API with a sender as its documentation has it: signed posts in, tables and rows out."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.cli.client import ARM_SCOPE, INGESTION_SCOPE, QUERY_SCOPE, Server
from tests.collector_kit import Sender
from tests.servers import ServerProcess

pytestmark = pytest.mark.server
API = "api-version=2022-10-01"


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Server]:
    with Server(server.env) as connected:
        yield connected


@pytest.fixture(scope="module")
def workspace(client: Server) -> str:
    """The address of the sample workspace."""
    return (
        f"{client.variable('HEADRACE_ARM_URL')}/subscriptions/{client.variable('AZURE_SUBSCRIPTION_ID')}"
        f"/resourceGroups/{client.variable('HEADRACE_RESOURCE_GROUP')}/providers/Microsoft.OperationalInsights"
        f"/workspaces/{client.variable('HEADRACE_WORKSPACE_NAME')}"
    )


@pytest.fixture(scope="module")
def key(client: Server, workspace: str) -> str:
    """The workspace's first key."""
    found: str = client.send("POST", f"{workspace}/sharedKeys?{API}", ARM_SCOPE).json()["primarySharedKey"]
    return found


@pytest.fixture(scope="module")
def sender(client: Server, key: str) -> Sender:
    return Sender(client, key)


@pytest.fixture
def log_type() -> str:
    return f"Old{uuid.uuid4().hex[:12]}"


def rows(client: Server, kql: str) -> list[dict[str, Any]]:
    workspace = client.variable("HEADRACE_WORKSPACE_ID")
    url = f"{client.variable('HEADRACE_QUERY_URL')}/workspaces/{workspace}/query"
    answer = client.request(
        "POST", url, json={"query": kql}, headers={"Authorization": f"Bearer {client.token(QUERY_SCOPE)}"}
    )
    if answer.status_code == 400 and "There is no table" in answer.text:
        return []
    table = answer.json()["tables"][0]
    return [dict(zip([c["name"] for c in table["columns"]], row, strict=True)) for row in table["rows"]]


def eventually(look: Callable[[], list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while len(found := look()) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def columns(client: Server, workspace: str, table: str) -> dict[str, str]:
    shown = client.send("GET", f"{workspace}/tables/{table}?{API}", ARM_SCOPE).json()["properties"]["schema"]
    assert shown["tableSubType"] == "Classic"
    return {column["name"]: column["type"] for column in shown["columns"]}


def test_the_first_post_makes_the_table(
    client: Server, sender: Sender, workspace: str, log_type: str
) -> None:
    at = (datetime.now(UTC) - timedelta(hours=3)).replace(microsecond=0)
    record = {
        "Text": "a b",
        "Size": 42,
        "Good": True,
        "At": at.isoformat().replace("+00:00", "Z"),
        "Id": "9909ED01A74C48748ABFD2678E3AE23D",
        "Inner": {"a": [1, 2]},
        "Nothing": None,
    }
    resource = "/subscriptions/S/resourceGroups/G/providers/P/T/N"
    answer = sender.post(log_type, [record], time_generated_field="At", x_ms_AzureResourceId=resource)
    assert (answer.status_code, answer.content) == (200, b"")
    (row,) = eventually(lambda: rows(client, f"{log_type}_CL | extend _ResourceId"), 1)
    assert (row["Text_s"], row["Size_d"], row["Good_b"]) == ("a b", 42.0, True)
    assert row["At_t"] == row["TimeGenerated"] == at.isoformat().replace("+00:00", "Z")
    assert row["Id_g"] == "9909ed01-a74c-4874-8abf-d2678e3ae23d"
    assert json.loads(row["Inner_s"]) == {"a": [1, 2]}
    assert (row["SourceSystem"], row["_ResourceId"]) == ("RestAPI", resource.lower())
    assert columns(client, workspace, f"{log_type}_CL") == {
        "TimeGenerated": "dateTime",
        "SourceSystem": "string",
        "Text_s": "string",
        "Size_d": "real",
        "Good_b": "boolean",
        "At_t": "dateTime",
        "Id_g": "guid",
        "Inner_s": "string",
    }


def test_each_post_has_its_own_resource_and_time(client: Server, sender: Sender, log_type: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    times = {name: (now - timedelta(hours=hours)).isoformat() for name, hours in (("A", 1), ("B", 2))}
    for number in range(8):
        field = "AB"[number // 2 % 2]
        resource = f"/Machines/{number % 3}" if number else ""
        record = {"n": number, **times}
        answer = sender.post(log_type, [record], time_generated_field=field, x_ms_AzureResourceId=resource)
        assert answer.status_code == 200
    found = eventually(lambda: rows(client, f"{log_type}_CL | extend _ResourceId | sort by n_d asc"), 8)
    assert [row["_ResourceId"] for row in found] == [
        "",
        *(f"/machines/{number % 3}" for number in range(1, 8)),
    ]
    assert [row["TimeGenerated"][:19] for row in found] == [times["AB"[n // 2 % 2]][:19] for n in range(8)]


def test_values_go_where_they_convert_to_and_other_columns_come(
    client: Server, sender: Sender, log_type: str
) -> None:
    table = f"{log_type}_CL"
    posts = [
        {"number": 1, "boolean": True, "string": "x", "n": 1},
        {"number": "2", "boolean": "false", "string": "y", "n": 2},
        {"number": "many", "boolean": 3, "string": 4, "n": 3},
    ]
    for count, post in enumerate(posts, 1):
        assert sender.post(log_type, post).status_code == 200
        eventually(lambda: rows(client, table), count)
    found = rows(client, f"{table} | sort by n_d asc")
    assert [row["number_d"] for row in found] == [1.0, 2.0, None]
    assert [row["number_s"] for row in found] == ["", "", "many"]
    assert [row["boolean_b"] for row in found] == [True, False, None]
    assert [row["boolean_d"] for row in found] == [None, None, 3.0]
    assert [row["string_s"] for row in found] == ["x", "y", ""]
    assert [row["string_d"] for row in found] == [None, None, 4.0]


def test_texts_alone_make_text_columns(client: Server, sender: Sender, log_type: str) -> None:
    sender.post(log_type, [{"number": "2", "boolean": "false", "odd name": "z", "_x": 1, "a" * 60: 2}])
    (row,) = eventually(lambda: rows(client, f"{log_type}_CL"), 1)
    assert (row["number_s"], row["boolean_s"], row["odd_name_s"]) == ("2", "false", "z")
    assert json.loads(row["AdditionalFields"]) == {"_x": 1, "a" * 60: 2}


def test_many_records_and_gzip(client: Server, sender: Sender, log_type: str) -> None:
    body = gzip.compress(json.dumps([{"n": n} for n in range(5000)]).encode())
    assert sender.post(log_type, body, Content_Encoding="gzip").status_code == 200
    (row,) = eventually(lambda: rows(client, f"{log_type}_CL | summarize sum(n_d) | where sum_n_d > 0"), 1)
    assert row["sum_n_d"] == sum(range(5000))


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b" \t"])
def test_what_editors_put_in_front_is_taken_off(
    client: Server, sender: Sender, log_type: str, start: bytes
) -> None:
    for body in (b'{"Kind": "one"}', b'[{"Kind": "some"}]'):
        assert sender.post(log_type, start + body).status_code == 200
    found = eventually(lambda: rows(client, f"{log_type}_CL"), 2)
    assert {row["Kind_s"] for row in found} == {"one", "some"}


def test_a_migrated_table_keeps_taking_what_it_has_columns_for(
    client: Server, sender: Sender, workspace: str, log_type: str
) -> None:
    table = f"{log_type}_CL"
    sender.post(log_type, [{"n": 1}])
    eventually(lambda: rows(client, table), 1)
    client.send("POST", f"{workspace}/tables/{table}/migrate?{API}", ARM_SCOPE)
    sender.post(log_type, [{"n": 2, "more": "is left out"}])
    found = eventually(lambda: rows(client, table), 2)
    assert sorted(row["n_d"] for row in found) == [1.0, 2.0]
    assert "more_s" not in found[0]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"version": ""}, 400, "MissingApiVersion"),
        ({"version": "?api-version=2099-01-01"}, 400, "InvalidApiVersion"),
        ({"log_type": ""}, 400, "MissingLogType"),
        ({"log_type": "with-dash"}, 400, "InvalidLogType"),
        ({"log_type": "9"}, 400, "InvalidLogType"),
        ({"log_type": "L" * 101}, 400, "InvalidLogType"),
        ({"content_type": "text/plain"}, 400, "UnsupportedContentType"),
        ({"body": b"[{"}, 400, "InvalidDataFormat"),
        ({"body": b"[1]"}, 400, "InvalidDataFormat"),
        ({"body": b""}, 400, "InvalidDataFormat"),
        ({"body": [{"TimeGenerated": "2026-01-01T00:00:00Z"}]}, 400, "InvalidDataFormat"),
        ({"body": gzip.compress(b'[{"tenant": 1}]'), "Content_Encoding": "gzip"}, 400, "InvalidDataFormat"),
        ({"key": base64.b64encode(b"x" * 64).decode()}, 403, "InvalidAuthorization"),
        ({"workspace": str(uuid.uuid4())}, 403, "InvalidAuthorization"),
        ({"date": "Mon, 04 Apr 2016 08:00:00 GMT"}, 403, "InvalidAuthorization"),
        ({"date": "today"}, 403, "InvalidAuthorization"),
        ({"date": "Mon, 04 Apr 99999999999999999999 08:00:00 GMT"}, 403, "InvalidAuthorization"),
        ({"Authorization": "Bearer x"}, 403, "InvalidAuthorization"),
        ({"time_generated_field": "a b"}, 400, "InvalidDataFormat"),
        ({"x_ms_AzureResourceId": "nonsense\"'"}, 400, "InvalidDataFormat"),
    ],
)
def test_what_is_wrong_is_said(sender: Sender, change: dict[str, Any], status: int, code: str) -> None:
    arguments = {"log_type": "Never", "body": [{"a": 1}], **change}
    answer = sender.post(arguments.pop("log_type"), arguments.pop("body"), **arguments)
    assert (answer.status_code, answer.json()["Error"]) == (status, code), answer.text
    assert answer.json()["Message"]


def test_a_property_beside_a_reserved_one_is_no_property(
    client: Server, sender: Sender, log_type: str
) -> None:
    assert sender.post(log_type, [{"word": "TimeGenerated", "in": {"tenant": 1}}]).status_code == 200
    (row,) = eventually(lambda: rows(client, f"{log_type}_CL"), 1)
    assert row["word_s"] == "TimeGenerated"


def test_the_second_key_signs_too_and_a_key_can_be_changed(
    client: Server, sender: Sender, workspace: str, log_type: str
) -> None:
    keys = client.send("POST", f"{workspace}/sharedKeys?{API}", ARM_SCOPE).json()
    second = keys["secondarySharedKey"]
    assert sender.post(log_type, [{"a": 1}], key=second).status_code == 200
    client.send("POST", f"{workspace}/regenerateSharedKey?{API}", ARM_SCOPE, json={"keyType": "Secondary"})
    assert sender.post(log_type, [{"a": 2}], key=second).status_code == 403


def test_headrace_shared_key_prints_what_senders_sign_with(
    client: Server, sender: Sender, log_type: str
) -> None:
    command = [sys.executable, "-m", "headrace", "shared-key"]
    environment = {**os.environ, **client.variables}
    keys = [
        subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=True).stdout
        for more in ((), ("--secondary",))
    ]
    assert keys[0] != keys[1]
    for key in keys:
        assert sender.post(log_type, [{"a": 1}], key=key.strip()).status_code == 200


def test_headrace_migrate_makes_the_rule_that_takes_the_same_records(
    client: Server, sender: Sender, log_type: str
) -> None:
    record = {"size": 1, "word": "old", "when": datetime.now(UTC).isoformat()}
    sender.post(log_type, [record])
    eventually(lambda: rows(client, f"{log_type}_CL"), 1)
    command = [sys.executable, "-m", "headrace", "migrate", log_type, "--time-field", "when"]
    environment = {**os.environ, **client.variables}
    shown = subprocess.run(
        [*command, "--dry-run"], env=environment, capture_output=True, text=True, check=True
    )
    assert f"Custom-{log_type}_CL" in json.loads(shown.stdout)["properties"]["streamDeclarations"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (immutable_id,) = re.findall(r"\((dcr-[0-9a-f]{32})\)", done.stdout)
    role = [sys.executable, "-m", "headrace", "role", "assign", "Monitoring Metrics Publisher"]
    role += ["--principal", client.variable("HEADRACE_PRINCIPAL_ID"), "--scope", immutable_id]
    subprocess.run(role, env=environment, capture_output=True, check=True)
    url = (
        f"{client.variable('HEADRACE_INGEST_URL')}/dataCollectionRules/{immutable_id}"
        f"/streams/Custom-{log_type}_CL?api-version=2023-01-01"
    )
    client.send("POST", url, INGESTION_SCOPE, json=[{**record, "word": "new", "size": "2"}])
    assert sender.post(log_type, [{**record, "word": "shim"}]).status_code == 200
    found = eventually(lambda: rows(client, f"{log_type}_CL | project word_s, size_d"), 3)
    assert {row["word_s"]: row["size_d"] for row in found} == {"old": 1.0, "new": 2.0, "shim": 1.0}
