"""`headrace doctor` on a running server, a stopped one, and one that it cannot trust."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ServerProcess, running_server

pytestmark = pytest.mark.server


def doctor(env: dict[str, str], *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    command = [sys.executable, "-m", "headrace", "doctor", "--output", "json", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, {one["check"]: one for one in json.loads(done.stdout)}


def test_a_good_server_is_told_so(server: ServerProcess) -> None:
    code, found = doctor(server.env)
    assert code == 0, found
    good = ("certificate", "server", "clock", "sign-in", "query", "data folder", "store")
    assert {name: found[name]["level"] for name in good} == dict.fromkeys(good, "good")


def test_each_trouble_has_its_cure(server: ServerProcess, tmp_path: Path) -> None:
    code, found = doctor(server.env | {"AZURE_CLIENT_SECRET": "wrong"})
    assert (code, found["sign-in"]["level"]) == (1, "bad")
    assert "reset-secret" in found["sign-in"]["cure"]
    with running_server(tmp_path, "--ephemeral", "--port", "0", "--quiet") as other:
        code, found = doctor(server.env | {"HEADRACE_CA_FILE": other.env["HEADRACE_CA_FILE"]})
        assert (code, found["certificate"]["level"]) == (1, "bad")
        assert "source the env file" in found["certificate"]["cure"]
        gone = dict(other.env)
    code, found = doctor(gone, "--data-dir", str(tmp_path / "none"))
    assert (code, found["server"]["level"]) == (1, "bad")


def test_before_the_first_start(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": ""}
    code, found = doctor(env, "--data-dir", str(tmp_path / "data"))
    assert found["server"]["level"] == "warning" and "headrace up" in found["server"]["cure"]
    assert found["data folder"]["level"] == "good"
    assert code == (1 if "bad" in {one["level"] for one in found.values()} else 0)
