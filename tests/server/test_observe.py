"""What the server says of itself: error rows, metrics, receipts, and dead letters that are sent again."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.identity import ClientSecretCredential
from azure.monitor.ingestion import LogsIngestionClient
from prometheus_client.parser import text_string_to_metric_families

from tests.server.kit import ARM_SCOPE, INGEST_SCOPE, TABLES, Api, Rule, api_of, eventually
from tests.servers import running_server, start_server

pytestmark = [pytest.mark.server, pytest.mark.slow]

ERRORS = (
    "DCRLogErrors | where InputStreamId == 'Custom-In' and _ResourceId == '{rule}'"
    " | project OperationName, Message, ClientRequestId, CorrelationId, SourceSystem, Type"
)


@pytest.fixture(scope="module")
def compatible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("compatible")
    variables = {"HEADRACE_MODE": "compatible"}
    with (
        running_server(
            folder, "--data-dir", str(folder / "data"), "--port", "0", variables=variables
        ) as server,
        api_of(server) as opened,
    ):
        yield opened


def broken_rule(api: Api, name: str) -> Rule:
    """A rule whose output table is gone, so that all it takes becomes dead letters."""
    path = api.make_table(f"{name}_CL", {"Id": "string"})
    rule = api.make_rule(name, {"Id": "string"}, f"{name}_CL")
    api.delete(path, TABLES)
    return rule


def test_what_compatible_mode_leaves_out_is_told_in_the_workspace(compatible: Api) -> None:
    compatible.make_table("Kept_CL", {"Id": "string"})
    rule = compatible.make_rule("Kept", {"Id": "string"}, "Kept_CL")
    bare = rule.post(b'{"Id": "lost"}', x_ms_client_request_id="my-call")
    assert bare.status_code == 204
    assert rule.post(b'[{"Id": "kept"}, 1, null]').status_code == 204
    told = eventually(
        lambda: compatible.rows(ERRORS.format(rule=rule.path.lower())), lambda rows: len(rows) == 2
    )
    told.sort(key=lambda row: str(row[1]))
    assert told[0][:2] == [
        "Ingestion",
        "2 members of the array are not objects and were not stored; the objects were.",
    ]
    assert told[1] == [
        "Ingestion",
        "The body is a single object instead of an array of objects; it was not stored.",
        "my-call",
        bare.headers["x-ms-request-id"],
        "Azure",
        "DCRLogErrors",
    ]
    assert eventually(lambda: compatible.rows("Kept_CL | project Id"), bool) == [["kept"]]


def test_dead_letters_are_told_in_the_workspace(api: Api) -> None:
    rule = broken_rule(api, "ToldDead")
    rule.send([{"Id": "secret-1"}, {"Id": "secret-2"}])
    ((operation, message, *_),) = eventually(lambda: api.rows(ERRORS.format(rule=rule.path.lower())), bool)
    assert operation == "Transformation"
    assert message.startswith("2 rows could not be stored in ToldDead_CL (TableNotFound)")
    assert "secret" not in message


def test_refused_calls_are_told_in_the_workspace(api: Api) -> None:
    api.make_table("Refused_CL", {"Id": "string"})
    rule = api.make_rule("Refused", {"Id": "string"}, "Refused_CL")
    answer = rule.post(b'[{"Id": "secret}]')
    assert answer.status_code == 400
    (row,) = eventually(lambda: api.rows(ERRORS.format(rule=rule.path.lower())), bool)
    assert row[0] == "Ingestion"
    assert row[1].startswith("A call was answered 400 MalformedJson, nothing of it was stored: ")
    assert "secret" not in row[1]
    assert row[3] == answer.headers["x-ms-request-id"]


def test_a_diagnostic_setting_moves_error_rows(api: Api) -> None:
    api.make_table("Moved_CL", {"Id": "string"})
    rule = api.make_rule("Moved", {"Id": "string"}, "Moved_CL")
    path, customer = api.make_workspace("errors-here")
    logs = [{"category": "LogErrors", "enabled": True}]
    setting = f"{rule.path}/providers/Microsoft.Insights/diagnosticSettings/errors"
    api.put(setting, {"properties": {"workspaceId": path, "logs": logs}}, "2021-05-01-preview")
    answer = rule.post(b"[broken]")
    assert answer.status_code == 400
    errors = ERRORS.format(rule=rule.path.lower())
    (row,) = eventually(lambda: api.rows(errors, customer), bool)
    assert row[3] == answer.headers["x-ms-request-id"]
    assert api.rows(errors) == []


def headrace(api: Api, *arguments: str, code: int = 0) -> str:
    """The command, talking to the shared server; its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        env=environment | api.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def letters_of(api: Api, rule: Rule, *more: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        headrace(api, "dead-letters", "list", "--rule", rule.immutable_id, "-o", "json", *more)
    )
    return found


