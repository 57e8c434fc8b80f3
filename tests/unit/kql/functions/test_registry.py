from __future__ import annotations

import re
from dataclasses import replace

import pytest

from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.functions.declare import params
from headrace.kql.bind.functions.gaps import GAPS
from headrace.kql.bind.functions.registry import (
    OPERATORS,
    Argument,
    Constant,
    Kind,
    Mismatch,
    Naming,
    Registry,
    Surface,
)
from headrace.kql.sql.functions.calls import lowered_names
from headrace.kql.types import KustoType

T = KustoType

# The functions that Azure documents for transforms, beside the operators.
DOCUMENTED = """
binary_and binary_or binary_not binary_shift_left binary_shift_right binary_xor tobool todatetime
todouble toreal toguid toint tolong tostring totimespan ago datetime_add datetime_diff datetime_part
dayofmonth dayofweek dayofyear endofday endofmonth endofweek endofyear getmonth getyear hourofday
make_datetime make_timespan now startofday startofmonth startofweek startofyear weekofyear
array_concat array_length pack_array pack parse_json parse_xml zip abs bin floor ceiling exp exp10
exp2 isfinite isinf isnan log log10 log2 pow round sign case iif max_of min_of base64_encodestring
base64_decodestring countof extract extract_all indexof isempty isnotempty split strcat strcat_delim
strlen substring tolower toupper hash_sha256 gettype isnotnull isnull parse_cef_dictionary
geo_location
""".split()  # noqa: SIM905


def test_every_function_is_lowered_and_every_lowering_declared() -> None:
    declared = {function.name for function in FUNCTIONS if not function.rewritten}
    assert declared - lowered_names() == set()
    assert lowered_names() - declared == set()


def test_every_operator_is_declared() -> None:
    assert [name for name in OPERATORS.values() if FUNCTIONS.find(name) is None] == []


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_documented_list_is_marked_so(name: str) -> None:
    function = FUNCTIONS.find(name)
    assert function is not None
    assert function.transform is Surface.DOCUMENTED


def test_nothing_else_is_marked_documented() -> None:
    documented = {
        name
        for function in FUNCTIONS
        if function.transform is Surface.DOCUMENTED
        for name in (function.name, *function.aliases)
        if not name.startswith("__")
    }
    # Aliases and `not`, `iff`, `reverse` forms that the reference's samples use count as well.
    extra = documented - set(DOCUMENTED)
    assert extra <= {
        "not",
        "iff",
        "notnull",
        "notempty",
        "toboolean",
        "totime",
        "arraylength",
        "extractall",
        "week_of_year",
        "datepart",
    }


def test_what_sees_several_rows_is_never_for_transforms() -> None:
    for function in FUNCTIONS:
        if function.kind is not Kind.SCALAR:
            assert function.transform is Surface.NEVER, function.name


def test_each_declaration_reads_well() -> None:
    for function in FUNCTIONS:
        assert re.fullmatch(r"[-A-Z0-9\"].*[.]", function.doc), function.name
        assert function.family, function.name
        for signature in function.signatures:
            names = [param.name for param in signature.params]
            assert len(names) == len(set(names)), function.name
            for param in signature.params[:-1]:
                assert not param.variadic, function.name


def test_names_are_unique_and_case_sensitive() -> None:
    assert FUNCTIONS.find("tolower") is not None
    assert FUNCTIONS.find("ToLower") is None
    function = FUNCTIONS.find("tolower")
    assert function is not None
    with pytest.raises(ValueError, match="twice"):
        Registry([function, function])


def _resolve(name: str, *types: KustoType) -> tuple[KustoType, ...]:
    function = FUNCTIONS.find(OPERATORS.get(name, name))
    assert function is not None
    return function.resolve([Argument(kind, Constant(1)) for kind in types]).results


def test_a_function_with_a_resolver_has_no_check_beside_it() -> None:
    made = next(function for function in FUNCTIONS if function.resolver is not None)
    with pytest.raises(ValueError, match=made.name):
        replace(made, check=lambda _arguments: None)


