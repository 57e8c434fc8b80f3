"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import ServerProcess, running_server

# The same examples in every run, so that a failure is the change's and not the day's. `make fuzz` searches further.
# A busy machine takes long over them, which is no fault of theirs.
_TIMELESS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", _TIMELESS, derandomize=True)
settings.register_profile("search", _TIMELESS, max_examples=2000)
settings.load_profile(os.environ.get("HEADRACE_HYPOTHESIS", "repeatable"))

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run as the server does."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One ephemeral server that many tests share; each test makes resources of its own."""
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder, "--ephemeral", "--port", "0", "--quiet") as running:
        yield running
