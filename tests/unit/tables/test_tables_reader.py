from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tables_kit import COLUMNS, DAY_ONE, FIRST_SCHEMA, SECOND_SCHEMA, Bench, make_table

from headrace.catalog.model import Column, TableSchema
from headrace.catalog.system import query_schema
from headrace.clock import DAY, HOUR, SECOND
from headrace.kql.types import KustoType
from headrace.settings import TableSettings
from headrace.tables.manifest import NAME
from headrace.tables.model import ManifestError
from headrace.tables.scan import SQL_TYPES


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path / "tables", settings=TableSettings(small_file_bytes=0)) as bench:
        yield bench


def test_every_column_of_the_schema_can_be_scanned_empty_or_not(bench: Bench) -> None:
    columns = query_schema(bench.table).columns
    for rows in (0, 3):
        snapshot = bench.reader.pin(bench.table)
        query = snapshot.scan([(f"c{place}", column.name) for place, column in enumerate(columns)])
        relation = bench.engine.sql(query.sql("duckdb"))
        assert relation.columns == [f"c{place}" for place in range(len(columns))]
        found = ["TIMESTAMPTZ" if "ZONE" in str(kind) else str(kind) for kind in relation.types]
        assert found == [SQL_TYPES[column.type] for column in columns]
        assert relation.to_arrow_table().num_rows == rows
        if not rows:
            bench.publish(0)


def test_system_columns_have_their_values(bench: Bench) -> None:
    bench.publish(4, rows=2)
    before = bench.query(["TenantId", "Type", "_SubscriptionId", "_IsBillable", "_RuleVersion", "_ItemId"])
    table = bench.table
    for row in before:
        assert row[:5] == (
            table.workspace,
            "Things_CL",
            "11111111-2222-3333-4444-555555555555",
            "true",
            1,
        )
        assert str(uuid.UUID(str(row[5]))) == row[5]
    assert len({row[5] for row in before}) == 2
    bench.store.commit(table)
    assert bench.query(["_ItemId"]) == [(row[5],) for row in before]


def test_the_billed_size_is_that_of_the_rows_own_columns_as_text(bench: Bench) -> None:
    bench.publish(4, rows=2)
    texts = [column.name for column in bench.table.schema.columns if column.type is KustoType.STRING]
    found = bench.query(["_BilledSize", *texts])
    assert len(found) == 2
    for size, *values in found:
        assert isinstance(size, float)
        assert size > sum(len(str(value).encode()) for value in values) > 0


def test_only_the_wanted_columns_are_read(bench: Bench) -> None:
    bench.publish(0)
    snapshot = bench.reader.pin(bench.table)
    sql = snapshot.scan([("c0", "Count"), ("c1", "Count")]).sql("duckdb")
    nothing = snapshot.scan([]).sql("duckdb")
    assert "Message" not in sql
    assert bench.engine.execute(sql).fetchall() == [(0, 0), (1, 1), (2, 2)]
    assert len(bench.engine.execute(nothing).fetchall()) == 3


def test_an_unknown_column_is_refused(bench: Bench) -> None:
    for offset in range(2):
        with pytest.raises(KeyError):
            bench.reader.pin(bench.table).scan([("c0", "message")])
        bench.publish(offset)


def test_files_of_two_schema_versions_are_one_table(bench: Bench) -> None:
    table = bench.table
    wider = dataclasses.replace(table, schemas=(FIRST_SCHEMA, SECOND_SCHEMA))
    bench.publish(0, rows=1)
    bench.store.commit(table)
    bench.publish(1, rows=1)
    bench.publish(2, rows=1, table=wider)
    for _ in range(2):
        rows = bench.query(["Message", "Extra", "More", "Seen"], wider)
        assert sorted(rows, key=str) == [
            ("m0", "", None, None),
            ("m0", "", None, None),
            ("m0", "m0", '{"row":0}', None),
        ]
        assert len(bench.query(["Message"], table)) == 3, "an older catalog still reads all rows"
        bench.store.commit(wider)
    snapshot = bench.reader.pin(wider)
    assert sorted(file.schema_version for file in snapshot.files) == [1, 1, 2]


def test_a_file_of_a_version_that_the_catalog_does_not_know_yet(bench: Bench) -> None:
    newer = TableSchema(3, (COLUMNS[0], COLUMNS[1]))
    bench.publish(0, rows=1, table=dataclasses.replace(bench.table, schemas=(FIRST_SCHEMA, newer)))
    assert bench.query(["Message", "Count", "Data"]) == [("m0", None, None)]


def test_a_column_keeps_its_data_by_id_not_by_name(bench: Bench) -> None:
    renamed = dataclasses.replace(COLUMNS[1], name="Text")
    again = Column(9, "Count", KustoType.LONG, "Count_2")
    second = TableSchema(2, (COLUMNS[0], renamed, again, *COLUMNS[3:]))
    changed = dataclasses.replace(bench.table, schemas=(FIRST_SCHEMA, second))
    bench.publish(0, rows=1)
    bench.publish(1, rows=1, table=changed)
    for _ in range(2):
        assert sorted(bench.query(["Text", "Count"], changed), key=str) == [("m0", 0), ("m0", None)]
        with pytest.raises(KeyError):
            bench.reader.pin(changed).scan([("c0", "Message")])
        bench.store.commit(changed)


