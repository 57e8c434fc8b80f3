from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from contextlib import suppress
from typing import Any, Literal

import pytest
from tests.hostile_bodies import HOSTILE

from headrace.ingest.admission import Admitted, admit
from headrace.settings import IngestSettings
from headrace.wire.problems import HttpError

BOM = b"\xef\xbb\xbf"
SETTINGS = IngestSettings()


def take(
    body: bytes, encoding: str = "", mode: Literal["headrace", "compatible"] = "headrace", **settings: Any
) -> Admitted:
    return admit(body, encoding, SETTINGS.model_copy(update=settings), mode)


def refused(
    body: bytes, encoding: str = "", mode: Literal["headrace", "compatible"] = "headrace", **settings: Any
) -> tuple[int, str, str]:
    with pytest.raises(HttpError) as caught:
        take(body, encoding, mode, **settings)
    problem = caught.value.problem
    assert "retry-after" not in {name.lower() for name in caught.value.headers}
    return caught.value.status, problem.code, problem.message


def nested(depth: int) -> bytes:
    """JSON whose array, its object included, nests `depth` deep."""
    return b'[{"a":' + b"[" * (depth - 2) + b"]" * (depth - 2) + b"}]"


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b"[]", 0),
        (b" [ ]\r\n\t", 0),
        (b"[{}]", 1),
        (b"[{},{} , {}]", 3),
        (b'[{"a":1,"a":2}]', 1),
        (b'[{"a":"\\u0000\\ud83d\\ude00\\/"}]', 1),
        ('[{"ключ":"знач\u2028\U0010ffff"}]'.encode(), 1),
        (b'[{"a":1e999,"b":-0,"c":1E+5,"d":0.1e-7}]', 1),
        (b'[{"a":' + b"9" * 100_000 + b"}]", 1),
        (b'[{"a":"\x7f"}]', 1),
        (b'[{"":null}]', 1),
    ],
)
def test_taken(body: bytes, rows: int) -> None:
    admitted = take(body)
    assert admitted == Admitted(body, "", len(body), rows)
    packed = gzip.compress(body)
    assert take(packed, "gzip") == Admitted(packed, "gzip", len(body), rows)


@pytest.mark.parametrize(
    ("body", "position", "cure"),
    [
        (b'[{"a":NaN}]', "line 1, column 7 (byte 6)", "Send null"),
        (b'[{"a":-Infinity}]', "column 8", "Send null"),
        (b'[{"a":nan}]', "column 8", "Send null"),
        (b'[{"a":True}]', "column 7", "lower case"),
        (b'[{"a":undefined}]', "column 7", "lower case"),
        (b'[{"a":1,}]', "column 9", "comma before the closing"),
        (b"[{},]", "column 5", "comma before the closing"),
        (b"[,{}]", "column 2", "','"),
        (b'[{"a":1} {"b":2}]', "column 10", "comma or a closing bracket"),
        (b'[{"a" 1}]', "column 7", "colon is missing"),
        (b"[{'a':1}]", "column 3", "double quotes"),
        (b"[{a:1}]", "column 3", "double quotes"),
        (b"[{\"a\":'x'}]", "column 7", "double quotes"),
        (b'[{"a":/*c*/1}]', "column 7", "comments"),
        (b'[{"a":01}]', "column 8", "leading zeros"),
        (b'[{"a":1.}]', "column 9", "digits on both sides"),
        (b'[{"a":"\n"}]', "column 8", "control character"),
        (b'[{"a":"\x00"}]', "column 8", "\\u0000"),
        (b'[{"a":"\\x"}]', "column 9", "backslash"),
        (b'[{"a":"\\u12g4"}]', "column 13", "hex digits"),
        (b'[{"a":"\\udc00"}]', "column 14", "surrogate"),
        (b'[{"a":"\\ud800\\u0041"}]', "column 20", "surrogate"),
        (b'[{"a":"\\ud800 and more text"}]', "column", "surrogate"),
        (b'[{"a":"\\ud800"}]', "near its end", "surrogate"),
        (b'[{"a":"\xff"}]', "column 8 (byte 7)", "Send it as UTF-8"),
        (b'[{"a":"\xed\xa0\x80"}]', "column 8", "Send it as UTF-8"),
        (b'[{"a":"' + b"x" * 100_000 + b"\xe2\x82", "byte 100007", "Send it as UTF-8"),
        (b"[{}]]", "column 5", "nothing behind it"),
        (b"[{}][{}]", "column 5", "nothing behind it"),
        (b'[{"a":1', "ends at byte 7", "closing bracket"),
        (b'[\n{"a":1},\n{"\xc3\xa9":x}\n]', "line 3, column 6 (byte 17)", "'x'"),
        (b"   ", "nothing but white space", "Send a JSON array"),
    ],
)
@pytest.mark.parametrize("mode", ["headrace", "compatible"])
def test_malformed(body: bytes, position: str, cure: str, mode: Literal["headrace", "compatible"]) -> None:
    status, code, message = refused(body, mode=mode)
    assert (status, code) == (400, "MalformedJson")
    assert position in message
    assert cure in message


