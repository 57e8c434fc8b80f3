"""Other readers of Delta Lake and Parquet see the same table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from tests.tables_kit import COLUMNS, DAY_ONE, FIRST_SCHEMA, LATER, SECOND_SCHEMA, Bench

from headrace.clock import DAY
from headrace.settings import TableSettings

_AS_THEY_ARE = TableSettings(small_file_bytes=0)
_COPIED = TableSettings(rewrite_below_rows=0)
_REWRITTEN = TableSettings()


@pytest.fixture(params=[_AS_THEY_ARE, _COPIED, _REWRITTEN], ids=["as they are", "copied", "rewritten"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Three commits: two days, two schema versions."""
    with Bench(tmp_path / "tables", settings=request.param) as bench:
        wider = dataclasses.replace(bench.table, schemas=(FIRST_SCHEMA, SECOND_SCHEMA))
        for offset in range(6):
            bench.publish(
                offset,
                rows=10,
                start=DAY_ONE + (offset // 2 % 2) * DAY,
                table=bench.table if offset < 4 else wider,
            )
            if offset % 2:
                bench.store.commit(wider)
        yield bench


def test_deltalake_reads_it(bench: Bench) -> None:
    table = DeltaTable(bench.folder)
    assert table.metadata().partition_columns == ["_Day"]
    rows = table.to_pyarrow_table()
    assert rows.num_rows == 60
    assert sorted(set(rows["Count"].to_pylist())) == list(range(10))
    assert rows["Extra"].null_count == 40, "rows from before the column"
    assert len(set(rows["_Day"].to_pylist())) == 2
    assert rows.schema.field("TimeGenerated").type == pa.timestamp("us", "UTC")


def test_each_column_names_its_kusto_type(bench: Bench) -> None:
    fields = {field.name: field.metadata for field in DeltaTable(bench.folder).schema().fields}
    for column in (*COLUMNS, *LATER):
        assert fields[column.physical] == {"headrace.type": column.type.value}
    assert fields["_TimeReceived"] == {"headrace.type": "datetime"}
    assert fields["_Offset"] == {"headrace.type": "long"}


def test_delta_statistics_are_those_of_the_files(bench: Bench) -> None:
    actions = pa.table(DeltaTable(bench.folder).get_add_actions(flatten=True)).to_pylist()
    assert sum(action["num_records"] for action in actions) == 60
    for action in actions:
        rows = pq.read_table(bench.folder / action["path"])
        times = rows["TimeGenerated"].to_pylist()
        assert (action["min.TimeGenerated"], action["max.TimeGenerated"]) == (min(times), max(times))
        assert {time.date() for time in times} == {action["partition._Day"]}
        assert action["null_count.TimeGenerated"] == 0
        assert action["null_count.Key"] == rows.num_rows
        assert (action["min.Count"], action["max.Count"]) == (0, 9)
        assert action["size_bytes"] == (bench.folder / action["path"]).stat().st_size


def test_duckdb_and_pyarrow_read_the_files(bench: Bench) -> None:
    uris = [str(bench.folder / path) for path in _paths(bench)]
    found = bench.engine.execute(
        'SELECT count(*), sum("Count") FROM read_parquet(?, union_by_name = true)', [uris]
    ).fetchone()
    assert found == (60, 6 * 45)
    assert sum(pq.read_table(uri).num_rows for uri in uris) == 60
    for uri in uris:
        schema = pq.read_schema(uri)
        assert "_Day" not in schema.names
        assert schema.field("TimeGenerated").type == pa.timestamp("us", "UTC")


def test_polars_reads_it(bench: Bench) -> None:
    frame = pl.scan_delta(str(bench.folder), use_pyarrow=False).collect()
    assert frame.height == 60
    assert frame["Count"].sum() == 6 * 45
    assert frame["Extra"].null_count() == 40
    late = pl.scan_parquet([str(bench.folder / path) for path in _paths(bench)], missing_columns="insert")
    assert late.filter(pl.col("Count") == 9).select("_Offset").collect()["_Offset"].sort().to_list() == [
        *range(6)
    ]


def test_deltalake_prunes_by_time(bench: Bench) -> None:
    table = DeltaTable(bench.folder)
    day = (DAY_ONE + DAY) // DAY
    text = str(pa.scalar(day, pa.int32()).cast(pa.date32()).as_py())
    assert len(table.file_uris(file_pruning_predicate=[("_Day", "=", text)])) == len(table.file_uris()) // 3


def _paths(bench: Bench) -> list[str]:
    actions = pa.table(DeltaTable(bench.folder).get_add_actions(flatten=True))
    paths: list[str] = actions["path"].to_pylist()
    return paths
