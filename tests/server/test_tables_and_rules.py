"""What becomes of rows: their times, changes of rules, deletions, tables made again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest

from headrace.transform.dead_letters import DeadLetter, read_letters
from tests.server.kit import (
    QUERY_SCOPE,
    TABLES,
    Api,
    Rule,
    assert_once,
    eventually,
    rule_body,
    sending,
    workspace_id,
)
from tests.server.tokens import data_folder
from tests.servers import ServerProcess

pytestmark = [pytest.mark.server]

ID = {"Id": "string"}


@contextmanager
def engine_stopped(server: ServerProcess) -> Iterator[psutil.Process]:
    """The engine holds still inside the block; what is accepted meanwhile waits in the journal."""
    (engine,) = server.children("engine")
    os.kill(engine.pid, signal.SIGSTOP)
    try:
        yield engine
    finally:
        os.kill(engine.pid, signal.SIGCONT)


def wait_for_ids(api: Api, table: str, wanted: set[str], workspace: str | None = None) -> None:
    """Return when the table has these ids and no others, each once."""
    found = eventually(
        lambda: sorted(row[0] for row in api.rows(f"{table} | project Id", workspace)),
        lambda seen: len(seen) >= len(wanted),
    )
    assert found == sorted(wanted)


def letters_of(api: Api, rule: Rule) -> list[DeadLetter]:
    folder = data_folder(api) / "dead-letters"
    return [letter for letter in read_letters(folder) if letter.rule == rule.immutable_id]


def pipeline_idle(api: Api, rule: Rule, table: str, mark: str) -> None:
    """Everything accepted before is processed: a later payload of the same rule has arrived."""
    rule.send([{"Id": mark}])
    eventually(lambda: api.value(f'{table} | where Id == "{mark}" | count'), lambda seen: seen == 1)


# TimeGenerated


def test_times_far_from_now_become_the_received_time(api: Api) -> None:
    api.make_table("Times_CL", ID)
    rule = api.make_rule("times", {"Id": "string", "TimeGenerated": "datetime"}, "Times_CL", "source")
    now = datetime.now(UTC)

    def text(**ago: float) -> str:
        return (now - timedelta(**ago)).isoformat()

    kept = {"hour": text(hours=1), "nearly two days": text(days=1, hours=23), "ahead": text(hours=-23)}
    replaced: dict[str, Any] = {
        "three days": text(days=3),
        "two ahead": text(days=-2),
        "null": None,
        "never": "not a time",
        "old": "0001-01-01T00:00:00Z",
        "far": "9999-12-31T23:59:59Z",
    }
    before = datetime.now(UTC)
    rule.send([{"Id": key, "TimeGenerated": value} for key, value in (kept | replaced).items()])
    after = datetime.now(UTC)
    rule.send([{"Id": "absent"}])
    rows = eventually(
        lambda: api.rows("Times_CL | project Id, TimeGenerated, _TimeReceived"),
        lambda seen: len(seen) == len(kept) + len(replaced) + 1,
    )
    found = {row[0]: datetime.fromisoformat(row[1]) for row in rows}
    received = {row[0]: datetime.fromisoformat(row[2]) for row in rows}
    for key, value in kept.items():
        assert found[key] == datetime.fromisoformat(value), key
    for key in (*replaced, "absent"):
        assert found[key] == received[key], key
    slack = timedelta(milliseconds=1)
    for key in replaced:
        assert before - slack <= found[key] <= after + slack, key


def test_times_without_a_zone_and_with_one(api: Api) -> None:
    api.make_table("Zones_CL", ID)
    rule = api.make_rule("zones", {"Id": "string", "TimeGenerated": "datetime"}, "Zones_CL", "source")
    noon = (datetime.now(UTC) - timedelta(hours=24)).replace(microsecond=0)
    plain = noon.strftime("%Y-%m-%dT%H:%M:%S")
    east = (noon + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M:%S")
    forms = {
        "none": plain,
        "space": plain.replace("T", " "),
        "zulu": f"{plain}Z",
        "digits": f"{plain}.0000000Z",
        "offset": f"{east}+05:30",
    }
    rule.send([{"Id": key, "TimeGenerated": value} for key, value in forms.items()])
    rows = eventually(lambda: api.rows("Zones_CL | project Id, TimeGenerated"), lambda seen: len(seen) == 5)
    assert {row[0]: datetime.fromisoformat(row[1]) for row in rows} == dict.fromkeys(forms, noon)


# Rules change


def test_a_payload_keeps_the_version_of_its_rule(api: Api, server: ServerProcess) -> None:
    api.make_table("Versions_CL", {"Id": "string", "Made": "string"})
    first = "source | extend TimeGenerated = now(), Made = 'first'"
    rule = api.make_rule("versions", ID, "Versions_CL", first)
    gateway_change = rule_body(api, ID, "Versions_CL", first.replace("first", "second"), api.workspace)
    with engine_stopped(server):
        rule.send([{"Id": "one"}])
    api.put(rule.path, gateway_change)
    rule.send([{"Id": "two"}])
    rows = eventually(lambda: api.rows("Versions_CL | project Id, Made"), lambda seen: len(seen) == 2)
    assert sorted(rows) == [["one", "first"], ["two", "second"]]


def test_a_new_output_table_takes_the_very_next_payload(api: Api) -> None:
    api.make_table("Here_CL", ID)
    api.make_table("There_CL", ID)
    rule = api.make_rule("moving", ID, "Here_CL")
    for number in range(6):
        rule.send([{"Id": f"here-{number}"}])
        api.put(
            rule.path, rule_body(api, ID, "There_CL", "source | extend TimeGenerated = now()", api.workspace)
        )
        rule.send([{"Id": f"there-{number}"}])
        api.put(
            rule.path, rule_body(api, ID, "Here_CL", "source | extend TimeGenerated = now()", api.workspace)
        )
    wait_for_ids(api, "Here_CL", {f"here-{number}" for number in range(6)})
    wait_for_ids(api, "There_CL", {f"there-{number}" for number in range(6)})


def test_a_payload_accepted_before_its_rules_deletion_lands(api: Api, server: ServerProcess) -> None:
    api.make_table("Outlived_CL", ID)
    rule = api.make_rule("outlived", ID, "Outlived_CL")
    with engine_stopped(server):
        rule.send([{"Id": "waiting"}])
    rule.send([{"Id": "late"}])
    api.delete(rule.path)
    answer = rule.post(b'[{"Id": "after"}]')
    assert answer.status_code == 404, answer.text
    wait_for_ids(api, "Outlived_CL", {"waiting", "late"})
    again = api.put(
        rule.path, rule_body(api, ID, "Outlived_CL", "source | extend TimeGenerated = now()", api.workspace)
    )
    assert again["properties"]["immutableId"] != rule.immutable_id
    assert rule.post(b"[]").status_code == 404


# Deletions


def test_a_recovered_workspace_has_its_rows_again(api: Api) -> None:
    workspace, customer = api.make_workspace("recovered")
    api.make_table("Kept_CL", ID, workspace)
    rule = api.make_rule("recovered", ID, "Kept_CL", workspace=workspace)
    rule.send([{"Id": "before"}])
    wait_for_ids(api, "Kept_CL", {"before"}, customer)
    api.delete(workspace, TABLES)
    refused = api.query("Kept_CL", customer)
    assert refused.status_code in (403, 404), refused.text
    rule.send([{"Id": "meanwhile"}])
    letters = eventually(lambda: letters_of(api, rule), lambda seen: len(seen) == 1)
    assert letters[0].reason == "TableNotFound"
    assert api.make_workspace("recovered") == (workspace, customer)
    rule.send([{"Id": "after"}])
    wait_for_ids(api, "Kept_CL", {"before", "after"}, customer)


def test_rows_for_a_table_that_is_gone_are_dead_letters(api: Api) -> None:
    table = api.make_table("Vanished_CL", ID)
    rule = api.make_rule("vanished", ID, "Vanished_CL")
    pipeline_idle(api, rule, "Vanished_CL", "before")
    api.delete(table, TABLES)
    rule.send([{"Id": "one"}, {"Id": "two"}])
    letters = eventually(lambda: letters_of(api, rule), bool)
    assert [(letter.reason, letter.rows, letter.stream) for letter in letters] == [
        ("TableNotFound", 2, "Custom-In")
    ]
    assert b'"one"' in letters[0].body
    assert "Vanished_CL" in letters[0].message
    assert letters[0].rule_version == 1
    answer = api.query("Vanished_CL | count")
    assert answer.status_code == 400
    assert "Vanished_CL" in answer.text


def test_a_table_made_again_shows_no_old_rows(api: Api) -> None:
    table = api.make_table("Again_CL", {"Id": "string", "Old": "long"})
    rule = api.make_rule("again", {"Id": "string", "Old": "long"}, "Again_CL")
    rule.send([{"Id": "old", "Old": 1}])
    wait_for_ids(api, "Again_CL", {"old"})
    api.delete(table, TABLES)
    api.make_table("Again_CL", {"Id": "string", "Old": "string"})
    assert api.rows("Again_CL | project Id") == []
    body = rule_body(
        api, ID, "Again_CL", "source | extend TimeGenerated = now(), Old = 'text'", api.workspace
    )
    api.put(rule.path, body)
    rule.send([{"Id": "new"}])
    wait_for_ids(api, "Again_CL", {"new"})
    assert api.rows("Again_CL | project Old") == [["text"]]


def test_a_column_made_again_shows_no_old_values(api: Api) -> None:
    api.make_table("Columns_CL", {"Id": "string", "Value": "long"})
    rule = api.make_rule("columns", {"Id": "string", "Value": "long"}, "Columns_CL")
    rule.send([{"Id": "old", "Value": 7}])
    wait_for_ids(api, "Columns_CL", {"old"})
    api.make_table("Columns_CL", ID)
    assert api.query("Columns_CL | project Value").status_code == 400
    api.make_table("Columns_CL", {"Id": "string", "Value": "long"})
    assert api.rows("Columns_CL | project Id, Value") == [["old", None]]
    rule.send([{"Id": "new", "Value": 8}])
    wait_for_ids(api, "Columns_CL", {"old", "new"})
    assert sorted(api.rows("Columns_CL | project Id, Value"), reverse=True) == [["old", None], ["new", 8]]


def test_a_column_added_later_is_empty_before(api: Api) -> None:
    api.make_table("Later_CL", ID)
    stream = {"Id": "string", "Word": "string", "Number": "long"}
    rule = api.make_rule("later", stream, "Later_CL")
    rule.send([{"Id": "old", "Word": "w", "Number": 1}])
    wait_for_ids(api, "Later_CL", {"old"})
    api.make_table("Later_CL", stream)
    rule.send([{"Id": "new", "Word": "w", "Number": 1}])
    wait_for_ids(api, "Later_CL", {"old", "new"})
    rows = sorted(api.rows("Later_CL | project Id, Word, Number"))
    assert rows == [["new", "w", 1], ["old", "", None]]


def test_a_column_that_comes_while_rows_flow_is_filled_from_then_on(api: Api) -> None:
    api.make_table("Widened_CL", ID)
    rule = api.make_rule("widened", ID, "Widened_CL")
    with sending(rule, "flow") as sender:
        sender.wait_for_more(20)
        api.make_table("Widened_CL", {"Id": "string", "Twice": "string"})
        sender.wait_for_more(5)
        filled = "source | extend TimeGenerated = now(), Twice = strcat(Id, Id)"
        api.put(rule.path, rule_body(api, ID, "Widened_CL", filled, api.workspace))
        # What is accepted from here on goes through the new rule.
        rule.send([{"Id": "mark"}])
        sender.tried.add("mark")
        eventually(
            lambda: api.rows("Widened_CL | where Id == 'mark' | project Twice"),
            lambda rows: rows == [["markmark"]],
        )
        sender.wait_for_more(20)
    assert_once(api, "Widened_CL", sender)
    old, new, other = api.rows(
        "Widened_CL | summarize countif(isempty(Twice)), countif(Twice == strcat(Id, Id)), count()"
    )[0]
    assert old >= 20
    assert new >= 20
    assert old + new == other


def test_a_purged_workspace_takes_its_tables_along(api: Api) -> None:
    path, customer = api.make_workspace("passing-ws")
    api.make_table("Passing_CL", ID, path)
    rule = api.make_rule("passing", ID, "Passing_CL", workspace=path)
    rule.send([{"Id": "old"}])
    wait_for_ids(api, "Passing_CL", {"old"}, customer)
    assert api.arm("DELETE", path, version="2023-09-01", force="true").status_code == 200
    for gone, version in ((path, "2023-09-01"), (f"{path}/tables/Passing_CL", TABLES)):
        assert api.arm("GET", gone, version=version).status_code == 404, gone
    assert api.arm("GET", rule.path, version="2023-03-11").status_code == 200
    assert rule.post(b"[]").status_code == 204
    assert api.query("Passing_CL", customer).status_code == 404
    again, other = api.make_workspace("passing-ws")
    assert again == path
    assert other != customer
    assert api.query("Passing_CL", other).status_code == 400
    api.make_table("Passing_CL", ID, path)
    assert api.rows("Passing_CL", other) == []
    assert api.query("Passing_CL", customer).status_code == 404


def test_a_group_takes_everything_in_it_along(api: Api) -> None:
    group = f"{api.subscription}/resourceGroups/passing-group"
    api.put(group, {"location": api.env["HEADRACE_LOCATION"]}, "2021-04-01")
    path, customer = api.make_workspace("group-ws", group)
    assert path == workspace_id(group, "group-ws")
    api.make_table("Grouped_CL", ID, path)
    elsewhere = api.make_rule("grouped", ID, "Grouped_CL", workspace=path)
    inside = f"{group}/providers/Microsoft.Insights/dataCollectionRules/inside"
    api.put(inside, rule_body(api, ID, "Grouped_CL", "source | extend TimeGenerated = now()", path))
    elsewhere.send([{"Id": "old"}])
    wait_for_ids(api, "Grouped_CL", {"old"}, customer)
    answer = api.arm("DELETE", group, version="2021-04-01")
    assert answer.status_code in (200, 202), answer.text
    eventually(lambda: api.arm("HEAD", group, version="2021-04-01").status_code, lambda seen: seen == 404)
    assert elsewhere.post(b"[]").status_code == 204
    assert api.query("Grouped_CL", customer).status_code == 404
    api.put(group, {"location": api.env["HEADRACE_LOCATION"]}, "2021-04-01")
    assert api.arm("GET", path, version="2023-09-01").status_code == 404
    assert api.arm("GET", inside).status_code == 404


def test_columns_that_differ_only_by_case_stay_apart(api: Api) -> None:
    columns = {"Level": "string", "level": "int"}
    api.make_table("Cases_CL", columns)
    rule = api.make_rule("cases", columns, "Cases_CL")
    rule.send([{"Level": "high", "level": 3}])
    assert eventually(lambda: api.rows("Cases_CL | project Level, level"), bool) == [["high", 3]]


def test_workspaces_never_mix(api: Api) -> None:
    worlds = [api.make_workspace(f"twin-{number}") for number in range(2)]
    rules = []
    for number, (path, _) in enumerate(worlds):
        api.make_table("Twin_CL", ID, path)
        rules.append(api.make_rule(f"twin-{number}", ID, "Twin_CL", workspace=path))
    for number, rule in enumerate(rules):
        rule.send([{"Id": f"{number}-{row}"} for row in range(20)])
    for number, (_, customer) in enumerate(worlds):
        wait_for_ids(api, "Twin_CL", {f"{number}-{row}" for row in range(20)}, customer)


def test_a_role_taken_away_stops_sending_at_once(api: Api) -> None:
    api.make_table("Roles_CL", ID)
    rule = api.make_rule("roles", ID, "Roles_CL", grant=False)
    assert rule.post(b"[]").status_code == 403
    assignment = api.grant(rule.path)
    assert rule.post(b"[]").status_code == 204
    api.delete(assignment, "2022-04-01")
    deadline = time.monotonic() + 1.0
    while rule.post(b"[]").status_code == 204:
        assert time.monotonic() < deadline
    assert rule.post(b"[]").status_code == 403


def test_an_app_taken_away_stops_at_once(api: Api) -> None:
    api.make_table("Apps_CL", ID)
    rule = api.make_rule("apps", ID, "Apps_CL")
    arm = api.bearer("https://management.azure.com/.default")
    made = api.http.post(f"{api.base}/headrace/apps", json={"name": "passing"}, headers=arm).json()
    api.grant(rule.path, made["principalId"])
    form = {"client_id": made["clientId"], "client_secret": made["clientSecret"]}
    token = api.ask_token("https://monitor.azure.com/.default", **form).json()["access_token"]
    headers = rule.headers() | {"Authorization": f"Bearer {token}"}
    assert api.http.post(rule.url, content=b"[]", headers=headers).status_code == 204
    app = f"{api.base}/headrace/apps/{made['clientId']}"
    assert api.http.delete(app, headers=arm).status_code == 204
    deadline = time.monotonic() + 1.0
    while (answer := api.http.post(rule.url, content=b"[]", headers=headers)).status_code == 204:
        assert time.monotonic() < deadline
    assert answer.status_code == 401
    assert api.ask_token("https://monitor.azure.com/.default", **form).status_code in (400, 401)
    assert api.ask_token(QUERY_SCOPE, client_secret="wrong").status_code == 401