def test_what_was_sent_is_not_quoted() -> None:
    for body in (b'[{"a":secret}]', b'[{"a":"secret\x01"}]', b'[{"a":"secret\xff"}]', b"[secret]"):
        assert "secret" not in refused(body)[2]


def test_no_body() -> None:
    for mode in ("headrace", "compatible"):
        for encoding in ("", "gzip"):
            status, code, message = refused(b"", encoding, mode)
            assert (status, code) == (400, "InvalidFormat")
            assert "no body" in message
    assert refused(gzip.compress(b""), "gzip")[:2] == (400, "MalformedJson")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"a":1}', "single object"),
        (b"17", "number"),
        (b'"text"', "string"),
        (b"null", "null"),
        (b"[{},1]", "index 1"),
        (b"[{},{},null]", "index 2"),
        (b'["x"]', "index 0"),
        (b"[[{}]]", "its type is array"),
        (b"[{},1.5]", "its type is number"),
        (b"[false]", "its type is boolean"),
    ],
)
def test_not_an_array_of_objects(body: bytes, named: str) -> None:
    status, code, message = refused(body)
    assert (status, code) == (400, "InvalidFormat")
    assert named in message


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_compatible_mode_keeps_the_objects(encoding: str) -> None:
    body = b'[ {"a": 1.50}, 2, "{}", [ {"b":1} ], null ,{"c":"]},["} ]'
    admitted = take(gzip.compress(body) if encoding else body, encoding, "compatible")
    kept = gzip.decompress(admitted.body) if encoding else admitted.body
    assert kept == b'[{"a": 1.50},{"c":"]},["}]'
    assert admitted == Admitted(admitted.body, encoding, len(kept), 2, dropped=4)


def test_compatible_mode_drops_a_bare_object() -> None:
    assert take(b' {"a":1} ', mode="compatible") == Admitted(b"", "", 9, 0, dropped=1)
    assert refused(b'"text"', mode="compatible")[:2] == (400, "InvalidFormat")


def test_compatible_mode_still_refuses_what_is_no_json() -> None:
    assert refused(b'[1, {"a":}]', mode="compatible")[1] == "MalformedJson"
    assert refused(b'{"a":}', mode="compatible")[1] == "MalformedJson"
    assert refused(b"[1," + nested(80) + b"]", mode="compatible")[1] == "MalformedJson"
    assert refused(b'{"a":' + nested(80) + b"}", mode="compatible")[1] == "MalformedJson"
    assert refused(b"[1" + b",2" * 20 + b"]", mode="compatible", max_rows=10)[0] == 413


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_byte_order_mark_is_taken_off(encoding: str) -> None:
    body = BOM + b'[{"a":1}]'
    admitted = take(gzip.compress(body) if encoding else body, encoding)
    kept = gzip.decompress(admitted.body) if encoding else admitted.body
    assert (kept, admitted.encoding, admitted.length, admitted.rows) == (b'[{"a":1}]', encoding, 9, 1)


def test_utf_16_is_named() -> None:
    assert "UTF-16" in refused('[{"a":1}]'.encode("utf-16"))[2]