def test_names_that_differ_in_case_only_stay_apart(tmp_path: Path) -> None:
    schema = TableSchema(
        1,
        (
            COLUMNS[0],
            Column(2, "Value", KustoType.LONG, "Value"),
            Column(3, "value", KustoType.STRING, "value_3"),
        ),
    )
    with Bench(tmp_path / "tables", table=make_table((schema,))) as bench:
        bench.publish(0, rows=1)
        for _ in range(2):
            assert bench.query(["value", "Value"]) == [("m0", 0)]
            bench.store.commit(bench.table)


def test_files_outside_the_time_range_are_not_opened(bench: Bench) -> None:
    for offset in range(4):
        bench.publish(offset, start=DAY_ONE + offset * DAY)
        if offset == 1:
            bench.store.commit(bench.table)
    snapshot = bench.reader.pin(bench.table)
    late = snapshot.scan([("c0", "Count")], (DAY_ONE + 3 * DAY, None)).sql("duckdb")
    one = snapshot.scan([("c0", "Count")], (DAY_ONE + DAY, DAY_ONE + DAY + HOUR)).sql("duckdb")
    none = snapshot.scan([("c0", "Count")], (DAY_ONE + 9 * DAY, None)).sql("duckdb")
    assert (late.count(".parquet"), one.count(".parquet"), none.count(".parquet")) == (1, 1, 0)
    assert bench.engine.execute(none).fetchall() == []


@settings(deadline=None, max_examples=40)
@given(
    st.none() | st.integers(-5, 40),
    st.none() | st.integers(-5, 40),
    st.integers(-1, 1),
)
def test_a_time_range_gives_exactly_the_rows_inside(
    ranged: Bench, low: int | None, high: int | None, nudge: int
) -> None:
    bounds = (
        None if low is None else DAY_ONE + low * SECOND + nudge,
        None if high is None else DAY_ONE + high * SECOND + nudge,
    )
    snapshot = ranged.reader.pin(ranged.table)
    sql = snapshot.scan([("t", "TimeGenerated")], bounds).sql("duckdb")
    found = ranged.engine.execute(f"SELECT epoch_us(t) FROM ({sql}) ORDER BY 1").fetchall()
    times = [DAY_ONE + second * SECOND for second in range(30)]
    first, last = bounds
    assert [row[0] for row in found] == [
        time for time in times if (first is None or time >= first) and (last is None or time <= last)
    ]


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("ranged") / "tables") as bench:
        for offset in range(3):
            bench.publish(offset, rows=10, start=DAY_ONE + offset * 10 * SECOND)
            if offset == 1:
                bench.store.commit(bench.table)
        yield bench


def test_bounds_past_the_calendar_are_no_bounds(bench: Bench) -> None:
    bench.publish(0)
    for bounds in ((-(2**63), 2**63 - 1), (-62_135_596_800_000_000, 253_402_300_799_999_999)):
        assert len(bench.query(["Count"], time_range=bounds)) == 3


def test_a_pinned_snapshot_does_not_move(bench: Bench) -> None:
    bench.publish(0)
    snapshot = bench.reader.pin(bench.table)
    for offset in range(1, 4):
        bench.publish(offset)
    bench.store.commit(bench.table)
    assert snapshot.rows == 3
    assert bench.engine.execute(snapshot.scan([("c0", "Count")]).sql("duckdb")).fetchall() == [
        (0,),
        (1,),
        (2,),
    ]
    snapshot = bench.reader.pin(bench.table)
    assert snapshot.rows == 12


def test_a_reader_follows_the_log_as_a_new_reader_sees_it(bench: Bench) -> None:
    fresh = type(bench.reader)
    for offset in range(12):
        bench.publish(offset)
        if offset % 3 != 2:
            bench.store.commit(bench.table)
        if offset % 4 == 0:
            bench.store.maintain()
        followed = bench.reader.pin(bench.table).files
        assert sorted(followed, key=str) == sorted(fresh(bench.root).pin(bench.table).files, key=str)
        assert sum(file.rows for file in followed) == 3 * (offset + 1)


def test_a_manifest_that_is_not_whole_is_not_read(bench: Bench) -> None:
    bench.publish(0)
    (bench.folder / NAME).write_bytes(b"{}")
    with pytest.raises(ManifestError):
        bench.reader.pin(bench.table)


def test_a_folder_with_an_equals_sign_adds_no_column(tmp_path: Path) -> None:
    with Bench(tmp_path / "Count=7" / "tables") as bench:
        bench.publish(0, rows=1)
        for _ in range(2):
            assert bench.query(["Count", "Type"]) == [(0, "Things_CL")]
            bench.store.commit(bench.table)
