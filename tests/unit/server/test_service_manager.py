"""What a service manager is told, by its own protocol (sd_notify)."""

from __future__ import annotations

import logging
import socket
import tempfile
from pathlib import Path

import pytest

from headrace.service_manager import told_of_readiness


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_and_stopping_are_told(abstract: bool) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        path = str(Path(folder) / "notify")
        manager.bind(f"\0{path}" if abstract else path)
        manager.settimeout(5)
        with told_of_readiness({"NOTIFY_SOCKET": f"@{path}" if abstract else path}):
            assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_nobody_is_told_where_nobody_asks(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with told_of_readiness(environment):
        pass
    assert not caplog.records


def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), told_of_readiness({"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        pass
    assert "was not told READY=1" in caplog.text