def test_dead_letters_are_found_shown_and_sent_again_once_the_fault_is_mended(api: Api) -> None:
    rule = broken_rule(api, "Mended")
    assert rule.post(gzip.compress(b'[{"Id": "a"}, {"Id": "b"}]'), Content_Encoding="gzip").status_code == 204
    rule.send([{"Id": "c"}])
    first, _ = eventually(lambda: letters_of(api, rule), lambda found: len(found) == 2)
    assert (first["reason"], first["rows"], first["replayed"]) == ("TableNotFound", 2, None)
    shown = json.loads(headrace(api, "dead-letters", "show", str(first["id"]), "-o", "json"))
    assert shown["data"] == '[{"Id": "a"}, {"Id": "b"}]'
    assert "Mended_CL" in shown["message"]

    api.make_table("Mended_CL", {"Id": "string"})
    headrace(api, "dead-letters", "replay", "--rule", rule.immutable_id)
    ids = eventually(lambda: api.rows("Mended_CL | project Id"), lambda rows: len(rows) >= 3)
    assert sorted(ids) == [["a"], ["b"], ["c"]]
    assert letters_of(api, rule) == []
    assert all(one["replayed"] for one in letters_of(api, rule, "--all"))
    # What was sent again is not sent twice.
    headrace(api, "dead-letters", "replay", "--rule", rule.immutable_id)
    assert len(api.rows("Mended_CL | project Id")) == 3


def test_a_replay_that_would_double_rows_of_another_flow_is_refused(api: Api) -> None:
    gone = api.make_table("HalfGone_CL", {"Id": "string"})
    api.make_table("HalfHere_CL", {"Id": "string"})
    rule = api.make_rule("Half", {"Id": "string"}, "HalfGone_CL")
    document = api.arm("GET", rule.path).json()
    (flow,) = document["properties"]["dataFlows"]
    document["properties"]["dataFlows"].append(flow | {"outputStream": "Custom-HalfHere_CL"})
    api.put(rule.path, document)
    api.delete(gone, TABLES)
    rule.send([{"Id": "a"}])
    eventually(lambda: letters_of(api, rule), bool)
    arguments = ("dead-letters", "replay", "--rule", rule.immutable_id)
    assert "HalfHere_CL" in headrace(api, *arguments, code=1)
    assert len(letters_of(api, rule)) == 1


def test_mistakes_of_the_command_have_a_cure(api: Api, tmp_path: Path) -> None:
    assert "--data-dir" in headrace(api, "dead-letters", "list", "--data-dir", str(tmp_path), code=1)
    assert "--all" in headrace(api, "dead-letters", "replay", code=1)
    assert "list --all" in headrace(api, "dead-letters", "show", "nothing-1", code=1)


