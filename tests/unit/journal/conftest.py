"""A journal's folder and its reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.journal.files import FileJournalReader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "0d9c3f5e-6a1b-4c2d-8e3f-405162738495"


@pytest.fixture
def reader(folder: Path) -> Iterator[FileJournalReader]:
    reader = FileJournalReader(folder)
    yield reader
    reader.close()
