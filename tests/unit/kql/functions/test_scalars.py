from __future__ import annotations

import base64
import json
import math
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.kql.functions.calling import NOW, Caller, Dynamic, Given, Int, Moment, Null, ticks

from headrace.kql.types import KustoType

T = KustoType
A, B = Dynamic("[1,2,3]"), Dynamic("[2,3,4]")


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("strcat", ("a", 1, Null(T.LONG), 1.5, True), "a11.5true"),
        ("strcat_delim", ("-", 1, "", "b"), "1--b"),
        ("strcat_array", (Dynamic('["a",1,null]'), ","), "a,1,"),
        ("strlen", ("héllo",), 5),
        ("string_size", ("héllo",), 6),
        ("strcmp", ("a", "B"), 1),
        ("strrep", ("ab", 2, "-"), "ab-ab"),
        ("substring", ("abcdef", 1, 2), "bc"),
        ("substring", ("abcdef", -2), "ef"),
        ("substring", ("abcdef", 10), ""),
        ("substring", ("abcdef", -10, 2), "ab"),
        ("indexof", ("abcdefg", "cde"), 2),
        ("indexof", ("abcdefg", "x"), -1),
        ("indexof", ("abcabc", "abc", 1), 3),
        ("indexof", ("abcdefg", "cde", 1, 2), -1),
        ("indexof_regex", ("abc123", r"\d"), 3),
        ("indexof_regex", ("abc", r"\d"), -1),
        ("reverse", ("añb",), "bña"),
        ("split", ("a,b,,c", ","), '["a","b","","c"]'),
        ("split", ("", ","), '[""]'),
        ("split", ("a,b", ",", 1), '["b"]'),
        ("split", ("a,b", ",", 5), "[]"),
        ("split", ("abc", ""), '["abc"]'),
        ("countof", ("aaa", "a"), 3),
        ("countof", ("ababa", "aba"), 2),
        ("countof", ("ab12cd3", r"\d", "regex"), 3),
        ("extract", ("x=([0-9]+)", 1, "hello x=45"), "45"),
        ("extract", ("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)", 11, "abcdefghijk"), "k"),
        ("extract", ("nope(.)", 1, "abc"), ""),
        ("extract_all", (r"(?P<l>\w)(?<d>\d)", Dynamic('["d"]'), "ä1 b2 c3"), '["2","3"]'),
        ("indexof_regex", ("äöb1", r"\d"), 3),
        ("extract", ("([0-9.]+)", 1, "v 2.5", "real"), 2.5),
        ("extract_all", (r"(\w)(\d)", "a1 b2"), '[["a","1"],["b","2"]]'),
        ("extract_all", (r"\d", "a1 b2"), '["1","2"]'),
        ("extract_all", (r"\d", "ab"), None),
        ("extract_all", (r"(\w)([(]?)(\d)", Dynamic("[3,1]"), "a1 b2"), '[["1","a"],["2","b"]]'),
        ("extract_json", ("$.a[0]", '{"a":[5]}', "long"), 5),
        ("replace_regex", ("x1y22", r"(\d+)", r"<\1>"), "x<1>y<22>"),
        ("replace", (r"\d", "#", "a1b2"), "a#b#"),
        ("replace_string", ("aaa", "a", ""), ""),
        ("replace_string", ("aaa", "", "b"), "aaa"),
        ("replace_strings", ("abc", Dynamic('["a","b"]'), Dynamic('["1","2"]')), "12c"),
        ("trim", ("-+", "--a-b--"), "a-b"),
        ("trim_start", ("x*", "xxax"), "ax"),
        ("trim_end", ("x*", "xxaxx"), "xxa"),
        ("translate", ("abc", "xy", "aabbcc"), "xxyyyy"),
        ("translate", ("abc", "", "abcd"), "d"),
        (
            "zlib_decompress_from_base64_string",
            ("eJwzNDI2MTUzt7A0KCxPLSqpLM3MLwAAOAkGdw==",),
            "1234567890qwertyuiop",
        ),
        ("zlib_decompress_from_base64_string", ("nonsense",), ""),
        ("tohex", (256,), "100"),
        ("tohex", (-256,), "ffffffffffffff00"),
        ("tohex", (Int(-256), 8), "ffffff00"),
        ("isascii", ("é",), False),
        ("tolower", ("ÀB",), "àb"),
        ("parse_csv", ('a,"b,c",d',), '["a","b,c","d"]'),
        ("base64_encodestring", ("Kusto",), "S3VzdG8="),
        ("base64_decodestring", ("S3VzdG8=",), "Kusto"),
        ("base64_decodestring", ("!!!",), ""),
        ("hash_sha256", ("World",), "78ae647dc5544d227130a0682a51e30bc7777fbb6d8a8f17007463a3ecd1d524"),
        ("hash", ("World",), 1846988464401551951),
        ("url_decode", ("a%20b+c",), "a b c"),
        ("url_encode", ("a b/c",), "a+b%2fc"),
        ("parse_version", ("1.2.3.4",), None),
        ("format_bytes", (1_048_576,), "1 MB"),
        ("unicode_codepoints_from_string", ("aé",), "[97,233]"),
        ("unicode_codepoints_to_string", (97, Dynamic("[233]")), "aé"),
        ("coalesce", ("", "x"), "x"),
        ("coalesce", (Null(T.LONG), 3), 3),
        ("iff", (Null(T.BOOL), 1, 2), 2),
        ("case", (False, "a", True, "b", "c"), "b"),
        ("max_of", (1, Null(T.LONG), 3), 3),
        ("min_of", (4, 2.5), 2.5),
        ("around", (5, 4, 1), True),
    ],
)
def test_scalar(call: Caller, name: str, given: tuple[Given, ...], result: object) -> None:
    found = call(name, *given)
    if name == "parse_version":
        assert int(found) == 1_00000002_00000003_00000004
    else:
        assert found == result