def test_several_gzip_members_become_one() -> None:
    admitted = take(gzip.compress(b'[{"a":1},') + gzip.compress(b'{"b":2}]'), "gzip")
    one = zlib.decompressobj(31)
    assert one.decompress(admitted.body) == b'[{"a":1},{"b":2}]'
    assert (one.eof, one.unused_data) == (True, b"")
    assert (admitted.length, admitted.rows) == (17, 2)


def test_depth_is_bounded_exactly() -> None:
    assert take(b"[{}]", max_depth=2).rows == 1
    for limit in (3, 10, 64, 500):
        assert take(nested(limit), max_depth=limit).rows == 1
        status, code, message = refused(nested(limit + 1), max_depth=limit)
        assert (status, code) == (400, "MalformedJson")
        assert f"more than {limit} levels" in message


@pytest.mark.parametrize("limit", [3, 64, 500])
@pytest.mark.parametrize("behind", [b"", b',{"a":0}'])
def test_depth_of_one_member_of_a_long_array_is_bounded_exactly(limit: int, behind: bytes) -> None:
    """The member is longer than what brackets are counted in at once, and its levels are at its end."""
    flat = b'[{"a":"' + b"x" * 9_000 + b'"},{"b":"' + b"y" * 4_000 + b'",'
    deep = [flat + nested(levels)[2:-1] + behind + b"]" for levels in (limit, limit + 1)]
    assert take(deep[0], max_depth=limit).rows == 2 + bool(behind)
    assert f"more than {limit} levels" in refused(deep[1], max_depth=limit)[2]


def test_brackets_in_strings_do_not_count_and_do_not_hide() -> None:
    deep = 70
    hidden = b'[{"a":' + b'["]"' + b',["\\"]}\\\\"' * (deep - 3) + b"]" * (deep - 2) + b',"b":"[[[[{{{{"}]'
    json.loads(hidden)
    assert "more than 64 levels" in refused(hidden)[2]
    assert take(hidden, max_depth=deep).rows == 1
    assert "more than 69 levels" in refused(hidden, max_depth=deep - 1)[2]
    flat = b'[{"a":"' + b"[{" * 1000 + b'","b\\\\":"\\"[[[\\\\"}]'
    json.loads(flat)
    assert take(flat, max_depth=2).rows == 1


def depth_of(value: object) -> int:
    """The levels of a JSON value, by the book."""
    inner: list[object] = []
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return 0
    return 1 + max(map(depth_of, inner), default=0)


