"""Fixtures that more than one room's tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ServerProcess, running_server

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One ephemeral server that many tests share; each test makes resources of its own."""
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder, "--ephemeral", "--port", "0", "--quiet") as running:
        yield running
