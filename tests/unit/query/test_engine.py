from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.tables_kit import DAY_ONE, Bench, make_table

from headrace.catalog.model import Catalog, Table, Workspace
from headrace.clock import DAY, MINUTE, SECOND, SystemClock
from headrace.kql.api import KqlError
from headrace.query.database import WorkspaceView
from headrace.query.engine import BusyError, QueryEngine, QueryFailedError, QueryTimeoutError
from headrace.query.model import QueryRequest, QueryResult, TimeRange
from headrace.settings import QuerySettings

pytestmark = pytest.mark.anyio
ENDLESS = (
    "range a from 1 to 9000000 step 1 | extend k = a % 3 | as T | join kind=inner T on k | summarize sum(a1)"
)
WAIT = 60


class Things:
    """Two tables of one workspace with a store, and a query engine over them."""

    def __init__(self, folder: Path, settings: QuerySettings) -> None:
        self.things = Bench(folder / "tables")
        table = self.things.table
        other = make_table(name="Other_CL", workspace=table.workspace)
        self.others = Bench(folder / "tables", table=other, store=self.things.store)
        self._show(table, other)
        spill = folder / "spill"
        self.engine = QueryEngine(self.things.reader, folder / "tables", spill, settings, SystemClock())

    def _show(self, *tables: Table) -> None:
        named = {table.name: table for table in tables}
        self.workspace = Workspace(tables[0].workspace, "/w", "w", "here", named)
        self.catalog = Catalog(1, {self.workspace.customer_id: self.workspace}, {})

    def keep(self, days: int, total: int) -> None:
        """Change the first table's retention."""
        table = replace(self.things.table, retention_days=days, total_retention_days=total)
        self._show(table, self.others.table)

    def view(self, *readable: str) -> WorkspaceView:
        """What a caller sees who may read the tables `readable`, or all."""
        return WorkspaceView(
            self.catalog, (self.workspace,), lambda _, name: not readable or name in readable
        )

    async def run(self, text: str, *, wait: int = WAIT, time_range: TimeRange = (None, None)) -> QueryResult:
        """The whole result."""
        return await self.engine.run(self.view(), QueryRequest(text, time_range), wait)

    async def rows(self, text: str, **options: Any) -> list[list[Any]]:
        """The rows of the first table."""
        result = await self.run(text, **options)
        assert result.partial is None
        rows: list[list[Any]] = json.loads(result.tables[0].rows)
        assert len(rows) == result.tables[0].row_count
        return rows

    def close(self) -> None:
        """Let go of everything."""
        self.engine.close()
        self.others.close()
        self.things.close()


@contextlib.asynccontextmanager
async def things(folder: Path, **settings: Any) -> AsyncIterator[Things]:
    made = Things(folder, QuerySettings(**{"threads": 1} | settings))
    try:
        yield made
    finally:
        made.close()


async def until_running(made: Things, count: int) -> None:
    """Wait until so many queries run or wait."""
    while len(made.engine._busy) + made.engine._waiting < count:
        await asyncio.sleep(0.01)


async def test_rows_past_the_interactive_retention_are_kept_and_not_shown(tmp_path: Path) -> None:
    now = SystemClock().now()
    async with things(tmp_path) as made:
        made.keep(30, 90)
        made.things.publish(0, rows=4, start=now - 30 * DAY - MINUTE, step=40 * SECOND)
        made.things.store.commit(made.things.table)
        made.things.publish(1, rows=3, start=now - 40 * DAY)
        made.things.publish(2, rows=2, start=now - DAY)
        assert await made.rows("Things_CL | count") == [[4]]
        assert await made.rows("Things_CL | where TimeGenerated > ago(60d) | count") == [[4]]
        made.keep(60, 90)
        assert await made.rows("Things_CL | count") == [[9]]


async def test_committed_and_published_rows_are_one_table(tmp_path: Path) -> None:
    async with things(tmp_path) as made:
        assert await made.rows("Things_CL | count") == [[0]]
        made.things.publish(0, rows=5)
        made.things.store.commit(made.things.table)
        made.things.publish(1, rows=3)
        assert await made.rows("Things_CL | count") == [[8]]
        assert (
            await made.rows("Things_CL | where Message == 'm2' | project Message, Count") == [["m2", 2]] * 2
        )


async def test_queries_at_once_all_have_the_functions_of_compiled_queries(tmp_path: Path) -> None:
    text = "print a = tolong('12'), b = tostring(1h), c = todatetime('2026-01-02'), d = hash_sha1('x')"
    async with things(tmp_path, concurrency=3) as made:
        answers = await asyncio.gather(*(made.rows(text) for _ in range(9)))
    assert (
        answers
        == [[[12, "01:00:00", "2026-01-02T00:00:00Z", "11f6ad8ec52a2984abaafd7c3b516503785c2072"]]] * 9
    )