def some_value(chance: random.Random, depth: int) -> object:
    """A JSON value of at most so many levels, with brackets in its texts."""
    kind = chance.random()
    if depth == 0 or kind < 0.3:
        return chance.choice((1, None, "text", "[[{", "]}]", '"[\\', "\u00fc" * 40))
    if kind < 0.65:
        return [some_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {
        chance.choice("ab{[") * (1 + i): some_value(chance, depth - 1) for i in range(chance.randrange(4))
    }


@pytest.mark.parametrize("seed", range(60))
def test_depth_of_long_arrays_is_bounded_exactly(seed: int) -> None:
    """Long enough for brackets to be counted by words first: few members of many levels, and many of few."""
    chance = random.Random(seed)
    separators = chance.choice(((",", ":"), (", ", ": "), (" ,\n ", " : ")))
    rows: list[object] = []
    while len(text := json.dumps(rows, separators=separators).encode()) < chance.choice((9_000, 200_000)):
        rows += [{"a": some_value(chance, chance.choice((1, 3, 9)))} for _ in range(chance.choice((1, 50)))]
    chance.shuffle(rows)
    levels = depth_of(rows)
    assert take(text, max_depth=levels).rows == len(rows)
    assert f"more than {levels - 1} levels" in refused(text, max_depth=levels - 1)[2]


@pytest.mark.parametrize("place", [0, 1, 77, 199])
def test_what_is_no_object_is_found_in_a_long_array(place: int) -> None:
    rows: list[object] = [{"a": "x" * 100}] * 200
    rows[place] = ["{"]
    message = refused(json.dumps(rows).encode())[2]
    assert f"index {place} is not an object" in message


@pytest.mark.parametrize(
    "body",
    [
        nested(10_000),
        b'[{"a":' * 10_000 + b"1" + b"}]" * 10_000,
        b"[" * 100_000,
        b'[{"a":' * 100_000,
        b'{"a":' * 100_000,
    ],
)
@pytest.mark.parametrize("mode", ["headrace", "compatible"])
def test_absurd_depth_is_an_ordinary_refusal(body: bytes, mode: Literal["headrace", "compatible"]) -> None:
    assert refused(body, mode=mode)[0] == 400


def test_objects_are_bounded() -> None:
    assert take(b"[" + b",".join([b"{}"] * 100) + b"]", max_rows=100).rows == 100
    status, code, message = refused(b"[" + b",".join([b"{}"] * 101) + b"]", max_rows=100)
    assert (status, code) == (413, "PayloadSizeLimitExceeded")
    assert "100 objects" in message
    strings = b'[{"a":"' + b"{" * 1000 + b'"}]'
    assert take(strings, max_rows=100).rows == 1
    assert refused(b"[" + b"{}," * 200 + b"x]", max_rows=100)[1] == "MalformedJson"


def test_the_size_after_inflate_is_bounded() -> None:
    fits = b"[" + b" " * 2046 + b"]"
    assert take(gzip.compress(fits), "gzip", max_inflated_bytes=2048).length == 2048
    status, code, message = refused(gzip.compress(fits + b" "), "gzip", max_inflated_bytes=2047)
    assert (status, code) == (413, "PayloadSizeLimitExceeded")
    assert "2047 bytes" in message
    assert refused(fits, max_inflated_bytes=2047)[0] == 413
    parts = gzip.compress(fits[:1000]) + gzip.compress(fits[1000:])
    assert take(parts, "gzip", max_inflated_bytes=2048).length == 2048
    assert refused(parts, "gzip", max_inflated_bytes=2047)[0] == 413


@pytest.mark.parametrize("name", HOSTILE)
def test_no_body_takes_much_memory(name: str) -> None:
    body = HOSTILE[name]()
    tracemalloc.start()
    try:
        with suppress(HttpError):
            admit(body, "gzip", SETTINGS, "headrace")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1024 * 1024


@pytest.mark.parametrize("mode", ["headrace", "compatible"])
def test_a_bomb_is_refused(mode: Literal["headrace", "compatible"]) -> None:
    bomb = HOSTILE["gzip of 4 GB of zeros"]()
    assert refused(bomb, "gzip", mode)[:2] == (413, "PayloadSizeLimitExceeded")
    assert refused(bomb[:1000] + bomb, "gzip", mode)[0] in (400, 413)
    many = HOSTILE["gzip of too many objects"]()
    assert refused(many, "gzip", mode)[:2] == (413, "PayloadSizeLimitExceeded")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'[{"a":1}]', "looks like plain JSON"),
        (zlib.compress(b"[]"), "1f 8b"),
        (b"\x1f\x8b\x07" + gzip.compress(b"[]")[3:], ""),
        (gzip.compress(b"[]")[:-1], "before its end mark"),
        (gzip.compress(b"[]")[:6], "before its end mark"),
        (gzip.compress(b"[]")[:-8] + b"abcdefgh", "checksum"),
        (gzip.compress(b"[]")[:-4] + b"abcd", "checksum"),
        (gzip.compress(b"[]", mtime=0) + b"\0\0", "2 bytes follow it"),
        (gzip.compress(b"[]") + b"[]", "bytes follow it"),
        (gzip.compress(b"[]") + gzip.compress(b" ")[:-3], "cut short"),
        (gzip.compress(b"[]") + gzip.compress(b" ")[:-8] + b"abcdefgh", "in the gzip member at byte"),
        (gzip.compress(b"[]") + gzip.compress(b"") * 2000, "members"),
    ],
)
def test_bad_gzip(body: bytes, told: str) -> None:
    status, code, message = refused(body, "gzip")
    assert (status, code) == (400, "MalformedGzip")
    assert told in message


def test_gzip_without_its_header_is_named() -> None:
    status, code, message = refused(gzip.compress(b"[]"))
    assert (status, code) == (400, "MalformedJson")
    assert "Content-Encoding: gzip is missing" in message