DATE = datetime(2017, 1, 29, 10, 11, 12, 345678, tzinfo=UTC)


def _day(*parts: int) -> int:
    return ticks(datetime(*parts, tzinfo=UTC))  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("now", (), ticks(NOW)),
        ("now", (timedelta(days=-1),), ticks(NOW - timedelta(days=1))),
        ("ago", (timedelta(hours=1),), ticks(NOW - timedelta(hours=1))),
        ("startofday", (DATE,), _day(2017, 1, 29)),
        ("startofday", (DATE, -1), _day(2017, 1, 28)),
        ("startofweek", (DATE,), _day(2017, 1, 29)),
        ("startofweek", (DATE - timedelta(days=1),), _day(2017, 1, 22)),
        ("startofweek", (datetime(1969, 12, 30, tzinfo=UTC),), _day(1969, 12, 28)),
        ("startofmonth", (DATE, 1), _day(2017, 2, 1)),
        ("startofyear", (DATE,), _day(2017, 1, 1)),
        ("endofday", (DATE,), _day(2017, 1, 30) - 1),
        ("endofweek", (DATE,), _day(2017, 2, 5) - 1),
        ("endofmonth", (DATE,), _day(2017, 2, 1) - 1),
        ("endofyear", (DATE, -1), _day(2017, 1, 1) - 1),
        ("dayofweek", (DATE,), 0),
        ("dayofmonth", (DATE,), 29),
        ("dayofyear", (DATE,), 29),
        ("hourofday", (DATE,), 10),
        ("weekofyear", (datetime(2020, 1, 1, tzinfo=UTC),), 1),
        ("getmonth", (DATE,), 1),
        ("getyear", (DATE,), 2017),
        ("datetime_part", ("millisecond", DATE), 345),
        ("datetime_part", ("Quarter", DATE), 1),
        ("datetime_part", ("nanosecond", Moment(7)), 700),
        ("datetime_add", ("month", 1, DATE), ticks(DATE.replace(month=2, day=28))),
        ("datetime_add", ("year", -5, DATE), ticks(DATE.replace(year=2012))),
        ("datetime_add", ("hour", 25, DATE), ticks(DATE + timedelta(hours=25))),
        ("datetime_diff", ("month", DATE, datetime(2015, 12, 30, tzinfo=UTC)), 13),
        ("datetime_diff", ("day", DATE, DATE + timedelta(hours=14)), -1),
        ("datetime_diff", ("week", _d := DATE, _d - timedelta(days=1)), 1),
        ("make_datetime", (2017, 2, 29), None),
        ("make_datetime", (2020, 2, 29, 12, 10, 1.5), _day(2020, 2, 29, 12, 10, 1) + 5_000_000),
        ("make_datetime", (2020, 1, 1, 0, 0, 60.0), None),
        ("make_timespan", (1, 30), ticks(timedelta(hours=1, minutes=30))),
        ("make_timespan", (1, 2, 3, 4.5), ticks(timedelta(days=1, hours=2, minutes=3, seconds=4.5))),
        ("format_datetime", (DATE, "yyyy-M-dd [H:mm:ss.fff]"), "2017-1-29 [10:11:12.345]"),
        ("format_datetime", (DATE, "yy-MM-dd hh:mm tt"), "17-01-29 10:11 AM"),
        ("format_timespan", (timedelta(days=1, hours=2), "d.HH:mm:ss"), "1.02:00:00"),
        ("unixtime_seconds_todatetime", (1,), 10_000_000),
        ("unixtime_milliseconds_todatetime", (1.5,), 15_000),
        ("unixtime_nanoseconds_todatetime", (1500,), 15),
        ("unixtime_seconds_todatetime", (10**17,), None),
        ("datetime_utc_to_local", (datetime(2020, 7, 1, tzinfo=UTC), "Europe/Paris"), _day(2020, 7, 1, 2)),
        ("datetime_local_to_utc", (datetime(2020, 7, 1, tzinfo=UTC), "Europe/Paris"), _day(2020, 6, 30, 22)),
        ("bin", (DATE, timedelta(hours=1)), _day(2017, 1, 29, 10)),
        ("bin", (datetime(2007, 1, 3, tzinfo=UTC), timedelta(days=7)), _day(2007, 1, 1)),
        ("bin", (timedelta(minutes=-10), timedelta(hours=1)), -ticks(timedelta(hours=1))),
        ("bin", (-5, 3), -6),
        ("bin", (-4.5, 1), -5.0),
        ("bin", (5, 0), None),
        ("bin_at", (6.5, 2.5, 7), 4.5),
        ("bin_at", (6, 5, 3), 3),
    ],
)
def test_times_and_bins(call: Caller, name: str, given: tuple[Given, ...], result: object) -> None:
    assert call(name, *given) == result


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("abs", (-5,), 5),
        ("abs", (-(2**63),), None),
        ("ceiling", (-1.1,), -1.0),
        ("round", (2.98765, 3), 2.988),
        ("round", (1234, -2), 1200),
        ("log", (0.0,), -math.inf),
        ("log10", (1000,), 3.0),
        ("exp2", (3,), 8.0),
        ("sqrt", (-1.0,), math.nan),
        ("sign", (-3,), -1.0),
        ("pow", (2, 10), 1024.0),
        ("isnan", (math.nan,), True),
        ("isinf", (math.inf,), True),
        ("isfinite", (1.0,), True),
        ("binary_shift_left", (1, 63), -(2**63)),
        ("binary_shift_left", (3, 65), 6),
        ("binary_shift_right", (-8, 1), -4),
        ("binary_not", (0,), -1),
        ("binary_xor", (5, 3), 6),
        ("bitset_count_ones", (42,), 3),
        ("beta_cdf", (0.9, 10.0, 20.0), 0.999999999999959),
        ("convert_length", (1, "Mile", "Kilometer"), 1.609344),
        ("convert_temperature", (100, "DegreeCelsius", "DegreeFahrenheit"), 212.0),
        ("convert_mass", (1, "Nothing", "Gram"), None),
        ("erf", (0.5,), math.erf(0.5)),
        ("gamma", (5,), 24.0),
    ],
)
def test_mathematics(call: Caller, name: str, given: tuple[Given, ...], result: float | None) -> None:
    found = call(name, *given)
    if isinstance(result, float):
        assert found == pytest.approx(result, nan_ok=True)
    else:
        assert found is result or found == result


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("array_length", (A,), 3),
        ("array_length", (Dynamic("{}"),), None),
        ("array_concat", (A, Dynamic("[]"), B), [1, 2, 3, 2, 3, 4]),
        ("array_reverse", (A,), [3, 2, 1]),
        ("array_slice", (A, -2, -1), [2, 3]),
        ("array_split", (A, 1), [[1], [2, 3]]),
        ("array_shift_left", (A, 1), [2, 3, None]),
        ("array_shift_right", (A, 1, -1), [-1, 1, 2]),
        ("array_rotate_left", (A, -1), [3, 1, 2]),
        ("array_index_of", (A, 2), 1),
        ("array_index_of", (A, "2"), -1),
        ("array_sort_desc", (Dynamic("[1,null,3]"),), [3, 1, None]),
        ("array_sort_asc", (Dynamic("[2,1]"), Dynamic('["b","a"]')), [[1, 2], ["a", "b"]]),
        ("array_sum", (A,), 6.0),
        ("array_iff", (Dynamic("[true,false]"), A, 9), [1, 9]),
        ("pack_array", (1, "a", Null(T.LONG), timedelta(seconds=2)), [1, "a", None, "00:00:02"]),
        ("bag_pack", ("a", 1, "b", ""), {"a": 1, "b": ""}),
        ("bag_keys", (Dynamic('{"b":1,"a":2}'),), ["b", "a"]),
        ("bag_has_key", (Dynamic('{"a":{"b":1}}'), "$.a.b"), True),
        ("bag_merge", (Dynamic('{"a":1}'), Dynamic('{"a":2,"b":3}')), {"a": 1, "b": 3}),
        (
            "bag_remove_keys",
            (Dynamic('{"a":1,"b":{"c":2,"d":3}}'), Dynamic('["a","$.b.c"]')),
            {"b": {"d": 3}},
        ),
        ("bag_set_key", (Dynamic("{}"), "$.a.b", 1), {"a": {"b": 1}}),
        ("bag_zip", (Dynamic('["a","b"]'), Dynamic("[1]")), {"a": 1, "b": None}),
        ("set_union", (A, B), [1, 2, 3, 4]),
        ("set_intersect", (A, B), [2, 3]),
        ("set_difference", (A, B), [1]),
        ("set_has_element", (A, 3), True),
        ("jaccard_index", (A, B), 0.5),
        ("range", (1, 7, 3), [1, 4, 7]),
        ("repeat", ("x", 2), ["x", "x"]),
        ("zip", (A, Dynamic("[9]")), [[1, 9], [2, None], [3, None]]),
        ("treepath", (Dynamic('{"a":{"b":1},"c":[1]}'),), ["['a']", "['a']['b']", "['c']", "['c'][0]"]),
        ("series_add", (A, B), [3, 5, 7]),
        ("series_divide", (A, 0), ["Infinity", "Infinity", "Infinity"]),
        ("series_fill_linear", (Dynamic("[1,null,3,null]"),), [1, 2.0, 3, 3]),
        ("series_fir", (Dynamic("[1,2,3]"), Dynamic("[1,1]")), [0.5, 1.5, 2.5]),
        ("series_fit_line", (Dynamic("[1,2,3]"),), [1.0, 1.0, 1.0, 0.0, 1.0, [1.0, 2.0, 3.0]]),
        ("parse_xml", ("<a x='1'><b>2</b><b>3</b></a>",), {"a": {"@x": "1", "b": ["2", "3"]}}),
        ("parse_xml", ("<a>",), None),
        ("parse_xml", ("<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",), None),
        ("parse_urlquery", ("?a=1&b=x%20y",), {"Query Parameters": {"a": "1", "b": "x y"}}),
    ],
)
def test_dynamics(call: Caller, name: str, given: tuple[Given, ...], result: object) -> None:
    found = call(name, *given)
    assert (json.loads(found) if isinstance(found, str) else found) == result


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("parse_ipv4", ("1.2.3.4",), 16909060),
        ("parse_ipv4", ("1.2.3",), None),
        ("ipv4_compare", ("10.1.2.3", "10.1.2.9", 24), 0),
        ("ipv4_is_in_range", ("192.168.1.6", "192.168.1.1/24"), True),
        ("ipv4_is_in_any_range", ("10.0.0.1", "1.0.0.0/8", Dynamic('["10.0.0.0/8"]')), True),
        ("ipv4_is_in_any_range", ("nothing", "1.0.0.0/8"), None),
        ("ipv4_is_private", ("172.31.0.1",), True),
        ("ipv4_is_private", ("8.8.8.8",), False),
        ("ipv4_netmask_suffix", ("10.0.0.0/16",), 16),
        ("format_ipv4", (3232236031,), "192.168.1.255"),
        ("format_ipv4_mask", ("192.168.1.255", 24), "192.168.1.0/24"),
        ("ipv6_compare", ("::ffff:7f00:1", "127.0.0.1"), 0),
        ("ipv6_is_match", ("fe80::85d:e82c:9446:7994", "fe80::85d:e82c:9446:7995", 128), False),
        ("ipv6_is_in_range", ("fe80::1", "fe80::/16"), True),
        ("parse_ipv6", ("127.0.0.1",), "0000:0000:0000:0000:0000:ffff:7f00:0001"),
        ("has_ipv4", ("from 1.2.3.4, port 80", "1.2.3.4"), True),
        ("has_ipv4", ("from 01.2.3.41", "1.2.3.4"), False),
        ("has_ipv4_prefix", ("from 1.2.3.4", "1.2."), True),
        ("has_any_ipv4", ("from 1.2.3.4", Dynamic('["5.6.7.8","1.2.3.4"]')), True),
        ("geo_point_to_geohash", (-122.303404, 47.570482), "c23n8"),
    ],
)
def test_addresses(call: Caller, name: str, given: tuple[Given, ...], result: object) -> None:
    assert call(name, *given) == result


@pytest.mark.parametrize("kind", ["gzip", "zlib"])
@pytest.mark.parametrize("text", ["short", "long text " * 50, ""])
def test_what_is_compressed_comes_back(call: Caller, kind: str, text: str) -> None:
    packed = call(f"{kind}_compress_to_base64_string", text)
    assert call(f"{kind}_decompress_from_base64_string", packed) == text


def test_a_bomb_is_cut_off(call: Caller) -> None:
    bomb = base64.b64encode(zlib.compress(bytes(100 * 1024 * 1024))).decode()
    assert len(call("zlib_decompress_from_base64_string", bomb)) <= 16 * 1024 * 1024