async def test_rows_without_columns_are_answered(tmp_path: Path) -> None:
    async with things(tmp_path) as made:
        made.things.publish(0, rows=2)
        result = await made.run("Things_CL | project-away *")
    assert (result.tables[0].columns, json.loads(result.tables[0].rows)) == ((), [[], []])


async def test_more_rows_than_allowed_are_a_partial_answer(tmp_path: Path) -> None:
    async with things(tmp_path, max_rows=70_000) as made:
        whole = await made.run("range x from 1 to 70000 step 1")
        cut = await made.run("range x from 1 to 70001 step 1")
    assert whole.partial is None
    assert cut.partial is not None
    assert (cut.partial.code, cut.tables[0].row_count) == ("-2133196797", 70_000)
    assert "E_QUERY_RESULT_SET_TOO_LARGE" in cut.partial.message
    assert cut.tables[0].rows == whole.tables[0].rows


async def test_more_bytes_than_allowed_are_a_partial_answer(tmp_path: Path) -> None:
    async with things(tmp_path, max_bytes=200_000) as made:
        cut = await made.run("range x from 1 to 200000 step 1 | extend y = strcat('value ', x)")
    assert cut.partial is not None
    assert "200000" in cut.partial.message
    rows = json.loads(cut.tables[0].rows)
    assert 0 < len(rows) == cut.tables[0].row_count < 200_000


async def test_too_much_memory_is_a_partial_answer_and_the_engine_lives(tmp_path: Path) -> None:
    async with things(tmp_path, memory_limit="48MB", spill_bytes=0) as made:
        text = "range x from 1 to 9000000 step 1 | extend y = strcat('text ', x) | summarize make_list(y)"
        result = await made.run(text)
        assert result.partial is not None
        assert result.partial.code == "-2133196789"
        assert "E_RUNAWAY_QUERY" in result.partial.message
        assert await made.rows("print 1") == [[1]]


async def test_a_query_is_stopped_at_its_time_limit(tmp_path: Path) -> None:
    async with things(tmp_path, concurrency=1) as made:
        with pytest.raises(QueryTimeoutError):
            await made.run(ENDLESS, wait=1)
        assert await made.rows("print 1") == [[1]]


async def test_a_cancelled_caller_ends_the_query(tmp_path: Path) -> None:
    async with things(tmp_path, concurrency=1) as made:
        task = asyncio.create_task(made.run(ENDLESS))
        await until_running(made, 1)
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not made.engine._busy
        assert await made.rows("print 1") == [[1]]


async def test_queries_wait_for_a_place_and_too_many_are_refused(tmp_path: Path) -> None:
    async with things(tmp_path, concurrency=1, queue=1) as made:
        running = asyncio.create_task(made.run(ENDLESS))
        await until_running(made, 1)
        waiting = asyncio.create_task(made.run("print 1"))
        await until_running(made, 2)
        with pytest.raises(BusyError):
            await made.run("print 2")
        running.cancel()
        assert (await waiting).tables[0].rows == b"[[1]]"


async def test_waiting_counts_towards_the_time_limit(tmp_path: Path) -> None:
    async with things(tmp_path, concurrency=1, queue=1) as made:
        running = asyncio.create_task(made.run(ENDLESS))
        await until_running(made, 1)
        with pytest.raises(QueryTimeoutError):
            await made.run("print 1", wait=1)
        running.cancel()


async def test_without_a_queue_a_free_place_is_still_used(tmp_path: Path) -> None:
    async with things(tmp_path, queue=0) as made:
        assert await made.rows("print 1") == [[1]]


async def test_one_query_reads_one_snapshot_of_every_table(tmp_path: Path) -> None:
    text = "union (Things_CL | summarize n = count()), (Other_CL | summarize n = count())"
    async with things(tmp_path) as made:
        made.things.publish(0, rows=2)
        made.others.publish(0, rows=3)
        prepared = made.engine.prepare(made.view(), QueryRequest(text))
        made.things.publish(1, rows=5)
        made.others.publish(1, rows=7)
        made.things.store.commit(made.things.table)
        with made.engine.cursor() as cursor:
            before = cursor.execute(prepared.queries[0].sql).fetchall()
        assert sorted(before) == [(2,), (3,)]
        assert sorted(await made.rows(text)) == [[7], [10]]


