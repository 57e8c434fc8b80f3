"""What other projects' tests get: a server of their own, rules applied, rows waited for, causes told."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.errors import ProblemError
from headrace.testing.local import LocalServer, local_server, variables_set
from tests.servers import ServerProcess

pytestmark = pytest.mark.server

RULE: dict[str, Any] = {
    "location": "local",
    "properties": {
        "streamDeclarations": {"Custom-Word": {"columns": [{"name": "Word", "type": "string"}]}},
        "dataFlows": [
            {
                "streams": ["Custom-Word"],
                "destinations": ["workspace"],
                "outputStream": "Custom-ProjectWords_CL",
                "transformKql": "source | where Word != 'no' | extend TimeGenerated = now()",
            }
        ],
    },
}


@pytest.fixture
def local(server: ServerProcess) -> Iterator[LocalServer]:
    local = LocalServer(server.env)
    yield local
    local.close()


def test_a_rule_is_applied_sent_to_and_its_rows_waited_for(local: LocalServer, tmp_path: Path) -> None:
    local.create_table("ProjectWords_CL", {"Word": "string"})
    path = tmp_path / "words.json"
    path.write_text(json.dumps(RULE))
    rule = local.apply_rule(path)
    assert (rule.name, rule.stream) == ("words", "Custom-Word")
    assert local.apply_rule(path) == rule, "once more is the same"
    with local.credential() as credential:
        token = credential.get_token("https://monitor.azure.com/.default").token
    answer = httpx.post(
        f"{rule.endpoint}/dataCollectionRules/{rule.immutable_id}/streams/{rule.stream}",
        params={"api-version": "2023-01-01"},
        json=[{"Word": "yes"}, {"Word": "no"}],
        headers={"Authorization": f"Bearer {token}"},
        verify=ssl.create_default_context(cafile=local.variables["HEADRACE_CA_FILE"]),
    )
    assert answer.status_code == 204, answer.text
    assert local.wait_for("ProjectWords_CL | project Word") == [{"Word": "yes"}]
    with pytest.raises(AssertionError, match=r"1 of 2 rows after 0 s: ProjectWords_CL(?s:.*)DCRLogErrors"):
        local.wait_for("ProjectWords_CL", 2, seconds=0)
    local.expect("ProjectWords_CL | project Word", [{"Word": "yes"}])
    with pytest.raises(AssertionError, match=r'Word is "yes", expected "no"(?s:.*)DCRLogErrors'):
        local.expect("ProjectWords_CL", [{"Word": "no"}], seconds=0)


def test_a_wrong_rule_is_refused_with_its_faults(local: LocalServer) -> None:
    wrong = json.loads(json.dumps(RULE))
    wrong["properties"]["dataFlows"][0]["transformKql"] = "source | where Wrd == 'no'"
    with pytest.raises(ProblemError) as refused:
        local.apply_rule(wrong)
    assert "Did you mean `Word`?" in refused.value.__notes__[0]


def test_a_server_for_a_block_is_gone_after_it(tmp_path: Path) -> None:
    with local_server(tmp_path) as server:
        folder = Path(server.variables["HEADRACE_CA_FILE"]).parents[1]
        assert server.query("print Answer = 42") == [{"Answer": 42}]
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="--no-such-option"), local_server(tmp_path, "--no-such-option"):
        pass


def test_variables_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", "mine")
    monkeypatch.delenv("HEADRACE_TABLE", raising=False)
    with variables_set({"AZURE_TENANT_ID": "theirs", "HEADRACE_TABLE": "T_CL"}):
        assert (os.environ["AZURE_TENANT_ID"], os.environ["HEADRACE_TABLE"]) == ("theirs", "T_CL")
    assert os.environ["AZURE_TENANT_ID"] == "mine" and "HEADRACE_TABLE" not in os.environ
