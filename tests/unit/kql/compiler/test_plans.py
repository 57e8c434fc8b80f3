"""What the plan knows of scans: columns that are read, ranges of time that are proved; names in SQL."""

from __future__ import annotations

import pytest
from sqlglot import exp

from headrace.kql.api import (
    KqlError,
    Output,
    QueryOptions,
    Scan,
    Statement,
    compile_query,
    compile_transform,
    sql_text,
)
from headrace.kql.model import Tables
from headrace.kql.types import KustoType, Schema, SchemaColumn

EVENTS = Schema(
    (
        SchemaColumn("TimeGenerated", KustoType.DATETIME),
        SchemaColumn("Host", KustoType.STRING),
        SchemaColumn("Code", KustoType.LONG),
        SchemaColumn("Props", KustoType.DYNAMIC),
        SchemaColumn("_Hidden", KustoType.STRING, hidden=True),
    )
)
DATABASE = Tables({"Events": EVENTS, "Other": EVENTS})
NOW = 17_000_000_000_000_000
HOUR = 3_600_000_000
"""In microseconds, as time ranges are."""


def _statement(text: str) -> Statement:
    return compile_query(text, DATABASE, QueryOptions(now=NOW)).statements[0]


def _scan(text: str) -> Scan:
    (scan,) = _statement(text).scans
    return scan


def _select(scan: Scan) -> exp.Query:
    items = [exp.alias_(exp.column(column.name, quoted=True), column.sql_name) for column in scan.columns]
    return exp.Select(expressions=items or [exp.Literal.number(1)]).from_(exp.to_table(scan.table))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Events | project Host", ["Host"]),
        ("Events | where Code > 1 | count", ["Code"]),
        ("Events | extend x = Code + 1, y = Host | project y", ["Host"]),
        ("Events | summarize sum(Code) by Host | project Host", ["Host"]),
        ("Events | sort by Code asc | project Host", ["Host", "Code"]),
        ("Events | take 1", ["TimeGenerated", "Host", "Code", "Props"]),
        ("Events | project _Hidden", ["_Hidden"]),
        ("Events | count", []),
        ("Events | mv-expand x = Props | project tostring(x)", ["Props"]),
        ("Events | parse Host with a '.' * | project Code", ["Host", "Code"]),
    ],
)
def test_scans_have_only_the_columns_that_are_read(text: str, names: list[str]) -> None:
    assert sorted(column.name for column in _scan(text).columns) == sorted(names)