async def test_the_timespan_of_a_request_is_exact(tmp_path: Path) -> None:
    async with things(tmp_path) as made:
        made.things.publish(0, rows=10)
        for low, high, expected in ((2, 5, 4), (0, 9, 10), (9, 20, 1), (10, 20, 0)):
            bounds = (DAY_ONE + low * SECOND, DAY_ONE + high * SECOND)
            assert await made.rows("Things_CL | count", time_range=bounds) == [[expected]]
        assert await made.rows("Things_CL | count", time_range=(DAY_ONE + 1, DAY_ONE + SECOND - 1)) == [[0]]


async def test_a_table_that_may_not_be_read_is_unknown(tmp_path: Path) -> None:
    async with things(tmp_path) as made:
        view = made.view("Other_CL")
        assert (await made.engine.run(view, QueryRequest("Other_CL | count"), WAIT)).partial is None
        with pytest.raises(KqlError):
            await made.engine.run(view, QueryRequest("Things_CL | count"), WAIT)
        with pytest.raises(KqlError):
            await made.engine.run(view, QueryRequest("table('Things_CL') | count"), WAIT)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM read_text('{outside}')",
        "SELECT * FROM read_parquet('{inside}/../../secret.parquet')",
        "SELECT * FROM glob('{folder}/*')",
        "COPY (SELECT 1) TO '{outside}'",
        "ATTACH '{outside}' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET memory_limit = '100GB'",
        "EXPORT DATABASE '{folder}'",
    ],
)
async def test_the_engine_reaches_nothing_outside_the_tables(tmp_path: Path, sql: str) -> None:
    outside = tmp_path / "secret.csv"
    outside.write_text("a\n1\n")
    async with things(tmp_path) as made:
        statement = sql.format(outside=outside, inside=made.things.folder, folder=tmp_path)
        with made.engine.cursor() as cursor, pytest.raises(duckdb.Error) as raised:
            cursor.execute(statement).fetchall()
        assert not isinstance(raised.value, duckdb.ParserException)


@pytest.mark.parametrize(
    "text",
    [
        "externaldata (a: string) ['/etc/passwd']",
        "print read_text('/etc/passwd')",
        "read_csv('/etc/passwd')",
        "['/etc/passwd'] | take 1",
        "print getenv('HOME')",
        "print kql_call('todatetime', 'x')",
        "duckdb_settings()",
        "evaluate query('select 1')",
    ],
)
async def test_the_language_has_no_way_to_files_or_to_the_engine(tmp_path: Path, text: str) -> None:
    async with things(tmp_path) as made:
        with pytest.raises(KqlError):
            await made.run(text)


async def test_messages_of_the_engine_stay_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with things(tmp_path) as made:
        file = made.things.publish(0, rows=500)
        path = made.things.folder / file.path
        content = bytearray(path.read_bytes())
        content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
        path.write_bytes(content)
        with pytest.raises(QueryFailedError) as raised:
            await made.run("Things_CL | summarize sum(Count) by Message")
    assert str(tmp_path) not in f"{raised.value} {caplog.text}"
    assert raised.value.__cause__ is None
    assert "a query failed in the engine" in caplog.text


async def test_a_data_folder_may_have_a_name_like_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "da*ta?[1]"
    folder.mkdir()
    decoy = tmp_path / "daXtaY1"
    decoy.mkdir()
    async with things(folder) as made:
        made.things.publish(0, rows=4)
        made.things.store.commit(made.things.table)
        made.things.publish(1, rows=2)
        assert await made.rows("Things_CL | count") == [[6]]
        (decoy / "tables").symlink_to(folder / "tables")
        assert await made.rows("Things_CL | count") == [[6]]


async def test_the_newest_rows_come_from_whichever_file_has_them(tmp_path: Path) -> None:
    async with things(tmp_path) as made:
        for offset, start in enumerate((50, 10, 90, 30)):
            made.things.publish(offset, rows=4, start=DAY_ONE + start * SECOND)
        made.things.store.commit(made.things.table)
        made.things.publish(4, rows=4, start=DAY_ONE + 92 * SECOND)
        times = "project s = tolong((TimeGenerated - datetime(2024-10-04)) / 1s)"
        newest = await made.rows(f"Things_CL | top 6 by TimeGenerated desc | {times}")
        oldest = await made.rows(f"Things_CL | top 6 by TimeGenerated asc | {times}")
        again = await made.rows(f"Things_CL | sort by TimeGenerated | take 6 | {times}")
    assert newest == again == [[95], [94], [93], [93], [92], [92]]
    assert oldest == [[10], [11], [12], [13], [30], [31]]
