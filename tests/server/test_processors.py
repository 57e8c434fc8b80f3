"""Which processors a server's processes run on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.server.kit import eventually
from tests.servers import ServerProcess, running_server

AVAILABLE = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(240),
    pytest.mark.skipif(len(AVAILABLE) < 2, reason="needs Linux and two processors to choose from"),
]


def affinities(server: ServerProcess, role: str) -> list[list[int]]:
    """Where each process of the role may run."""
    return [sorted(process.cpu_affinity() or ()) for process in server.children(role)]


def processors(server: ServerProcess, role: str) -> list[int]:
    """Where the one process of the role may run."""
    (found,) = affinities(server, role)
    return found


def test_a_gateway_has_a_processor_to_itself_and_has_it_again_after_a_crash(tmp_path: Path) -> None:
    with running_server(tmp_path, "--data-dir", "data", "--port", "0") as server:
        own = processors(server, "gateway")
        assert len(own) == 1
        others = [one for one in AVAILABLE if one not in own]
        eventually(lambda: processors(server, "engine"), lambda found: found == others)
        assert processors(server, "query") == AVAILABLE
        (gateway,) = server.children("gateway")
        gateway.send_signal(signal.SIGKILL)
        gateway.wait(30)
        eventually(lambda: affinities(server, "gateway"), lambda found: found == [own])


def test_the_operating_system_decides_where_processors_are_shared(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[server]\nprocessors = "shared"\n')
    with running_server(tmp_path, "--data-dir", "data", "--port", "0") as server:
        for role in ("gateway", "engine", "query"):
            assert processors(server, role) == AVAILABLE
