"""Fixtures for pytest: `pytest_plugins = ["headrace.testing.plugin"]` in a project's `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.testing.faults import Faults
from headrace.testing.local import LocalServer, local_server, variables_set


@pytest.fixture(scope="session")
def headrace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server for the test run, with the sample's workspace, table and rule; it is gone afterwards.

    Its variables are set meanwhile, so that Azure's clients trust its certificate.
    """
    with local_server(tmp_path_factory.mktemp("headrace")) as server, variables_set(server.variables):
        yield server


@pytest.fixture
def ingestion_faults(headrace: LocalServer) -> Iterator[Faults]:
    """The faults that the server's calls are to meet in one test; there are none left after it."""
    yield headrace.faults
    headrace.faults.clear()
