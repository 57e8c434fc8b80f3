from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.kql.functions.calling import Caller, calling


@pytest.fixture(scope="module")
def call() -> Iterator[Caller]:
    with calling() as made:
        yield made