def numbers(api: Api) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    answer = api.http.get(f"{api.base}/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def by_label(numbers: dict[tuple[tuple[str, str], ...], float], label: str, **of: str) -> dict[str, float]:
    return {
        dict(labels)[label]: number
        for labels, number in numbers.items()
        if of.items() <= dict(labels).items()
    }


def test_the_numbers_of_the_metrics_add_up(api: Api) -> None:
    api.make_table("Counted_CL", {"Id": "string"})
    rule = api.make_rule(
        "Counted", {"Id": "string"}, "Counted_CL", "source | where Id != 'no' | extend TimeGenerated = now()"
    )
    dead = broken_rule(api, "CountedDead")
    rule.send([{"Id": "yes"}, {"Id": "no"}, {"Id": "yes"}])
    rule.send([{"Id": "no"}])
    dead.send([{"Id": "a"}, {"Id": "b"}])
    assert rule.post(b"not JSON").status_code == 400
    seen = eventually(
        lambda: numbers(api),
        lambda found: all(
            sum(by_label(found.get("headrace_flow_rows_total", {}), "result", rule=one).values()) == rows
            for one, rows in ((rule.immutable_id, 4), (dead.immutable_id, 2))
        ),
    )
    flows = seen["headrace_flow_rows_total"]
    assert by_label(flows, "result", rule=rule.immutable_id) == {
        "stored": 2,
        "filtered": 2,
        "dead_lettered": 0,
        "duplicate": 0,
    }
    assert by_label(flows, "result", rule=dead.immutable_id) == {
        "stored": 0,
        "filtered": 0,
        "dead_lettered": 2,
        "duplicate": 0,
    }
    for labels, number in seen["headrace_flow_rows_received_total"].items():
        assert sum(by_label(flows, "result", **dict(labels)).values()) == number
    assert by_label(seen["headrace_rows_accepted_total"], "stream", rule=rule.immutable_id) == {
        "Custom-In": 4
    }
    calls = by_label(seen["headrace_requests_total"], "code", rule=rule.immutable_id)
    assert calls == {"204": 2, "400": 1}
    assert by_label(seen["headrace_process_up"], "process") == {"gateway-0": 1, "engine-0": 1, "query-0": 1}
    assert all(number > 0 for number in seen["headrace_process_resident_memory_bytes"].values())
    assert len(seen["headrace_journal_bytes"]) == 1
    waiting = eventually(lambda: numbers(api), lambda found: "headrace_deleted_workspaces" in found)
    assert waiting["headrace_deleted_workspace_bytes"][()] >= 0


def test_a_killed_process_is_counted_and_the_rest_still_tells(tmp_path: Path) -> None:
    with (
        running_server(tmp_path, "--data-dir", str(tmp_path / "data"), "--port", "0") as server,
        api_of(server) as api,
    ):
        (query,) = server.children("query")
        query.kill()
        eventually(
            lambda: by_label(numbers(api)["headrace_process_restarts_total"], "process"),
            lambda found: found.get("query-0") == 1 and found["engine-0"] == 0,
        )


def test_metrics_of_a_rule_by_azures_names(api: Api) -> None:
    api.make_table("Measured_CL", {"Id": "string"})
    rule = api.make_rule(
        "Measured",
        {"Id": "string"},
        "Measured_CL",
        "source | where Id != 'no' | extend TimeGenerated = now()",
    )
    rule.send([{"Id": "a"}, {"Id": "no"}, {"Id": "b"}])
    assert rule.post(b"not JSON").status_code == 400
    wanted = "RowsReceived_Count,RowsDropped_Count,ApiCallReceived_Count,TransformRuntime_DurationMs"

    def sums(**query: str) -> dict[tuple[str, ...], float]:
        answer = api.http.get(
            f"{api.base}{rule.path}/providers/Microsoft.Insights/metrics",
            params={"api-version": "2019-07-01", **query},
            headers=api.bearer(ARM_SCOPE),
        )
        assert answer.status_code == 200, answer.text
        return {
            (metric["name"]["value"], *(one["value"] for one in series["metadatavalues"])): sum(
                point.get("total", 0) for point in series["data"]
            )
            for metric in answer.json()["value"]
            for series in metric["timeseries"]
        }

    found = eventually(
        lambda: sums(metricnames=wanted, aggregation="Total"),
        lambda found: found["RowsDropped_Count",] == 1 and found["ApiCallReceived_Count",] == 2,
    )
    assert found["RowsReceived_Count",] == 3
    assert found["TransformRuntime_DurationMs",] > 0
    split = sums(
        metricnames="ApiCallReceived_Count",
        aggregation="Total",
        **{"$filter": "ResponseCode eq '*' and InputStreamId eq 'Custom-In'"},
    )
    assert split == {
        ("ApiCallReceived_Count", "204", "Custom-In"): 1,
        ("ApiCallReceived_Count", "400", "Custom-In"): 1,
    }


def test_the_server_tells_of_itself(tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"), "--port", "0")
    with running_server(tmp_path, *arguments) as server, api_of(server) as api:
        api.make_table("Used_CL", {"Id": "string"})
        api.make_rule("Used", {"Id": "string"}, "Used_CL").send([{"Id": "a"}])
        eventually(lambda: api.rows("Used_CL"), bool)
        assert api.rows("Operation") == []
    # What was counted belongs to an hour that is over by the next start.
    kept = tmp_path / "data" / "usage.json"
    ((hour, workspace, table, rows, size),) = json.loads(kept.read_bytes())
    kept.write_text(json.dumps([[hour - 1, workspace, table, rows, size]]))
    with running_server(tmp_path, *arguments) as server, api_of(server) as api:
        (event,) = eventually(
            lambda: api.rows("Operation | project OperationKey, OperationStatus, Detail, TenantId"), bool
        )
        assert event[:2] == ["Start", "Succeeded"]
        assert event[2].startswith("The engine of Headrace ")
        assert event[3] == workspace
        (used,) = eventually(
            lambda: api.rows("Usage | project DataType, Quantity, QuantityUnit, EndTime - StartTime"), bool
        )
        assert used == ["Used_CL", len('[{"Id":"a"}]') / 1e6, "MBytes", "01:00:00"]


def receipt(api: Api, request_id: str, token: str | None = None) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {token}"} if token else api.bearer(INGEST_SCOPE)
    return api.http.get(f"{api.base}/receipts/{request_id}", headers=bearer)


def test_a_repeated_call_is_stored_once_and_says_so(api: Api) -> None:
    api.make_table("Repeated_CL", {"Id": "string"})
    rule = api.make_rule("Repeated", {"Id": "string"}, "Repeated_CL")
    first, again = (rule.post(b'[{"Id": "a"}]', x_ms_client_request_id="my-call") for _ in range(2))
    assert (first.status_code, again.status_code) == (204, 204)
    assert rule.post(b'[{"Id": "b"}]', x_ms_client_request_id="my-call").status_code == 204
    document = eventually(
        lambda: receipt(api, again.headers["x-ms-request-id"]), lambda answer: answer.status_code == 200
    ).json()
    assert (document["status"], document["destinations"]) == ("Complete", [])
    assert document["duplicateOf"] == first.headers["x-ms-request-id"]
    rows = eventually(lambda: api.rows("Repeated_CL | project Id"), lambda rows: len(rows) > 1)
    assert sorted(rows) == [["a"], ["b"]]
    results = by_label(numbers(api)["headrace_flow_rows_total"], "result", rule=rule.immutable_id)
    assert results == {"stored": 2, "filtered": 0, "dead_lettered": 0, "duplicate": 1}


def test_a_receipt_tells_what_became_of_one_call(api: Api) -> None:
    api.make_table("Receipted_CL", {"Id": "string"})
    rule = api.make_rule(
        "Receipted",
        {"Id": "string"},
        "Receipted_CL",
        "source | where Id != 'no' | extend TimeGenerated = now()",
    )
    other = rule.post(b'[{"Id": "no"}]').headers["x-ms-request-id"]
    request_id = rule.post(b'[{"Id": "a"}, {"Id": "no"}, {"Id": "b"}]').headers["x-ms-request-id"]
    answer = eventually(
        lambda: receipt(api, request_id),
        lambda answer: answer.status_code == 200 and answer.json()["status"] == "Complete",
    )
    document = answer.json()
    assert document["requestId"] == request_id
    assert (document["immutableId"], document["stream"]) == (rule.immutable_id, "Custom-In")
    assert document["rowsReceived"] == 3
    (way,) = document["destinations"]
    assert way["workspaceResourceId"] == api.workspace.lower()
    assert (way["table"], way["rowsStored"], way["rowsFiltered"], way["rowsDeadLettered"]) == (
        "Receipted_CL",
        2,
        1,
        0,
    )
    assert document["receivedTime"] <= way["queryableSince"]
    # Complete means that a query sees the rows.
    assert api.value("Receipted_CL | count") == 2
    (way,) = eventually(lambda: receipt(api, other), lambda answer: answer.status_code == 200).json()[
        "destinations"
    ]
    assert (way["rowsStored"], way["rowsFiltered"]) == (0, 1)
    assert receipt(api, request_id, "no-token").status_code == 401
    missing = receipt(api, "00000000-0000-4000-8000-000000000000")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "ReceiptNotFound")


def test_a_receipt_tells_why_rows_were_not_stored(api: Api) -> None:
    rule = broken_rule(api, "ReceiptedDead")
    request_id = rule.post(b'[{"Id": "a"}, {"Id": "b"}]').headers["x-ms-request-id"]
    answer = eventually(lambda: receipt(api, request_id), lambda answer: answer.status_code == 200)
    (way,) = answer.json()["destinations"]
    assert (way["rowsStored"], way["rowsDeadLettered"], way["reasons"]) == (0, 2, {"TableNotFound": 2})


def test_a_misspelt_property_is_named_in_the_receipt_and_counted(api: Api) -> None:
    api.make_table("Misspelt_CL", {"Id": "string", "Level": "string"})
    rule = api.make_rule("Misspelt", {"Id": "string", "Level": "string"}, "Misspelt_CL")
    ids: list[str] = []
    credential = ClientSecretCredential(
        *(api.env[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")),
        authority=api.env["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
        connection_verify=api.env["HEADRACE_CA_FILE"],
    )
    with LogsIngestionClient(
        api.base,
        credential,
        connection_verify=api.env["HEADRACE_CA_FILE"],
        raw_response_hook=lambda answer: ids.append(answer.http_response.headers["x-ms-request-id"]),
    ) as client:
        client.upload(rule.immutable_id, rule.stream, [{"Id": "a", "Levle": "Error"}, {"Id": "b"}])
        client.upload(rule.immutable_id, rule.stream, [{"Id": "c", "Level": "Error"}])

    def told(request_id: str) -> dict[str, Any]:
        answer = receipt(api, request_id)
        return answer.json() if answer.status_code == 200 else {}

    misspelt, right = (eventually(partial(told, one), lambda found: "destinations" in found) for one in ids)
    assert misspelt["undeclared"] == ["Levle"]
    assert misspelt["notes"] == [
        "A row has 'Levle', which Custom-In does not declare: it is not read. Did you mean 'Level'?"
    ]
    assert "undeclared" not in right
    counts = eventually(
        lambda: by_label(numbers(api)["headrace_flow_rows_total"], "result", rule=rule.immutable_id),
        lambda found: found["stored"] == 3,
    )
    assert counts["dead_lettered"] == 0
    undeclared = numbers(api)["headrace_flow_undeclared_payloads_total"]
    assert by_label(undeclared, "flow", rule=rule.immutable_id) == {"0": 1}
    # What the server writes of itself declares all that it has.
    assert not any(
        count for labels, count in undeclared.items() if dict(labels)["rule"].startswith("headrace-")
    )


def test_a_receipt_is_for_those_who_may_send(api: Api) -> None:
    api.make_table("Private_CL", {"Id": "string"})
    rule = api.make_rule("Private", {"Id": "string"}, "Private_CL")
    request_id = rule.post(b'[{"Id": "a"}]').headers["x-ms-request-id"]
    eventually(lambda: receipt(api, request_id).status_code, lambda status: status == 200)
    stranger = headrace_json(api, "app", "create", "stranger", "-o", "json")
    answer = api.ask_token(
        INGEST_SCOPE, client_id=stranger["clientId"], client_secret=stranger["clientSecret"]
    )
    assert receipt(api, request_id, answer.json()["access_token"]).status_code == 403


def headrace_json(api: Api, *arguments: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(headrace(api, *arguments))
    return found


def test_what_was_told_survives_kills_and_is_told_once(tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"), "--port", "0")
    variables = {"HEADRACE_MODE": "compatible"}
    calls: list[str] = []

    def tell(rule: Rule, dead: Rule) -> None:
        rule.post(b'{"Id": "bare"}')
        dead.send([{"Id": "dead"}])
        calls.append(rule.post(b'[{"Id": "kept"}, 1]').headers["x-ms-request-id"])

    first = start_server(tmp_path, *arguments, variables=variables)
    with api_of(first) as api:
        api.make_table("Killed_CL", {"Id": "string"})
        rule, dead = api.make_rule("Killed", {"Id": "string"}, "Killed_CL"), broken_rule(api, "KilledDead")
        # Killed as soon as all is answered, before the pipeline can have come to it.
        tell(rule, dead)
    first.kill_all()
    second = start_server(tmp_path, *arguments, variables=variables)
    with api_of(second) as api:
        tell(*(Rule(api, one.path, one.immutable_id, one.stream) for one in (rule, dead)))
        # Killed when rows are visible and not committed: they come again from the journal.
        eventually(lambda: api.value("Killed_CL | count"), lambda count: count == 2)
    second.kill_all()
    with running_server(tmp_path, *arguments, variables=variables) as server, api_of(server) as api:
        text = ERRORS.format(rule=rule.path.lower())
        assert len(eventually(partial(api.rows, text), partial(has, 4))) == 4
        # The two dead rows are told by batch: one row of two, or two of one, as the batches came to be.
        text = ERRORS.format(rule=dead.path.lower())
        assert eventually(lambda: sum(told_rows(row) for row in api.rows(text)), lambda told: told >= 2) == 2
        for call in calls:
            answer = eventually(
                partial(receipt, api, call),
                lambda answer: answer.status_code == 200 and answer.json()["status"] == "Complete",
            )
            (way,) = answer.json()["destinations"]
            assert (way["rowsStored"], way["rowsDeadLettered"]) == (1, 0)
        assert api.value("Killed_CL | count") == 2


def told_rows(row: list[object]) -> int:
    """The number of rows that a message is about."""
    number = str(row[1]).split()[0]
    return int(number) if number.isdigit() else 1


def has(count: int, rows: list[list[object]]) -> bool:
    return len(rows) >= count