@pytest.mark.parametrize(
    ("filters", "low", "high"),
    [
        ("where TimeGenerated > ago(1h)", NOW // 10 - HOUR, None),
        (
            "where TimeGenerated >= datetime(2024-01-01) | where TimeGenerated < datetime(2024-01-02)",
            1704067200000000,
            1704153599999999,
        ),
        ("where TimeGenerated between (datetime(2024-01-01) .. 1h)", 1704067200000000, 1704070800000000),
        ("where datetime(2024-01-01) == TimeGenerated and Code > 1", 1704067200000000, 1704067200000000),
        ("where TimeGenerated > ago(1h) or Code > 1", None, None),
        ("where not(TimeGenerated > ago(1h))", None, None),
        ("extend t = TimeGenerated | where t > now() - 2h", NOW // 10 - 2 * HOUR, None),
        ("extend TimeGenerated = TimeGenerated + 1h | where TimeGenerated > ago(1h)", None, None),
        ("take 10 | where TimeGenerated > ago(1h)", None, None),
        ("summarize count() by TimeGenerated | where TimeGenerated > ago(1h)", NOW // 10 - HOUR, None),
        ("summarize count() by bin(TimeGenerated, 1h) | where TimeGenerated > ago(1h)", None, None),
        (
            "make-series count() on TimeGenerated from datetime(2024-01-01) to datetime(2024-01-02) step 1h",
            1704067200000000,
            1704153599999999,
        ),
        ("make-series count() on TimeGenerated from ago(1h) step 1m by Host", NOW // 10 - HOUR, None),
        ("extend t = TimeGenerated + 1h | make-series count() on t from ago(1h) step 1m", None, None),
        (
            "where TimeGenerated > startofday(now()) | mv-expand Props",
            NOW // 864_000_000_000 * 86_400_000_000,
            None,
        ),
    ],
)
def test_time_ranges_are_what_the_filters_prove(filters: str, low: int | None, high: int | None) -> None:
    found = _scan(f"Events | {filters}").time_range
    # A strict bound may be one tick further in, which is the same microsecond or the next.
    for got, wanted in zip(found, (low, high), strict=True):
        assert (got is None) == (wanted is None)
        assert got is None or wanted is None or abs(got - wanted) <= 1


def test_a_range_reaches_both_sides_of_a_join_and_of_a_union() -> None:
    text = "Events | join kind=inner (Other) on Host | where TimeGenerated > ago(1h)"
    ranges = {scan.table: scan.time_range for scan in _statement(text).scans}
    assert ranges["Events"][0] is not None
    assert ranges["Other"] == (None, None)
    union = _statement("union Events, Other | where TimeGenerated > ago(1h)")
    assert all(scan.time_range[0] is not None for scan in union.scans)


def test_an_outer_join_keeps_the_missed_side_whole() -> None:
    text = (
        "Events | join kind=leftouter (Other | project Host, t = TimeGenerated) on Host | where t > ago(1h)"
    )
    assert all(scan.time_range == (None, None) for scan in _statement(text).scans)


def test_user_names_and_texts_reach_sql_only_as_scan_columns_and_literals() -> None:
    text = """Events | extend ['a"; drop table x; --'] = "'; drop table y; --" | where Host == @'\\' """
    statement = _statement(text)
    sql = statement.to_sql(_select)
    names = {identifier.name for identifier in sql.find_all(exp.Identifier)}
    assert not [name for name in names if "drop" in name]
    assert [column.name for column in statement.columns][-1] == 'a"; drop table x; --'
    assert "'''; drop table y; --'" in sql_text(statement.to_sql(_select))


def test_the_selected_columns_have_their_sql_names_in_order() -> None:
    statement = _statement("Events | project Code, h = tolower(Host) | sort by Code asc")
    sql = statement.to_sql(_select)
    assert [item.alias_or_name for item in sql.selects] == [column.sql_name for column in statement.columns]


def test_storage_takes_no_timespan() -> None:
    statement = compile_transform("source | extend d = 1h", EVENTS).statements[0]
    with pytest.raises(KqlError) as raised:
        statement.to_sql(_select, Output.STORAGE)
    assert [problem.code for problem in raised.value.problems] == ["KQL0204"]


def test_a_transform_asks_for_the_received_time_only_when_it_uses_it() -> None:
    plain = compile_transform("source | where Code > 1", EVENTS).statements[0]
    clocked = compile_transform("source | extend t = now()", EVENTS).statements[0]
    assert "_TimeReceived" not in [column.name for column in plain.scans[0].columns]
    assert "_TimeReceived" in [column.name for column in clocked.scans[0].columns]


def test_documented_functions_only() -> None:
    compile_transform("source | extend x = tolower(Host)", EVENTS, functions="documented")
    with pytest.raises(KqlError):
        compile_transform("source | extend x = parse_url(Host)", EVENTS, functions="documented")
    assert compile_transform("source | extend x = parse_url(Host)", EVENTS).warnings


@pytest.mark.parametrize(
    "text",
    [
        "".join(
            f"let f{i} = (x: long) {{ " + (f"f{i - 1}(x) + f{i - 1}(x)" if i else "x") + " };"
            for i in range(40)
        )
        + "print f39(1)",
        "let t0 = Events;" + "".join(f"let t{i} = union t{i - 1}, t{i - 1};" for i in range(1, 40)) + "t39",
        "let f = (x: long) { f(x) }; print f(1)",
        "".join(
            f"let t{i} = {f't{i - 1}' if i else 'Events'} " + "| extend z = 1 " * 100 + ";" for i in range(20)
        )
        + "t19",
    ],
    ids=["functions", "tables", "itself", "long"],
)
def test_texts_that_grow_past_all_bounds_are_refused(text: str) -> None:
    with pytest.raises(KqlError):
        compile_query(text, DATABASE)


def test_long_texts_within_bounds_become_sql() -> None:
    texts = [
        "Events " + "| extend Code = Code * 2 + 1 " * 140,
        "Events | where " + " or ".join(f"Code == {i}" for i in range(2000)),
        "Events | parse Host with " + " ".join(f"'d{i}' c{i}" for i in range(60)),
        "union " + ", ".join(["Events"] * 300),
    ]
    for text in texts:
        assert sql_text(_statement(text).to_sql(_select))


def test_saved_functions_and_other_workspaces() -> None:
    options = QueryOptions(functions={"Recent": "Events | where Code > 1"})
    statement = compile_query('Recent | union workspace("w").Events', DATABASE, options).statements[0]
    assert {(scan.workspace, scan.table) for scan in statement.scans} == {(None, "Events"), ("w", "Events")}


def test_a_saved_function_takes_arguments_and_says_what_is_wrong_inside() -> None:
    options = QueryOptions(
        functions={
            "Above": "(least: long = 3) { Events | where Code > least }",
            "Broken": "Events | where Nowhere > 1",
            "Endless": "Endless",
        }
    )
    assert compile_query("Above(5) | union Above | count", DATABASE, options).statements
    for text, code in (("Broken", "KQL0140"), ("Above('x', 1)", "KQL0136"), ("Endless", "KQL0004")):
        with pytest.raises(KqlError) as raised:
            compile_query(text, DATABASE, options)
        assert code in [problem.code for problem in raised.value.problems]


def test_render_goes_with_the_statement() -> None:
    statement = _statement(
        "Events | summarize count() by Host | render barchart with (title='x', series=Host)"
    )
    assert statement.render is not None
    assert (statement.render.visualization, statement.render.properties) == (
        "barchart",
        {"title": "x", "series": "Host"},
    )


OUTSIDE = 'externaldata (Code: long, Word: string) [@"https://example.org/x.csv"] with (format="csv") | where Code > 1'


def test_outside_data_is_refused_and_its_columns_are_known() -> None:
    with pytest.raises(KqlError) as caught:
        compile_query(f"{OUTSIDE} | project Word", DATABASE)
    assert [problem.code for problem in caught.value.problems] == ["KQL0203"]


def test_outside_data_may_be_declared_alone() -> None:
    options = QueryOptions(outside="declare")
    compiled = compile_query(
        f"let feed = {OUTSIDE}; Events | join (feed) on Code | project Word", DATABASE, options
    )
    assert [column.name for column in compiled.statements[0].columns] == ["Word"]
    assert [warning.code for warning in compiled.warnings if warning.code == "KQL0311"] == ["KQL0311"]
    with pytest.raises(KqlError, match="Wrod"):
        compile_query(f"{OUTSIDE} | project Wrod", DATABASE, options)


@pytest.mark.parametrize(
    "reader",
    [
        "take toscalar(M | summarize min(Code))",
        "summarize sum(Code * toscalar(M | count))",
        "summarize by Code % toscalar(M | count)",
        "join kind=inner (print k = 1) on $left.Code == $right.k and $left.Code == toscalar(M | count)",
        "union (range Code from toscalar(M | summarize min(Code)) to 3 step 1)",
        "make-series count() on Code from 1 to 9 step toscalar(M | summarize min(Code))",
        "mv-expand Props limit toscalar(M | count)",
        "scan declare (n: long) with (step s: true => n = toscalar(M | count);)",
    ],
)
def test_a_sub_query_anywhere_reads_all_of_what_it_shares(reader: str) -> None:
    """What another reader leaves of the time of shared rows does not narrow a sub-query's."""
    (scan,) = _statement(
        f"let M = materialize(Events); M | where TimeGenerated > ago(1h) | serialize | {reader}"
    ).scans
    assert scan.time_range == (None, None)
