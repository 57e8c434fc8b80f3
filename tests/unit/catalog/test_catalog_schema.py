"""Schemas, their changes, names and the standard tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.catalog import names, schema, standard
from headrace.catalog.data.make import TARGET, compact
from headrace.catalog.model import TableSchema
from headrace.catalog.schema import ColumnSpec
from headrace.catalog.system import STORED
from headrace.errors import ProblemError
from headrace.kql.types import KustoType

SHARED = Path(__file__).parents[4] / "shared" / "data" / "standard_tables.json"
TIME = ColumnSpec("TimeGenerated", KustoType.DATETIME)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("ab", True),
        ("a", False),
        ("a" * 45, True),
        ("a" * 46, False),
        ("a" * 45 + "_s", True),
        ("a" * 46 + "_s", False),
        ("a_1", True),
        ("1a", False),
        ("_a", False),
        ("a-b", False),
        ("a b", False),
        ("\u00e4b", False),
        ("Type", False),
        ("type", True),
        ("id", False),
        ("TenantId", False),
        ("Title", False),
        ("_ResourceId", False),
    ],
)
def test_column_names(name: str, good: bool) -> None:
    assert (names.column_fault(name) is None) is good


def test_no_column_takes_a_stored_columns_place_in_files() -> None:
    taken: set[str] = set()
    for column in (*STORED,):
        assert names.assign_physical(column.physical, taken).lower() != column.physical.lower()
    assert names.assign_physical("_day", taken) == "_day__2"


def test_five_hundred_columns_are_the_most() -> None:
    specs = [TIME, *(ColumnSpec(f"c{number}", KustoType.INT) for number in range(499))]
    made = schema.first_schema("T_CL", specs)
    assert len(made.columns) == 500
    with pytest.raises(ProblemError):
        schema.first_schema("T_CL", [*specs, ColumnSpec("more", KustoType.INT)])


def test_nothing_changes_nothing() -> None:
    first = schema.first_schema("T_CL", [TIME, ColumnSpec("ab", KustoType.INT)])
    assert schema.replace_columns("T_CL", [first], [TIME, ColumnSpec("ab", KustoType.INT)]) is first
    assert schema.add_columns("T_CL", [first], [ColumnSpec("ab", KustoType.INT)]).columns[1].id == 2


COLUMN_NAMES = st.sampled_from(["ab", "AB", "Ab", "ab__2", "cd"])


class SchemaLife(RuleBasedStateMachine):
    """Columns come and go: no id and no place in files ever serves two columns."""

    def __init__(self) -> None:
        super().__init__()
        self.history = [schema.first_schema("T_CL", [TIME])]
        self.types: dict[str, KustoType] = {}

    @rule(
        wanted=st.lists(
            st.tuples(COLUMN_NAMES, st.sampled_from([KustoType.INT, KustoType.STRING])), max_size=5
        )
    )
    def put(self, wanted: list[tuple[str, KustoType]]) -> None:
        self._change(wanted, replace=True)

    @rule(wanted=st.lists(st.tuples(COLUMN_NAMES, st.just(KustoType.INT)), max_size=2))
    def patch(self, wanted: list[tuple[str, KustoType]]) -> None:
        self._change(wanted, replace=False)

    def _change(self, wanted: list[tuple[str, KustoType]], *, replace: bool) -> None:
        unique = dict(wanted)
        retyped = any(self.types.get(name, kind) is not kind for name, kind in unique.items())
        specs = [TIME, *(ColumnSpec(name, kind) for name, kind in unique.items())]
        try:
            change = schema.replace_columns if replace else schema.add_columns
            made = change("T_CL", self.history, specs)
        except ProblemError:
            assert retyped
            return
        assert not retyped
        self.types.update(unique)
        before = {column.name for column in self.history[-1].columns}
        expected = {spec.name for spec in specs} | (set() if replace else before)
        assert {column.name for column in made.columns} == expected
        if made is not self.history[-1]:
            assert made.version == self.history[-1].version + 1
            self.history.append(made)

    @invariant()
    def physical_names_and_ids_belong_to_one_column(self) -> None:
        seen: dict[int, tuple[str, str, KustoType]] = {}
        for version in self.history:
            lowered = [column.physical.lower() for column in version.columns]
            assert len(set(lowered)) == len(lowered)
            for column in version.columns:
                known = seen.setdefault(column.id, (column.name, column.physical, column.type))
                assert known == (column.name, column.physical, column.type)
        physicals = [physical.lower() for _, physical, _ in seen.values()]
        assert len(set(physicals)) == len(physicals)


TestSchemaLife = SchemaLife.TestCase


@given(
    st.recursive(st.none() | st.text() | st.integers(), lambda i: st.lists(i) | st.dictionaries(st.text(), i))
)
def test_any_columns_are_read_or_refused(value: object) -> None:
    try:
        specs = schema.parse_columns(value, "T_CL")
    except ProblemError as error:
        assert error.problems
    else:
        assert all(names.column_fault(spec.name) is None for spec in specs)


def test_there_are_936_standard_tables_each_with_a_time() -> None:
    assert len(standard.names()) == 936
    ticked = [name for name in standard.names() if (table := standard.find(name)) and table.ingestion]
    assert len(ticked) == 104
    for name in standard.names():
        table = standard.find(name)
        assert table is not None
        made = table.schema()
        lowered = [column.physical.lower() for column in made.columns]
        assert len(set(lowered)) == len(lowered), name
        assert any(c.name == "TimeGenerated" and c.type is KustoType.DATETIME for c in made.columns), name
        assert not {column.name for column in made.columns} & names.SYSTEM_COLUMNS


def test_columns_that_differ_by_case_both_stay() -> None:
    table = standard.find("AppServiceAppLogs")
    assert table is not None
    listed = [column.name for column in table.columns]
    assert len({name.lower() for name in listed}) < len(listed)


def test_unknown_names_are_no_standard_tables() -> None:
    assert standard.find("syslog") is None
    assert standard.find("My_CL") is None
    assert standard.find_stream("Custom-Syslog") is None
    assert standard.find_stream("Microsoft-Syslog") is standard.find("Syslog")


def test_a_workspace_has_its_own_tables_and_every_standard_one() -> None:
    own = standard.untouched("w", "Syslog")
    assert own is not None
    custom = type(own)("w", "My_CL", "i", (TableSchema(1, ()),))
    tables = standard.WorkspaceTables("w", {"My_CL": custom})
    assert len(tables) == 937 == len(list(tables))
    assert tables["Syslog"] == own
    assert tables["Syslog"] is tables["Syslog"]
    assert "Heartbeat" in tables
    assert "Nope" not in tables
    assert tables.get("Nope") is None
    assert standard.incarnation("w", "Syslog") != standard.incarnation("v", "Syslog")


@pytest.mark.skipif(not SHARED.is_file(), reason="needs the shared list of standard tables")
def test_the_package_data_is_what_the_list_gives() -> None:
    tables = json.loads(SHARED.read_text(encoding="utf-8"))["tables"]
    assert TARGET.read_text(encoding="utf-8") == compact(tables)
