"""Fixtures that several rooms' tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A resource store of its own, up to date and empty."""
    opened = Database.open(tmp_path / "store.db")
    opened.migrate()
    yield opened
    opened.close()
