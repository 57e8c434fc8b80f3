"""One server for all tests that only talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.kit import Api, api_of
from tests.servers import ServerProcess


@pytest.fixture(scope="session")
def api(server: ServerProcess) -> Iterator[Api]:
    """The shared server of the whole run."""
    with api_of(server) as opened:
        yield opened
