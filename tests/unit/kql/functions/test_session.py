"""Preparing connections: locked engines, cursors, threads."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import duckdb

from headrace.kql.sql.session import prepare

CALL = "select max(kql_call('parse_ipv6', '1.2.3.' || (i % 255)) || '') from range(20000) t(i)"


def test_a_locked_engine_runs_what_was_prepared() -> None:
    with duckdb.connect() as connection:
        prepare(connection)
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        found = connection.execute("select kql_ticks('2020-01-01'), kql_ticks('1 Jan 2020')").fetchone()
        assert found is not None
        assert found[0] == found[1]


def test_preparing_twice_and_on_cursors_is_fine() -> None:
    with duckdb.connect() as connection:
        prepare(connection)
        prepare(connection)
        with connection.cursor() as cursor:
            prepare(cursor)
            assert cursor.execute("select kql_long('1')").fetchone() == (1,)


def test_threads_may_prepare_one_engine_at_once() -> None:
    with duckdb.connect() as connection:

        def work(_: int) -> object:
            with connection.cursor() as cursor:
                prepare(cursor)
                return cursor.execute("select kql_span('1h')").fetchone()

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(work, range(12))) == {(36_000_000_000,)}


def test_cursors_of_several_threads_call_python_at_once() -> None:
    with duckdb.connect() as connection:
        prepare(connection)

        def work(_: int) -> object:
            with connection.cursor() as cursor:
                return cursor.execute(CALL).fetchone()

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(work, range(8)))) == 1


def test_long_texts_of_python_survive_a_coalesce() -> None:
    """The engine frees such texts too early unless they are copied: what `build.python` does."""
    with duckdb.connect() as connection:
        prepare(connection)
        text = "coalesce((kql_call('parse_ipv6', x) || ''), '')"
        rows = connection.execute(f"select {text} from (select '1.2.3.4' x from range(5000))").fetchall()
        assert set(rows) == {("0000:0000:0000:0000:0000:ffff:0102:0304",)}


def test_the_python_function_outlives_the_cursor_that_registered_it() -> None:
    with duckdb.connect() as connection:
        with connection.cursor() as cursor:
            prepare(cursor)
        gc.collect()
        assert connection.execute("select kql_call('parse_ipv4', '1.2.3.4') || ''").fetchone() == (
            "16909060",
        )