@pytest.mark.parametrize(
    ("name", "types", "result"),
    [
        ("+", (T.INT, T.INT), T.LONG),
        ("+", (T.LONG, T.REAL), T.REAL),
        ("/", (T.LONG, T.LONG), T.LONG),
        ("+", (T.DATETIME, T.TIMESPAN), T.DATETIME),
        ("-", (T.DATETIME, T.DATETIME), T.TIMESPAN),
        ("/", (T.TIMESPAN, T.TIMESPAN), T.REAL),
        ("*", (T.TIMESPAN, T.LONG), T.TIMESPAN),
        ("+", (T.DYNAMIC, T.INT), T.LONG),
        ("+", (T.DYNAMIC, T.REAL), T.REAL),
        ("bin", (T.DATETIME, T.TIMESPAN), T.DATETIME),
        ("bin", (T.INT, T.LONG), T.LONG),
        ("toint", (T.STRING,), T.INT),
        ("iff", (T.BOOL, T.LONG, T.REAL), T.REAL),
        ("coalesce", (T.INT, T.LONG), T.LONG),
        ("dayofweek", (T.DATETIME,), T.TIMESPAN),
        ("sum", (T.INT,), T.LONG),
        ("avg", (T.LONG,), T.REAL),
        ("avg", (T.DATETIME,), T.DATETIME),
        ("max", (T.STRING,), T.STRING),
        ("parse_json", (T.STRING,), T.DYNAMIC),
        ("strlen", (T.DYNAMIC,), T.LONG),
        ("abs", (T.INT,), T.LONG),
        ("round", (T.REAL, T.LONG), T.REAL),
    ],
)
def test_result_types(name: str, types: tuple[KustoType, ...], result: KustoType) -> None:
    assert _resolve(name, *types) == (result,)


@pytest.mark.parametrize(
    ("name", "types", "message"),
    [
        ("+", (T.STRING, T.LONG), "cannot be applied"),
        ("<", (T.STRING, T.LONG), "cannot compare"),
        ("strlen", (), "takes 1 argument"),
        ("startofday", (T.STRING,), "takes datetime"),
        ("__index", (T.STRING, T.STRING), "parse_json"),
        ("iff", (T.BOOL, T.STRING, T.LONG), "one type"),
        ("case", (T.BOOL, T.STRING, T.BOOL, T.STRING), "pairs"),
    ],
)
def test_mismatches_say_why(name: str, types: tuple[KustoType, ...], message: str) -> None:
    with pytest.raises(Mismatch, match=message):
        _resolve(name, *types)


def test_a_constant_is_asked_for() -> None:
    function = FUNCTIONS.find("datetime_add")
    assert function is not None
    with pytest.raises(Mismatch, match="constant") as caught:
        function.resolve([Argument(T.STRING), Argument(T.LONG), Argument(T.DATETIME)])
    assert caught.value.argument == 0


@pytest.mark.parametrize(
    ("name", "names", "made"),
    [
        ("count", (), ("count_",)),
        ("sum", ("Size",), ("sum_Size",)),
        ("make_list", ("x",), ("list_x",)),
        ("tostring", ("x",), ("x",)),
        ("bin", ("Time", None), ("Time",)),
        ("strcat", ("a", "b"), ("",)),
        ("arg_max", ("Time", "a"), ("Time", "a")),
        ("arg_max", (None, None), ("max_", "max__arg1")),
        ("take_any", ("a", None), ("a", "any_arg1")),
        ("any", ("a",), ("any_a",)),
        ("strlen", ("x",), ("strlen_x",)),
    ],
)
def test_automatic_names(name: str, names: tuple[str | None, ...], made: tuple[str, ...]) -> None:
    function = FUNCTIONS.find(name)
    assert function is not None
    assert function.auto_names(names, [None for _ in names]) == made


def test_percentiles_are_named_by_their_percentages() -> None:
    function = FUNCTIONS.find("percentiles")
    assert function is not None
    assert function.naming is Naming.PERCENTILE
    constants = [None, Constant(50), Constant(99.9)]
    assert function.auto_names(("x", None, None), constants) == ("percentile_x_50", "percentile_x_99_9")


def test_a_parameter_line_is_read() -> None:
    found = params("a: string!, b?: ~string, c+: long|int")
    assert [param.name for param in found] == ["a", "b", "c"]
    assert found[0].constant
    assert found[1].optional
    assert found[1].loose
    assert found[2].variadic
    assert found[2].at_least == 1
    assert found[2].types == (T.LONG, T.INT)


def test_a_gap_is_no_function() -> None:
    assert [name for name in GAPS if FUNCTIONS.find(name) is not None] == []
