from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.identity_kit import World, make_store, open_world

from headrace.identity.bootstrap import FirstApp


@pytest.fixture(scope="package")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FirstApp, int]:
    folder = tmp_path_factory.mktemp("template")
    return (folder, *make_store(folder))


@pytest.fixture
def world(template: tuple[Path, FirstApp, int], tmp_path: Path) -> Iterator[World]:
    folder, first, now = template
    shutil.copy(folder / "store.db", tmp_path)
    with open_world(tmp_path, first, now) as opened:
        yield opened
