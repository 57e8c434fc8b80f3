from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ingest_kit import Tenant, World


@pytest.fixture(scope="session")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    made = Tenant(tmp_path_factory.mktemp("tenant"))
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, tenant: Tenant) -> Iterator[World]:
    tenant.access.refresh()
    with World(tmp_path, tenant) as made:
        yield made
