"""Lines of docs/security.md that no other test holds, and that every line names a test."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.held_lines import ROOT, check_lines
from tests.servers import running_server


def test_every_threat_names_a_test_that_exists() -> None:
    check_lines(ROOT / "docs" / "security.md", 40)


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
