"""Parquet files put together without reading a row, and the footer's encoding."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.tables.concat import concatenate
from headrace.tables.model import CommitError
from headrace.tables.thrift import Field, Items, Struct, ThriftError, Value, decode, encode


def _rows(first: int, count: int = 5000) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table(
        {
            "Id": pa.array(numbers, pa.int64()),
            "Text": [None if number % 7 == 0 else f"text {number % 100}" for number in numbers],
            "Ratio": [number / 3 for number in numbers],
            "Time": pa.array(numbers, pa.timestamp("us", "UTC")),
        }
    )


def _write(folder: Path, first: int, **options: object) -> Path:
    path = folder / f"{first}.parquet"
    pq.write_table(_rows(first), path, row_group_size=2000, **options)
    return path


def _copy(path: Path, rows: pa.Table) -> Path:
    """Written by DuckDB, as the pipeline does: with bloom filters."""
    with duckdb.connect() as engine:
        engine.register("rows", rows)
        engine.execute(f"COPY rows TO '{path}' (FORMAT parquet)")
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "snappy"},
        {"compression": "zstd", "write_page_index": True, "write_page_checksum": True},
        {"compression": "none", "use_dictionary": False, "version": "2.6", "data_page_version": "2.0"},
    ],
    ids=["snappy", "zstd with indexes", "plain pages of version 2"],
)
def test_every_reader_finds_all_rows_in_order(tmp_path: Path, options: dict[str, object]) -> None:
    paths = [_write(tmp_path, first, **options) for first in (0, 5000, 10_000)]
    (joined,) = concatenate(paths, tmp_path)
    wanted = _rows(0, 15_000)
    assert pq.read_table(joined, page_checksum_verification=True).equals(wanted)
    assert pl.read_parquet(joined).equals(pl.DataFrame(wanted))
    assert pl.scan_parquet(joined).filter(pl.col("Id") == 12_345).collect()["Text"].to_list() == ["text 45"]
    metadata = pq.read_metadata(joined)
    assert (metadata.num_rows, metadata.num_row_groups) == (15_000, 9)
    last = metadata.row_group(8).column(0)
    assert last.statistics.max == 14_999
    assert not (last.has_offset_index or last.has_column_index)


def test_duckdb_skips_by_statistics_and_bloom_filters(tmp_path: Path) -> None:
    paths = [_copy(tmp_path / f"{first}.parquet", _rows(first)) for first in (0, 5000)]
    (joined,) = concatenate(paths, tmp_path)
    with duckdb.connect() as engine:
        for text, count in (("text 45", 86), ("no such text", 0)):
            counted = engine.execute(
                'SELECT count(*) FROM read_parquet(?) WHERE "Text" = ?', [str(joined), text]
            ).fetchone()
            assert counted == (count,)
        found = engine.execute('SELECT "Ratio" FROM read_parquet(?) WHERE "Id" = 9000', [str(joined)])
        assert found.fetchall() == [(3000.0,)]


def test_what_was_put_together_can_be_put_together_again(tmp_path: Path) -> None:
    (first,) = concatenate([_write(tmp_path, 0), _write(tmp_path, 5000)], tmp_path)
    (second,) = concatenate([first, _write(tmp_path, 10_000)], tmp_path)
    assert pq.read_table(second).equals(_rows(0, 15_000))


def test_files_of_different_columns_stay_apart(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(_rows(0).drop_columns(["Ratio"]), other)
    made = concatenate([_write(tmp_path, 0), other, _write(tmp_path, 5000)], tmp_path)
    assert [pq.read_metadata(path).num_rows for path in made] == [10_000, 5000]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1" * 3, b"\xff" * 4 + b"PAR1", b"no Parquet at all"])
def test_a_file_that_is_not_whole_is_told(tmp_path: Path, damage: bytes) -> None:
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(damage)
    with pytest.raises(CommitError):
        concatenate([_write(tmp_path, 0), torn], tmp_path)


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommitError):
        concatenate([tmp_path / "gone.parquet"], tmp_path)


def _structs(values: st.SearchStrategy[tuple[int, Value]]) -> st.SearchStrategy[Struct]:
    return st.lists(st.tuples(st.integers(1, 300), values), max_size=5).map(
        lambda fields: [Field(number, kind, value) for number, (kind, value) in fields]
    )


_PLAIN: st.SearchStrategy[tuple[int, Value]] = st.one_of(
    st.sampled_from([(1, True), (2, False)]),
    st.tuples(st.just(3), st.integers(0, 255)),
    st.tuples(st.sampled_from([4, 5, 6]), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(7), st.floats(allow_nan=False)),
    st.tuples(st.just(8), st.binary(max_size=40)),
    st.tuples(
        st.just(9), st.lists(st.integers(-5, 2**40), max_size=40).map(lambda found: Items(6, [*found]))
    ),
    st.tuples(
        st.just(11),
        st.dictionaries(st.binary(max_size=4), st.integers(0, 9), min_size=1, max_size=5).map(
            lambda pairs: Items(5, [*pairs.values()], 8, [*pairs])
        ),
    ),
)
_STRUCTS = _structs(st.recursive(_PLAIN, lambda inner: st.tuples(st.just(12), _structs(inner)), max_leaves=8))


@given(_STRUCTS)
def test_a_struct_comes_back_as_it_was(fields: Struct) -> None:
    assert decode(encode(fields)) == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_a_struct_or_refused(data: bytes) -> None:
    try:
        decode(data)
    except ThriftError:
        return


@pytest.mark.parametrize("opening", [b"\x1c", b"\x19", b"\x19\x1b\x01\xbb"])
def test_nesting_has_a_bound(opening: bytes) -> None:
    with pytest.raises(ThriftError):
        decode(b"\x19" + opening * 2000)
