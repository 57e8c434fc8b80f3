"""Azure's clients for JavaScript: `node` on PATH, the packages in the folder HEADRACE_TEST_NODE_MODULES."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Azure
from tests.server.kit import eventually
from tests.servers import ServerProcess

NODE = shutil.which("node")
MODULES = os.environ.get("HEADRACE_TEST_NODE_MODULES")

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(
        NODE is None or MODULES is None,
        reason="there is no node on PATH, or HEADRACE_TEST_NODE_MODULES names no folder with Azure's packages",
    ),
]

SCRIPT = Path(__file__).with_name("javascript.cjs")
STREAM = "Custom-Rows"
ROWS = 6000
COLUMNS = {"TimeGenerated": "datetime", "Number": "long", "Text": "string", "Inner": "dynamic"}
DECLARED = {"Time": "datetime", "Number": "long", "Text": "string", "Inner": "dynamic"}


@pytest.fixture
def node(server: ServerProcess) -> Any:
    """Runs a command of the script with nothing but the env file, and gives what it printed."""
    assert NODE is not None and MODULES is not None
    kept = {name: os.environ[name] for name in ("PATH", "HOME")}
    environment = kept | server.env | {"NODE_PATH": MODULES}

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [str(NODE), str(SCRIPT), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_rows_go_up_and_come_back(azure: Azure, node: Any) -> None:
    workspace, rule = azure.source(
        "javascript", DECLARED, COLUMNS, "source | project-rename TimeGenerated = Time"
    )
    first = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    milliseconds = int(first.timestamp()) * 1000
    assert node("upload", rule.immutable_id, STREAM, str(milliseconds), str(ROWS)) == "uploaded"
    count = "Rows_CL | summarize Count = count(), Numbers = dcount(Number, 4), Last = max(TimeGenerated)"
    last = (
        (first + timedelta(milliseconds=ROWS - 1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
    eventually(
        lambda: azure.rows(workspace.customer_id, "Rows_CL | count"), lambda found: found[0]["Count"] >= ROWS
    )
    counted, one, wrong = node(
        "query",
        workspace.customer_id,
        count,
        "Rows_CL | where Number == 17 | project Text, Inner",
        "Rows_CL | nope",
    )
    assert counted["tables"][0]["rows"] == [[ROWS, ROWS, last]]
    kinds = [column["type"] for column in counted["tables"][0]["columnDescriptors"]]
    assert kinds == ["long", "long", "datetime"]
    text, inner = one["tables"][0]["rows"][0]
    assert text == f"17 – {'x' * 500}"
    assert inner == {"tags": ["a", 17], "deep": {"empty": None}}
    assert wrong["status"] == "PartialFailure"
    assert "nope" in wrong["partialError"]["innererror"]["innererror"]["message"]


def test_errors_are_the_clients_own(azure: Azure, node: Any) -> None:
    (unknown,) = node("refused", f"dcr-{'0' * 32}", STREAM)
    assert (unknown["status"], unknown["code"], unknown["failed"]) == (404, "NotFound", 2)
    assert "0" * 32 in unknown["message"]
    refused = node("single", azure.env["HEADRACE_WORKSPACE_ID"], "print x=(")
    assert (refused["status"], refused["code"]) == (400, "BadArgumentError")
    secret = node("wrongSecret")
    assert secret["name"] == "AuthenticationRequiredError"
    assert "AADSTS7000215" in secret["message"]
