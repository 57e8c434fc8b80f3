"""Of hundreds of tables a search looks only at those that may hold rows."""

from __future__ import annotations

import pytest

from headrace.kql.api import QueryOptions, compile_query
from headrace.kql.bind.queries import MANY_TABLES
from headrace.kql.model import Tables
from headrace.kql.types import KustoType, Schema, SchemaColumn

SCHEMA = Schema((SchemaColumn("Name", KustoType.STRING),))
MANY = Tables({f"T{number:03}": SCHEMA for number in range(200)})


def read(text: str, *filled: str) -> list[str]:
    compiled = compile_query(text, MANY, QueryOptions(filled=frozenset(filled)))
    return [scan.table for scan in compiled.statements[-1].scans]


@pytest.mark.parametrize(
    "text", ['search "x"', 'search in (T*) "x"', "union *", "union T*", 'find where Name == "x"']
)
def test_tables_without_rows_are_left_out(text: str) -> None:
    assert read(text, "T007", "T150") == ["T007", "T150"]


def test_a_pattern_that_few_fit_means_all_of_them() -> None:
    assert read("union T00*", "T007") == [f"T{number:03}" for number in range(10)]


def test_where_none_has_rows_some_stand_for_their_columns() -> None:
    assert len(read("union *")) == MANY_TABLES


def test_who_does_not_know_reads_all() -> None:
    compiled = compile_query("union *", MANY, QueryOptions())
    assert len(compiled.statements[-1].scans) == 200
