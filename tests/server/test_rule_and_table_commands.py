"""`headrace rule` and `headrace table` against a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers import ServerProcess

pytestmark = pytest.mark.server


class Command:
    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self._env = {**os.environ, **server.env}
        self._folder = folder

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *arguments],
            env=self._env,
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")


@pytest.fixture
def headrace(server: ServerProcess, tmp_path: Path) -> Command:
    return Command(server, tmp_path)


def test_from_samples_to_a_table_and_a_rule(headrace: Command, tmp_path: Path) -> None:
    name = f"Inferred{uuid.uuid4().hex[:8]}"
    (tmp_path / "samples.ndjson").write_text('{"time": "2026-01-01T00:00:00Z", "size": 3, "note": "a"}\n')
    said = headrace("table", "infer", "samples.ndjson", "--name", f"{name}_CL", "--create")
    assert f"{name}-rule" in said
    columns = headrace("table", "show", f"{name}_CL", "--output", "csv").splitlines()
    assert "size,long,,own" in columns
    assert f"{name}_CL" in [row["name"] for row in json.loads(headrace("table", "list", "--output", "json"))]
    shown = json.loads(headrace("rule", "show", f"{name}-rule", "--output", "json"))
    immutable_id = shown["properties"]["immutableId"]
    assert json.loads(headrace("rule", "show", immutable_id, "--output", "json")) == shown
    assert immutable_id in headrace("rule", "list")
    shown["properties"]["description"] = "changed"
    (tmp_path / "rule.json").write_text(json.dumps(shown))
    assert headrace("rule", "validate", "rule.json", "--online").startswith("rule.json is valid: ")
    assert (
        json.loads(headrace("rule", "show", immutable_id, "-o", "json"))["properties"].get("description")
        is None
    )
    applied = json.loads(headrace("rule", "apply", "rule.json", "--output", "json"))
    assert applied["immutableId"] == immutable_id
    assert (
        json.loads(headrace("rule", "show", immutable_id, "-o", "json"))["properties"]["description"]
        == "changed"
    )


def test_a_rule_for_a_table_that_is_not_there_is_refused_online(headrace: Command, tmp_path: Path) -> None:
    table = f"Made{uuid.uuid4().hex[:8]}_CL"
    made = headrace(
        "table", "create", table, "--column", "Word:string", "--retention", "40", "--output", "json"
    )
    assert json.loads(made)[0]["interactive days"] == 40
    kept = json.loads(headrace("table", "retention", table, "--total", "400", "--output", "json"))[0]
    assert (kept["interactive days"], kept["total days"], kept["own columns"]) == (40, 400, 2)
    assert "--interactive" in headrace("table", "retention", table, code=1)
    headrace("table", "create", table, "--column", "Word", code=1)
    document = json.loads(headrace("rule", "show", "headrace-rule", "--output", "json"))
    document["properties"]["dataFlows"][0]["outputStream"] = "Custom-NotThere_CL"
    document["name"] = "other"
    (tmp_path / "rule.json").write_text(json.dumps(document))
    assert "NotThere_CL" in headrace("rule", "validate", "rule.json", "--online", code=1)
    headrace("rule", "show", "other", code=1)


def test_rules_and_apps_go_by_their_names(headrace: Command, tmp_path: Path) -> None:
    name = f"named-{uuid.uuid4().hex[:8]}"
    table = f"Named{uuid.uuid4().hex[:8]}_CL"
    headrace("table", "create", table, "--column", "Word:string")
    document = json.loads(headrace("rule", "show", "headrace-rule", "--output", "json"))
    columns = [{"name": "Word", "type": "string"}]
    flow = document["properties"]["dataFlows"][0] | {
        "streams": ["Custom-Words"],
        "transformKql": "source | extend TimeGenerated = now()",
        "outputStream": f"Custom-{table}",
    }
    document["properties"] |= {
        "streamDeclarations": {"Custom-Words": {"columns": columns}},
        "dataFlows": [flow],
    }
    document["name"] = name
    (tmp_path / "rule.json").write_text(json.dumps(document))
    immutable_id = json.loads(headrace("rule", "apply", "rule.json", "--output", "json"))["immutableId"]
    (tmp_path / "rows.ndjson").write_text('{"Word": "a"}\n')

    assert "--stream" in headrace("send", "rows.ndjson", "--rule", "dcr-" + "0" * 32, code=1)
    refused = headrace("send", "rows.ndjson", "--rule", name, code=1)
    cure = refused.partition("headrace role assign")[2]
    assert immutable_id in cure and "'Monitoring Metrics Publisher'" in cure
    assert "There is no app 'no-app'" in headrace("role", "assign", "Reader", "--principal", "no-app", code=1)
    app = json.loads(headrace("app", "create", name, "--output", "json"))
    for who in (name, app["clientId"], app["principalId"]):
        said = headrace("role", "assign", "Reader", "--principal", who, "--scope", immutable_id)
        assert app["principalId"] in said
    assigned = json.loads(headrace("role", "list", "--scope", immutable_id, "--output", "json"))
    assert [(one["role"], one["principal"]) for one in assigned if one["app"] == name] == [
        ("Reader", app["principalId"])
    ]
    assert "secret" in headrace("app", "credentials", name)

    me = "headrace-sample"
    headrace("role", "assign", "Monitoring Metrics Publisher", "--principal", me, "--scope", name)
    headrace("send", "rows.ndjson", "--rule", name)
    assert f"{name} is deleted" in headrace("app", "delete", name)
    assert f"There is no app '{name}'" in headrace("app", "credentials", name, code=1)


def test_rules_tables_and_roles_are_taken_away_again(headrace: Command, tmp_path: Path) -> None:
    name = f"Gone{uuid.uuid4().hex[:8]}"
    (tmp_path / "samples.ndjson").write_text('{"note": "a"}\n')
    headrace("table", "infer", "samples.ndjson", "--name", f"{name}_CL", "--create")
    role = ("Monitoring Metrics Publisher", "--principal", "headrace-sample", "--scope", f"{name}-rule")
    headrace("role", "assign", *role)
    headrace("role", "remove", *role)
    assert "does not have the role" in headrace("role", "remove", *role, code=1)
    headrace("rule", "delete", f"{name}-rule")
    assert "`headrace rule list`" in headrace("rule", "delete", f"{name}-rule", code=1)
    assert "--yes" in headrace("table", "delete", f"{name}_CL", code=1)
    headrace("table", "delete", f"{name}_CL", "--yes")
    assert "`headrace table list`" in headrace("table", "delete", f"{name}_CL", "--yes", code=1)


def test_who_may_not_is_told_what_it_takes(server: ServerProcess, headrace: Command, tmp_path: Path) -> None:
    app = json.loads(headrace("app", "create", f"little-{uuid.uuid4().hex[:8]}", "--output", "json"))
    variables = {
        **server.env,
        "AZURE_CLIENT_ID": app["clientId"],
        "AZURE_CLIENT_SECRET": app["clientSecret"],
    }
    little = Command(replace(server, env=variables), tmp_path)
    refused = little("query", "print 1", code=1)
    assert "headrace role assign 'Log Analytics Reader' --principal" in refused
    cure = little("table", "list", code=1).partition("Which role allows it: headrace ")[2].split()
    assert cure[:2] == ["role", "explain"]
    told = headrace(*cure, "--principal", app["clientId"])
    assert "denied" in told and "Cure:" in told
