"""Hostile KQL: raw text and grammar-made text go through every stage; a `KqlError` is the worst that happens."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from headrace.kql.api import Scan, compile_query
from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.editor import Target, complete, diagnose, format_text, hover, lint, signature_help
from headrace.kql.editor.diagnostics import compile_for
from headrace.kql.editor.explain import plan_text, sql_text
from headrace.kql.editor.words import BINARY_WORDS, OPERATORS
from headrace.kql.model import KqlError, QueryOptions, Tables
from headrace.kql.syntax.lexer import MAX_TEXT, SourceText, tokenize
from headrace.kql.syntax.parser import parse
from headrace.kql.syntax.walk import shape
from headrace.kql.types import KustoType, Schema, SchemaColumn

SCHEMA = Schema(
    (
        SchemaColumn("TimeGenerated", KustoType.DATETIME),
        SchemaColumn("Message", KustoType.STRING),
        SchemaColumn("Level", KustoType.INT),
        SchemaColumn("Ratio", KustoType.REAL),
        SchemaColumn("Props", KustoType.DYNAMIC),
        SchemaColumn("Span", KustoType.TIMESPAN),
        SchemaColumn("a b", KustoType.LONG),
    )
)
DATABASE = Tables({"Logs": SCHEMA, "Other": Schema(SCHEMA.columns[:3])})
QUERY = Target.query(DATABASE, QueryOptions(now=17_000_000_000_000_000))
TRANSFORM = Target.transform(SCHEMA)
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def _scan(scan: Scan) -> exp.Query:
    items = [
        exp.Alias(this=exp.null(), alias=exp.Identifier(this=column.sql_name)) for column in scan.columns
    ]
    return exp.Select(expressions=items or [exp.Literal.number(1)]).from_("t")


def through_every_stage(text: str, offset: int) -> None:
    """Everything that is ever done with a text, without running it."""
    for target in (QUERY, TRANSFORM):
        try:
            for statement in compile_for(text, target).statements:
                statement.to_sql(_scan).sql("duckdb")
                plan_text(statement)
                sql_text(statement)
        except KqlError as error:
            assert all(problem.code.startswith("KQL0") and problem.message for problem in error.problems)
            for problem in error.problems:
                assert problem.span is None or 0 <= problem.span.start <= len(text) + 1
    for target in (QUERY, TRANSFORM):
        for item in complete(text, offset, target):
            assert 0 <= item.start <= item.end <= len(text)
        hover(text, offset, target)
        signature_help(text, offset, target)
        diagnose(text, target)
        lint(text, target)
    formatted_is_stable(text)


def formatted_is_stable(text: str) -> None:
    """Formatting settles at once and says the same."""
    try:
        formatted = format_text(text)
    except KqlError:
        return
    assert format_text(formatted) == formatted
    assert shape(parse(formatted)[0]) == shape(parse(text)[0])


# What people and machines type: fragments in any order.

_FUNCTIONS = [name for name in FUNCTIONS.names() if name.isidentifier()]
names = st.sampled_from(
    [
        "Logs",
        "Other",
        "TimeGenerated",
        "Message",
        "Level",
        "Ratio",
        "Props",
        "Span",
        "['a b']",
        "Message",
        "Level",
        "x",
    ]
)
literals = st.sampled_from(
    [
        "1",
        "-5",
        "0x1F",
        "1.5e3",
        "1d",
        "2.5h",
        '"text"',
        "'it''s'",
        '@"c:\\x"',
        "```many\nlines```",
        "true",
        "datetime(2024-02-29T12:00:00Z)",
        "timespan(1.02:03:04)",
        "long(null)",
        "guid(74be27de-1e4e-49d9-b579-fe0b331d3642)",
        'dynamic({"a": [1, 2, {"b": null}]})',
        "decimal(1.25)",
    ]
)
calls = st.sampled_from(_FUNCTIONS)
pieces = st.one_of(
    names,
    literals,
    calls.map(lambda name: f"{name}("),
    st.sampled_from(sorted(OPERATORS)),
    st.sampled_from(sorted(BINARY_WORDS)),
    st.sampled_from(
        [
            "|",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ";",
            "=",
            "..",
            ".",
            "*",
            "by",
            "on",
            "kind=inner",
            "let",
            "//",
        ]
    ),
    st.sampled_from(
        ["\n", "with", "asc", "desc", "nulls last", "to typeof(long)", "step", "from", "in (", "!"]
    ),
)
soup = st.lists(pieces, max_size=25).map(" ".join)

# Text that parses: expressions and pipelines by the grammar, right or wrong in its types.


def _binary(operand: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    plain = [
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "=~",
        "has",
        "contains",
        "startswith",
        "and",
        "or",
    ]
    parts = st.tuples(operand, st.sampled_from(plain), operand)
    return parts.map(lambda parts: f"({' '.join(parts)})")


def _deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    call = st.tuples(calls, st.lists(inner, max_size=3)).map(lambda p: f"{p[0]}({', '.join(p[1])})")
    return st.one_of(
        call,
        _binary(inner),
        st.tuples(inner, inner, inner).map(lambda p: f"{p[0]} between ({p[1]} .. {p[2]})"),
        st.tuples(inner, st.lists(inner, min_size=1, max_size=3)).map(
            lambda p: f"{p[0]} in ({', '.join(p[1])})"
        ),
        inner.map(lambda text: f"-{text}"),
        inner.map(lambda text: f"Props[{text}]"),
        inner.map(lambda text: f"Props.a.b[0] // {text!r}\n"),
        inner.map(lambda text: f"toscalar(Logs | where {text} | summarize count())"),
    )


expressions = st.recursive(st.one_of(names, literals), _deeper, max_leaves=6)
columns = st.lists(
    st.tuples(st.sampled_from(["", "x = ", "Level = "]), expressions).map("".join), min_size=1, max_size=3
)
listed = columns.map(", ".join)
aggregates = st.sampled_from(
    [
        "count()",
        "n = sum(Level)",
        "arg_max(TimeGenerated, *)",
        "make_list(Message, 5)",
        "percentiles(Ratio, 5, 95)",
        "dcount(Message) + 1",
        "take_any(Props)",
    ]
)


def _operators(pipelines: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        expressions.map("where {}".format),
        expressions.map("where isnotnull({})".format),
        listed.map("extend {}".format),
        listed.map("project {}".format),
        listed.map("distinct {}".format),
        listed.map("sort by {} asc nulls last".format),
        st.tuples(aggregates, listed).map(lambda p: f"summarize {p[0]} by {p[1]}"),
        st.tuples(st.sampled_from(["inner", "leftouter", "leftanti", "fullouter"]), pipelines).map(
            lambda p: f"join kind={p[0]} ({p[1]}) on Message"
        ),
        pipelines.map(lambda text: f"union withsource=T ({text})"),
        expressions.map("mv-expand x = {} to typeof(string)".format),
        expressions.map("mv-apply x = Props on (where x == {})".format),
        expressions.map("top 3 by {}".format),
        st.sampled_from(
            [
                "take 5",
                "count",
                "getschema",
                "serialize r = row_number()",
                'parse Message with * "a=" A: long " b=" B',
                "parse kind=regex Message with 'a(' * ')' B",
                "parse-kv Message as (k: string, v: long) with (pair_delimiter=',')",
                "project-away Me*, Level",
                "project-reorder Ratio desc, *",
                "project-rename New = Level",
                "make-series n = count() default=0 on TimeGenerated from ago(1d) to now() step 1h",
                "top-nested 2 of Message by count(), top-nested 1 of Level by max(Ratio)",
                "render timechart with (title='x', kind=stacked)",
                "evaluate bag_unpack(Props)",
                "as Named",
                "sample-distinct 3 of Level",
            ]
        ),
    )


pipelines = st.recursive(
    st.sampled_from(
        ["Logs", "source", "print x = 1", "range x from 1 to 9 step 2", "datatable(x: long)[1, 2]"]
    ),
    lambda inner: st.tuples(inner, st.lists(_operators(inner), max_size=4)).map(
        lambda p: "\n  |  ".join([p[0], *p[1]])
    ),
    max_leaves=3,
)
scripts = st.tuples(
    st.lists(
        st.one_of(
            expressions.map("let x = {};".format),
            pipelines.map("let T = {};".format),
            expressions.map("let f = (Level: long, s: string = 'd') {{ {} }};".format),
        ),
        max_size=2,
    ),
    pipelines,
).map(lambda p: "\n".join([*p[0], p[1]]))


@FUZZ
@given(st.text(max_size=200), st.integers(0, 200))
def test_raw_text(text: str, offset: int) -> None:
    through_every_stage(text, offset)


@FUZZ
@given(st.text(alphabet="|()[]{}.,;=!~<>*-+/\\\"'`@ \nab1d_$:", max_size=120), st.integers(0, 120))
def test_punctuation(text: str, offset: int) -> None:
    through_every_stage(text, offset)


@FUZZ
@given(soup, st.integers(0, 300))
def test_fragments_in_any_order(text: str, offset: int) -> None:
    through_every_stage(text, offset)


@FUZZ
@given(scripts, st.integers(0, 400))
def test_grammar(text: str, offset: int) -> None:
    through_every_stage(text, offset)


@FUZZ
@given(scripts, st.data())
def test_texts_cut_at_any_place(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    through_every_stage(text[:cut], cut)


@FUZZ
@given(
    scripts,
    st.lists(
        st.sampled_from([" ", "\n", "  ", " // c\n", "\n// own\n", "\n\n", "\t"]), min_size=1, max_size=40
    ),
)
def test_comments_and_white_space_anywhere(text: str, gaps: list[str]) -> None:
    parts = text.split(" ")
    spaced = parts[0] + "".join(gaps[i % len(gaps)] + part for i, part in enumerate(parts[1:]))
    formatted_is_stable(spaced)
    try:
        assert format_text(spaced).count("//") == spaced.count("//")
    except KqlError:
        return


@pytest.mark.parametrize(
    "opening", ["(", "[", "{", "f(", "-", "not(", "dynamic([", "x in ((", "a.b[", "Logs | join ("]
)
@pytest.mark.parametrize("prefix", ["", "print ", "Logs | where ", "let f = () { "])
def test_deep_nesting_is_refused_with_a_diagnostic(prefix: str, opening: str) -> None:
    text = prefix + opening * 1000
    through_every_stage(text, len(text))
    with pytest.raises(KqlError):
        compile_query(text, DATABASE, QUERY.options)


def test_parentheses_deeper_than_the_bound_are_refused_by_name() -> None:
    text = "print " + "(" * 200 + "1" + ")" * 200
    with pytest.raises(KqlError) as caught:
        compile_query(text, DATABASE, QUERY.options)
    assert caught.value.problems[0].code == "KQL0004"
    fine = "print " + "(" * 10 + "1" + ")" * 10
    assert compile_query(fine, DATABASE, QUERY.options).statements


@pytest.mark.parametrize(
    "text",
    [
        "Logs" + " | where Level > 1" * 5000,
        "print " + " + ".join(["1"] * 5000),
        "Logs | where " + " and ".join(["Level > 1"] * 4000),
        "Logs | project " + ", ".join(f"c{i} = Level" for i in range(4000)),
        ";".join(["print 1"] * 2000),
        "".join(f"let f{i} = () {{ f{i - 1}() + f{i - 1}() }};" for i in range(1, 60)) + "print f59()",
        "let f0 = () { 1 };"
        + "".join(f"let f{i} = () {{ f{i - 1}() + f{i - 1}() }};" for i in range(1, 30))
        + "print f29()",
        "print " + "x." * 5000 + "y",
        "print " + "- " * 5000 + "1",
    ],
    ids=["operators", "sum", "and", "columns", "statements", "unknown", "doubling", "members", "signs"],
)
def test_long_texts_end_in_a_result_or_a_diagnostic(text: str) -> None:
    try:
        for statement in compile_query(text, DATABASE, QUERY.options).statements:
            statement.to_sql(_scan)
    except KqlError as error:
        assert error.problems
    formatted_is_stable(text)


def test_a_text_over_the_bound_is_refused() -> None:
    text = "print 1 //" + "x" * MAX_TEXT
    with pytest.raises(KqlError) as caught:
        compile_query(text, DATABASE, QUERY.options)
    assert caught.value.problems[0].code == "KQL0003"
    with pytest.raises(KqlError):
        format_text(text)
    assert complete(text, 5, QUERY) == ()


@pytest.mark.parametrize(
    "unit", ["a ", "(", "'", '"', "|", "1", "/", "datetime(", "```", "-a", "!", "@'", "a.b ", "\\"]
)
def test_tokens_grow_no_faster_than_the_text(unit: str) -> None:
    counts = []
    for size in (500, 1000, 2000):
        tokens, problems = tokenize(SourceText(unit * size))
        counts.append(len(tokens) + len(problems))
    assert counts[2] <= 2 * counts[1] + 25
    assert counts[1] <= 2 * counts[0] + 25


@pytest.mark.parametrize("size", [25, 50])
def test_a_chain_of_uses_is_charged_before_it_explodes(size: int) -> None:
    """Each name uses the one before twice: written out, the text would be 2 ** size long."""
    lets = "let t0 = Logs;" + "".join(f"let t{i} = union t{i - 1}, t{i - 1};" for i in range(1, size))
    with pytest.raises(KqlError) as caught:
        compile_query(f"{lets} t{size - 1}", DATABASE, QUERY.options)
    assert {problem.code for problem in caught.value.problems} == {"KQL0004"}


CRASHES = (AttributeError, TypeError)


@pytest.mark.parametrize(
    "text",
    [
        "materialize(Logs) | take 1",
        "Logs | where Level in (materialize(Logs | project Level))",
        "print -dynamic(1)",
        "print 1 - dynamic('x')",
        "print +dynamic('x')",
        "print 5 % dynamic(0)",
        "let m = materialize(Logs); union m, m",
    ],
)
def test_texts_that_once_crashed(text: str) -> None:
    through_every_stage(text, len(text))
