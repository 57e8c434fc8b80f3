"""What health checks of containers are told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.servers import ServerProcess, free_port

from headrace.probe import main, own_address


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "https://127.0.0.1:8443"),
        ({"HEADRACE_SERVER_HOST": "0.0.0.0", "HEADRACE_SERVER_PORT": "9443"}, "https://127.0.0.1:9443"),
        ({"HEADRACE_SERVER_HOST": "::"}, "https://[::1]:8443"),
        ({"HEADRACE_SERVER_HOST": "127.0.0.2", "HEADRACE_SERVER_PORT": ""}, "https://127.0.0.2:8443"),
    ],
)
def test_it_asks_where_the_server_listens(variables: dict[str, str], address: str) -> None:
    assert own_address(variables) == address


def test_nobody_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "headrace.env").touch()
    address = f"https://127.0.0.1:{free_port()}"
    assert main([address], {"HEADRACE_DATA_DIR": str(tmp_path)}) == 1
    assert f"{address} does not answer" in capsys.readouterr().out


@pytest.mark.server
class TestWithAServer:
    @staticmethod
    def probe(server: ServerProcess, folder: Path) -> subprocess.CompletedProcess[str]:
        parts = urlsplit(server.env["HEADRACE_ARM_URL"])
        own = {"HEADRACE_SERVER_PORT": str(parts.port), "HEADRACE_DATA_DIR": str(folder)}
        base = {name: text for name, text in os.environ.items() if not name.startswith("HEADRACE_")}
        command = [sys.executable, "-m", "headrace.probe"]
        return subprocess.run(
            command, env=base | own, capture_output=True, text=True, timeout=60, check=False
        )

    def test_ready(self, server: ServerProcess) -> None:
        done = self.probe(server, Path(server.env["HEADRACE_CA_FILE"]).parents[1])
        assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")

    def test_not_before_its_variables_are_there(self, server: ServerProcess, tmp_path: Path) -> None:
        done = self.probe(server, tmp_path)
        assert done.returncode == 1
        assert "headrace.env is not there yet" in done.stdout

    def test_it_loads_nothing_heavy(self) -> None:
        program = "import sys, headrace.probe; print(*sys.modules)"
        loaded = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
        ).stdout.split()
        assert not {"pydantic", "httpx", "cryptography", "typer", "pyarrow"} & set(loaded)
