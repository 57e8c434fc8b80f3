"""A flow's statement: the shape of the output table, TimeGenerated, system columns, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp
from tests.transform_kit import (
    COLUMNS,
    make_catalog,
    make_flow,
    make_rule,
    make_table,
)

from headrace.catalog.model import Table
from headrace.catalog.rules import Rule
from headrace.errors import ProblemError
from headrace.kql.types import KustoType
from headrace.settings import TransformSettings
from headrace.transform.carry import carry_columns
from headrace.transform.compile import compile_flow
from headrace.transform.run import (
    CHUNK_BYTES,
    MAX_STATEMENTS,
    WORK_FOLDER,
    Body,
    Engine,
    EngineError,
    RowsError,
    batch_table,
)
from headrace.transform.validate import validate_rule

K = KustoType
RECEIVED = datetime(2026, 11, 23, 12, tzinfo=UTC)
SETTINGS = TransformSettings()


def run(
    folder: Path,
    rows: Sequence[object],
    *,
    resource: str = "",
    table: Table | None = None,
    rule: Rule | None = None,
    settings: TransformSettings = SETTINGS,
) -> list[dict[str, Any]]:
    """Rows through the first flow of a rule, as they stand in the file."""
    rule = rule or make_rule()
    live = compile_flow(rule, rule.flows[0], table or make_table(), settings)
    engine = Engine(folder, "256MB")
    file = folder / "x.parquet"
    body = Body(
        5, int(RECEIVED.timestamp()) * 1_000_000, json.dumps(rows).encode(), "j/r/0", rule.version, resource
    )
    with engine.session() as session:
        written = session.run(live, batch_table([body]), file)
    engine.close()
    if not written.rows:
        assert not file.exists()
        return []
    found: list[dict[str, Any]] = pq.read_table(file, partitioning=None).to_pylist()
    assert len(found) == written.rows
    assert file.stat().st_size == written.bytes
    times = [int(row["TimeGenerated"].timestamp() * 1_000_000) for row in found]
    assert (written.min_time, written.max_time) == (min(times), max(times))
    return found


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (timedelta(), True),
        (timedelta(days=-2), True),
        (timedelta(days=-2, microseconds=-1), False),
        (timedelta(days=1), True),
        (timedelta(days=1, microseconds=1), False),
        (None, False),
    ],
)
def test_time_generated_stays_near_receipt(tmp_path: Path, sent: timedelta | None, kept: bool) -> None:
    time = None if sent is None else (RECEIVED + sent).isoformat()
    (row,) = run(tmp_path, [{"TimeGenerated": time}])
    assert row["TimeGenerated"] == (RECEIVED + sent if kept and sent is not None else RECEIVED)


def test_the_file_has_the_table_columns_and_the_stored_ones(tmp_path: Path) -> None:
    more = make_table(columns=(*COLUMNS, ("Extra", K.STRING), ("Key", K.GUID), ("Seen", K.DATETIME)))
    rows = run(tmp_path, [{"Id": 1, "Text": "x", "Data": {"a": [1]}}, {"Good": True}], table=more)
    assert rows[0] == {
        "TimeGenerated": RECEIVED, "Id": 1, "Text": "x", "Level": None, "Ratio": None, "Good": None,
        "Data": '{"a":[1]}', "Extra": "", "Key": None, "Seen": None, "_TimeReceived": RECEIVED,
        "_ResourceId": "", "_RuleVersion": 1, "_Source": "j/r/0", "_Offset": 5, "_Row": 0,
    }  # fmt: skip
    assert (rows[1]["Good"], rows[1]["Text"], rows[1]["_Row"]) == (True, "", 1)
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "x.parquet")}
    assert types == {
        "TimeGenerated": "timestamp[us, tz=UTC]", "Id": "int64", "Text": "string", "Level": "int32",
        "Ratio": "double", "Good": "bool", "Data": "string", "Extra": "string", "Key": "string",
        "Seen": "timestamp[us, tz=UTC]", "_TimeReceived": "timestamp[us, tz=UTC]", "_ResourceId": "string",
        "_RuleVersion": "int32", "_Source": "string", "_Offset": "int64", "_Row": "int32",
    }  # fmt: skip


def test_physical_names_are_used(tmp_path: Path) -> None:
    table = make_table()
    schema = table.schema
    others = (replace(column, physical=f"{column.name}_7") for column in schema.columns[1:])
    renamed = replace(schema, columns=(schema.columns[0], *others))
    (row,) = run(tmp_path, [{"Id": 3}], table=replace(table, schemas=(renamed,)))
    assert row["Id_7"] == 3


def test_long_strings_are_cut(tmp_path: Path) -> None:
    settings = TransformSettings.model_validate({"max_field_bytes": 16})
    (row,) = run(tmp_path, [{"Text": "é" * 20, "Data": "x" * 40}], settings=settings)
    assert row["Text"] == "é" * 8
    assert row["Data"] == '"' + "x" * 40 + '"'


def test_resource_id_is_taken_in_lower_case(tmp_path: Path) -> None:
    columns = (*COLUMNS, ("_ResourceId", K.STRING), ("TenantId", K.STRING))
    (row,) = run(tmp_path, [{"_ResourceId": "/Sub/A", "TenantId": "me"}], rule=make_rule(columns=columns))
    assert row["_ResourceId"] == "/sub/a"
    assert "TenantId" not in row


def test_the_resource_that_came_beside_the_body_gives_way_to_the_transforms(tmp_path: Path) -> None:
    (row,) = run(tmp_path, [{}], resource="/beside")
    assert row["_ResourceId"] == "/beside"
    columns = (*COLUMNS, ("_ResourceId", K.STRING))
    (row,) = run(tmp_path, [{"_ResourceId": "/own"}], resource="/beside", rule=make_rule(columns=columns))
    assert row["_ResourceId"] == "/own"


def test_columns_that_the_table_lacks_are_dropped() -> None:
    rule = make_rule(columns=(*COLUMNS, ("Other", K.STRING)))
    assert compile_flow(rule, rule.flows[0], make_table(), SETTINGS).dropped == ("Other",)


def test_no_rows_no_file(tmp_path: Path) -> None:
    assert run(tmp_path, []) == []


def test_types_must_match_exactly() -> None:
    rule = make_rule(columns=(("TimeGenerated", K.DATETIME), ("Id", K.INT), ("Good", K.STRING)))
    with pytest.raises(ProblemError) as caught:
        compile_flow(rule, rule.flows[0], make_table(), SETTINGS)
    (problem,) = caught.value.problems
    assert problem.code == "InvalidTransformOutput"
    assert problem.target == "properties.dataFlows[0]"
    assert problem.message == (
        "Types of transform output columns do not match the ones defined by the output stream: "
        "Id [produced:'Int', output:'Long'], Good [produced:'String', output:'Boolean']"
    )


def test_names_match_exactly() -> None:
    rule = make_rule(columns=(("timegenerated", K.DATETIME),))
    with pytest.raises(ProblemError, match="TimeGenerated") as caught:
        compile_flow(rule, rule.flows[0], make_table(), SETTINGS)
    assert caught.value.problems[0].code == "InvalidTransformQuery"


def test_time_generated_of_another_type() -> None:
    rule = make_rule(columns=(("TimeGenerated", K.STRING),))
    with pytest.raises(ProblemError, match="todatetime") as caught:
        compile_flow(rule, rule.flows[0], make_table(), SETTINGS)
    assert caught.value.problems[0].code == "InvalidTransformOutput"


def test_a_rule_that_is_right() -> None:
    assert validate_rule(make_rule(), make_catalog(make_table())) == ()


def test_unknown_tables_and_streams() -> None:
    rule = make_rule(make_flow(0), make_flow(1, table="Gone_CL"))
    undeclared = replace(rule, streams={})
    (problem,) = validate_rule(rule, make_catalog(make_table()))
    assert problem.code == "InvalidOutputTable"
    assert problem.target == "properties.dataFlows[1]"
    expected = "Table for output stream 'Custom-Gone_CL' is not available for destination 'w'."
    assert problem.message == expected
    codes = [problem.code for problem in validate_rule(undeclared, make_catalog(make_table()))]
    assert codes == ["InvalidStream", "InvalidStream", "InvalidOutputTable"]


def test_the_engine_touches_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    engine = Engine(folder, "256MB")
    rule = make_rule()
    live = compile_flow(rule, rule.flows[0], make_table(), SETTINGS)
    outside = tmp_path / "outside.txt"
    outside.write_text("x")
    reading = dataclasses.replace(live, query=f"SELECT * FROM read_text('{outside}')")
    with engine.session() as session, pytest.raises(EngineError, match="Permission"):
        session.run(reading, batch_table([Body(0, 0, b"[{}]")]), folder / "out.parquet")
    engine.close()
    assert not (folder / "out.parquet").exists()


def test_what_is_not_utf8_is_told(tmp_path: Path) -> None:
    rule = make_rule()
    live = compile_flow(rule, rule.flows[0], make_table(), SETTINGS)
    engine = Engine(tmp_path, "256MB")
    with engine.session() as session:
        for text in (b'[{"Text": "\xff"}]', b'[{"Undeclared": "\xff"}]', b"[\xff]", b"\xc3\x28" * 20):
            with pytest.raises(RowsError, match="InvalidUtf8"):
                session.run(live, batch_table([Body(0, 0, text)]), tmp_path / "out.parquet")
        assert session.run(live, batch_table([Body(0, 0, b"[{}]")]), tmp_path / "out.parquet").rows == 1
    engine.close()


def test_a_batch_is_read_in_chunks_of_whole_bodies_in_order(tmp_path: Path) -> None:
    rule = make_rule()
    live = compile_flow(rule, rule.flows[0], make_table(), SETTINGS)
    received = int(RECEIVED.timestamp()) * 1_000_000
    sizes = [CHUNK_BYTES // 3, 10, CHUNK_BYTES, 10, 10, 2 * CHUNK_BYTES, 10]
    bodies = [
        Body(offset, received, json.dumps([{"Id": size}, {"Text": "x" * (size - 10)}]).encode())
        for offset, size in enumerate(sizes)
    ]
    batch = batch_table(bodies)
    assert [len(chunk) for chunk in batch.to_batches()] == [3, 3, 1]
    engine = Engine(tmp_path, "256MB")
    file = tmp_path / "x.parquet"
    with engine.session() as session:
        assert session.run(live, batch, file).rows == 2 * len(sizes)
        assert session.run(live, batch_table([]), tmp_path / "none.parquet").rows == 0
    engine.close()
    rows = pq.read_table(file).to_pylist()
    assert [(row["_Offset"], row["_Row"]) for row in rows] == [
        (offset, row) for offset in range(len(sizes)) for row in (0, 1)
    ]
    assert [row["Id"] for row in rows[::2]] == sizes


def test_a_session_prepares_a_query_once_and_forgets_the_oldest(tmp_path: Path) -> None:
    rule = make_rule()
    live = compile_flow(rule, rule.flows[0], make_table(), SETTINGS)
    others = [
        dataclasses.replace(live, query=f"{live.query} LIMIT {one}") for one in range(1, MAX_STATEMENTS + 9)
    ]
    engine = Engine(tmp_path, "256MB")
    with engine.session() as session:
        for number, each in enumerate((live, *others, live, live)):
            body = Body(
                number, int(RECEIVED.timestamp()) * 1_000_000, b'[{"Id": 1}, {"Id": 2}]', f"s{number}"
            )
            file = tmp_path / f"{number}.parquet"
            written = session.run(each, batch_table([body]), file)
            rows = pq.read_table(file).to_pylist()
            assert written.rows == len(rows) == (1 if number == 1 else 2)
            assert {(row["_Source"], row["_Offset"]) for row in rows} == {(f"s{number}", number)}
    engine.close()
    assert not list((tmp_path / WORK_FOLDER).iterdir())


CARRY = {
    "SELECT a FROM (SELECT 1 AS a, 2 AS k) AS s": "SELECT a, s.k FROM (SELECT 1 AS a, 2 AS k) AS s",
    "WITH s AS (SELECT 1 AS a, 2 AS k), t AS (SELECT a FROM s) SELECT a + 1 AS b FROM t AS u": (
        "WITH s AS (SELECT 1 AS a, 2 AS k), t AS (SELECT a, s.k FROM s) SELECT a + 1 AS b, u.k FROM t AS u"
    ),
    "SELECT * FROM (SELECT 1 AS a, 2 AS k) AS s": "SELECT * FROM (SELECT 1 AS a, 2 AS k) AS s",
    "SELECT 1 AS a": None,
}


@pytest.mark.parametrize(("before", "after"), CARRY.items())
def test_carried_columns(before: str, after: str | None) -> None:
    query = sqlglot.parse_one(before, dialect="duckdb")
    assert isinstance(query, exp.Query)
    assert carry_columns(query, ["k"]) is (after is not None)
    assert query.sql("duckdb").replace('"', "") == (after or before)


def test_rows_are_never_folded() -> None:
    query = sqlglot.parse_one("SELECT a FROM (SELECT 1 AS a, 2 AS k) AS s GROUP BY a", dialect="duckdb")
    assert isinstance(query, exp.Query)
    with pytest.raises(ValueError, match="fold"):
        carry_columns(query, ["k"])
