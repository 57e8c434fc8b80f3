"""Lines of docs/security.md that no other test holds, and that every line names a test."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers import running_server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"


def test_every_threat_names_a_test_that_exists() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    lines = [line for line in rows if not line.endswith("| Test |")]
    assert len(lines) > 40
    for line in lines:
        found = re.search(r"`(tests/[\w/]+\.py)::(\w+)` \|$", line)
        assert found, f"this line names no test: {line}"
        tree = ast.parse((ROOT / found[1]).read_text())
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        names = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
        assert found[2] in names, f"{found[1]} has no test {found[2]}"


@pytest.mark.server
def test_a_wide_bind_is_warned_of(tmp_path: Path) -> None:
    for host, warned in (("0.0.0.0", True), ("127.0.0.1", False)):
        folder = tmp_path / host
        with running_server(folder, "--ephemeral", "--port", "0", "--quiet", "--host", host) as server:
            log = " ".join(server.log.read_text().split())
        assert ("warning: listening on 0.0.0.0: other machines can reach this server" in log) is warned
        assert ("the sample's secret is an Owner's" in log) is warned


@pytest.mark.server
def test_the_data_folder_is_its_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(tmp_path, "--data-dir", str(data), "--port", "0", "--quiet"):
        command = [
            sys.executable,
            "-m",
            "headrace",
            "audit",
            "list",
            "--env-file",
            str(data / "headrace.env"),
        ]
        subprocess.run(command, capture_output=True, check=True)
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        # The folder keeps others out; these would be dangerous even in a copy.
        for name in (
            "store.db",
            "sample.json",
            "headrace.env",
            "tls/ca.key",
            "tls/server.key",
            "audit/key.pem",
        ):
            assert stat.S_IMODE((data / name).stat().st_mode) == 0o600, name
        for path in (data / "run").glob("*.sock"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
