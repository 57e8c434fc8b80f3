"""Rows that are only counted are not read where what is known of a file tells enough; the numbers are the same."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.tables_kit import DAY_ONE, Bench, make_table

from headrace.catalog.model import Catalog, Workspace
from headrace.clock import DAY, HOUR, MINUTE, SECOND, SystemClock, iso
from headrace.query.database import WorkspaceView
from headrace.query.engine import QueryEngine
from headrace.query.model import QueryRequest, TimeRange
from headrace.settings import QuerySettings, TableSettings

_ROWS = 'where Message startswith "m"'
"""True of all rows, and nothing that is known of a file tells it."""
_READS = "read_parquet"


@dataclass(frozen=True, slots=True)
class _File:
    start: int
    rows: int
    step: int
    other: bool = False

    @property
    def bounds(self) -> tuple[int, int]:
        return self.start, self.start + self.step * (self.rows - 1)


class _Tables:
    """Two tables of one workspace, whose files stay as they were written."""

    def __init__(self, folder: Path) -> None:
        root = folder / "tables"
        self.things = Bench(root, settings=TableSettings(small_file_bytes=0))
        other = make_table(name="Other_CL", workspace=self.things.table.workspace)
        self.others = Bench(root, table=other, store=self.things.store)
        tables = {table.name: table for table in (self.things.table, other)}
        self.workspace = Workspace(other.workspace, "/w", "w", "here", tables)
        self.engine = QueryEngine(
            self.things.reader, root, folder / "spill", QuerySettings(threads=1), SystemClock()
        )

    def add(self, files: Sequence[_File], first: int = 0) -> None:
        for offset, file in enumerate(files, first):
            bench = self.others if file.other else self.things
            bench.publish(offset, rows=file.rows, start=file.start, step=file.step)

    def commit(self) -> None:
        self.things.store.commit_due(everything=True)

    def view(self, limited: str | None = None) -> WorkspaceView:
        of = {} if limited is None else {self.workspace.customer_id: (limited,)}
        catalog = Catalog(1, {self.workspace.customer_id: self.workspace}, {})
        return WorkspaceView(catalog, (self.workspace,), lambda *_: True, of)

    def rows(self, text: str, time_range: TimeRange = (None, None), limited: str | None = None) -> Any:
        request = QueryRequest(text, time_range)
        result = asyncio.run(self.engine.run(self.view(limited), request, 60))
        return sorted(json.loads(result.tables[0].rows))

    def read(self, text: str, time_range: TimeRange = (None, None)) -> int:
        """How many files a query reads."""
        return (
            self.engine.prepare(self.view(), QueryRequest(text, time_range)).queries[0].sql.count(".parquet'")
        )

    def close(self) -> None:
        self.engine.close()
        self.others.close()
        self.things.close()


@contextmanager
def _tables(folder: Path) -> Iterator[_Tables]:
    made = _Tables(folder)
    try:
        yield made
    finally:
        made.close()


_FILES = st.lists(
    st.builds(
        _File,
        st.tuples(
            st.integers(0, 3 * 24 * 4).map(lambda quarters: quarters * 15 * MINUTE),
            st.sampled_from([0, 1, 999]),
        )
        .map(sum)
        .map(DAY_ONE.__add__),
        st.integers(1, 4),
        st.sampled_from([0, 1, SECOND, 10 * MINUTE, 5 * HOUR]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)
_KEYS = [
    "count",
    "summarize count()",
    "summarize n = countif(TimeGenerated > {0}), count()",
    "summarize count(TimeGenerated <= {1}) by Type",
    "summarize count() by bin(TimeGenerated, 1d), TenantId",
    "summarize count() by bin(TimeGenerated, 7d)",
    "summarize count() by d = startofday(TimeGenerated), h = hourofday(TimeGenerated)",
    "extend late = TimeGenerated >= {0} | summarize count() by late",
    "extend T2 = TimeGenerated | where T2 != {0} | summarize count() by bin(T2, 1h)",
    "summarize count() by iff(TimeGenerated < {1}, 'before', strcat(Type, 'after'))",
    "distinct Type, bin(TimeGenerated, 6h)",
    "summarize max(TimeGenerated), count()",
    "summarize min(TimeGenerated), max(TimeGenerated), dcount(bin(TimeGenerated, 8h)) by Type",
    "summarize maxif(TimeGenerated, TimeGenerated < {1}), minif(TimeGenerated, TimeGenerated >= {0})",
    "extend T2 = TimeGenerated | summarize n = count(), min(T2), d = max(bin(T2, 1d)) by bin(T2, 1h)",
    "summarize max(TimeGenerated), max(Count)",
    "summarize max(TimeGenerated) - min(TimeGenerated), count()",
    "make-series count() on TimeGenerated from {0} to {1} step 6h",
    "make-series n = count(), last = max(TimeGenerated), countif(TimeGenerated > {0}) on TimeGenerated step 1d by Type",
    "make-series count() default = 7 on TimeGenerated from {1} step 5h",
]
_FILTERS = [
    "TimeGenerated > {0}",
    "TimeGenerated <= {0}",
    "{1} <= TimeGenerated",
    "TimeGenerated == {0}",
    "TimeGenerated between ({0} .. {1})",
    "TimeGenerated !between ({0} .. 3h)",
    "Type == 'Things_CL' or TimeGenerated < {0}",
    "not(TimeGenerated < {0} and TimeGenerated != {1})",
    "_TimeReceived > {0}",
    "ingestion_time() > {0}",
    "bin(TimeGenerated, 1d) > {0}",
    "TimeGenerated + 1h > {0}",
]


def _moment(time: int, ticks: int) -> str:
    return f"datetime({iso(time).rstrip('Z')}{ticks})"


@given(data=st.data(), early=_FILES, late=_FILES)
@settings(deadline=None, max_examples=20, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_a_count_is_that_of_the_rows(data: st.DataObject, early: list[_File], late: list[_File]) -> None:
    bounds = sorted({bound for file in (*early, *late) for bound in file.bounds} | {DAY_ONE + DAY})
    near = st.tuples(st.sampled_from(bounds), st.integers(-1, 1)).map(sum)
    moments = st.tuples(near, st.sampled_from([0, 0, 0, 5])).map(lambda at: _moment(*at))
    with tempfile.TemporaryDirectory() as folder, _tables(Path(folder)) as tables:
        tables.add(early)
        tables.commit()
        tables.add(late, len(early))
        for _ in range(12):
            two = data.draw(moments), data.draw(moments)
            source = data.draw(st.sampled_from(["Things_CL", "union Things_CL, Other_CL"]))
            filters = data.draw(st.lists(st.sampled_from(_FILTERS), max_size=2))
            span = data.draw(st.tuples(st.none() | near, st.none() | near))
            steps = [f"where {one}".format(*two) for one in filters]
            steps.append(data.draw(st.sampled_from(_KEYS)).format(*two))
            counted = tables.rows(" | ".join([source, *steps]), span)
            assert counted == tables.rows(" | ".join([source, _ROWS, *steps]), span)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Tables]:
    """Three files of a day, an hour from each other, two hours on the next day, and one of another table."""
    with _tables(tmp_path_factory.mktemp("counts")) as made:
        made.add([_File(DAY_ONE + hour * HOUR, 60, MINUTE) for hour in range(1, 4)])
        made.commit()
        made.add([_File(DAY_ONE + DAY, 120, MINUTE), _File(DAY_ONE, 5, SECOND, other=True)], 3)
        yield made


_DATE = "2024-10-04"


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("Things_CL | count", 0),
        ("Things_CL | where TimeGenerated > ago(20000d) | count", 0),
        ("Things_CL | where TimeGenerated < startofday(now(), -1) | count", 0),
        (f"Things_CL | where TimeGenerated < datetime({_DATE}T02:59:30) | count", 0),
        (f"Things_CL | where TimeGenerated < datetime({_DATE}T02:30) | count", 1),
        (f"Things_CL | where TimeGenerated >= datetime({_DATE}T02:59) | summarize count() by Type", 1),
        ("union Things_CL, Other_CL | summarize count() by Type", 0),
        ("union withsource=Source Things_CL, Other_CL | summarize count() by Source", 0),
        ("union (Things_CL | where Count > 0), Other_CL | count", 4),
        ("Things_CL | summarize count() by bin(TimeGenerated, 1d)", 0),
        ("Things_CL | summarize count() by bin(TimeGenerated, 1h)", 1),
        ("Things_CL | summarize count() by bin(TimeGenerated, 1m)", 4),
        ("Things_CL | summarize count() by startofmonth(TimeGenerated)", 0),
        ("print n = toscalar(Things_CL | count)", 0),
        ("Things_CL | extend n = toscalar(Other_CL | count) | count", 0),
        ("Things_CL | distinct Type", 0),
        ("let T = materialize(Things_CL | summarize count() by Type); T | join T on Type", 0),
        ("Things_CL | where TimeGenerated > _TimeReceived | count", 4),
        ("Things_CL | where ingestion_time() > ago(1h) | count", 4),
        ("Things_CL | where rand() < 2 | count", 4),
        ("Things_CL | where Message has_any ('m1', 'm2') | count", 4),
        ("Things_CL | where TimeGenerated > toscalar(print ago(20000d)) | count", 4),
        ("Things_CL | summarize count(), dcount(Type)", 0),
        ("Things_CL | summarize count(), dcount(Message)", 4),
        ("Things_CL | take 100 | count", 4),
        ("Things_CL | serialize n = row_number() | where n < 9 | count", 4),
        ("Things_CL | summarize max(TimeGenerated)", 0),
        ("Things_CL | summarize max(TimeGenerated) by bin(TimeGenerated, 1d)", 0),
        (
            f"Things_CL | where TimeGenerated < datetime({_DATE}T02:30) | summarize max(TimeGenerated), count()",
            1,
        ),
        ("Things_CL | extend T2 = TimeGenerated | summarize min(T2), max(T2)", 0),
        ("Things_CL | summarize max(TimeGenerated + 1h)", 4),
        ("Things_CL | summarize dcount(TimeGenerated)", 4),
        ("Things_CL | summarize avg(TimeGenerated)", 4),
        ("Things_CL | summarize max(Count)", 4),
        ("Things_CL | summarize arg_max(TimeGenerated, Type)", 4),
        ("Things_CL | make-series count() on TimeGenerated step 1d", 0),
        ("Things_CL | make-series count() on TimeGenerated step 1h", 1),
        (f"Things_CL | make-series count() on TimeGenerated from datetime({_DATE}T00:30) step 2h", 2),
        (
            f"Things_CL | make-series count() on TimeGenerated from datetime({_DATE}T03:00) to now() step 30d",
            0,
        ),
        (
            f"Things_CL | make-series sum(Count) on TimeGenerated from datetime({_DATE}T03:00) to now() step 30d",
            2,
        ),
        ("Things_CL | make-series sum(Count) on TimeGenerated step 1d", 4),
    ],
)
def test_only_files_that_may_differ_within_are_read(tables: _Tables, text: str, files: int) -> None:
    assert tables.read(text) == files


def test_bounds_of_the_call_are_a_filter_as_any(tables: _Tables) -> None:
    morning = DAY_ONE + 2 * HOUR, DAY_ONE + 4 * HOUR - 1
    assert tables.read("Things_CL | count", morning) == 0
    assert tables.rows("Things_CL | count", morning) == [[120]]
    cut = DAY_ONE + 2 * HOUR + 30 * MINUTE, None
    assert tables.read("Things_CL | count", cut) == 1
    assert tables.rows("Things_CL | count", cut) == [[30 + 60 + 120]]


def test_rows_about_a_resource_are_read(tables: _Tables) -> None:
    group = "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/g"
    assert tables.rows("Things_CL | count", limited=group) == [[0]]
    assert tables.rows("Things_CL | count", limited=group.replace("groups", "Groups")) == [[300]]
