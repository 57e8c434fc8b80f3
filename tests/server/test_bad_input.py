"""Bad input over the wire: each case has its status, code and cure, and harms nothing beside it."""

from __future__ import annotations

import gzip
import json
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.server.kit import ARM_SCOPE, QUERY_SCOPE, Api, Rule, Sender, assert_once, sending
from tests.server.tokens import Forger
from tests.servers import ServerProcess

pytestmark = [pytest.mark.server]

GOOD = b'[{"Id": "never"}]'
DEEP = 10_000
MIB = 1024 * 1024
INNER = ("Traceback", "duckdb", "msgspec", "asyncio", ".py", "headrace.", "sqlite")
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def rule(api: Api) -> Rule:
    api.make_table("Bad_CL", {"Id": "string"})
    return api.make_rule("bad", {"Id": "string"}, "Bad_CL")


@pytest.fixture(scope="module")
def beside(api: Api, rule: Rule) -> Iterator[Sender]:
    """A good sender that runs through all of this module's tests."""
    with sending(rule, "good") as sender:
        yield sender


@pytest.fixture(scope="module")
def forger(api: Api) -> Forger:
    return Forger(api)


def check_refusal(answer: httpx.Response, status: int, code: str, *words: str) -> None:
    """The one error shape, with nothing of the machinery in it."""
    assert (answer.status_code, answer.headers.get("x-ms-error-code")) == (status, code), answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    for word in words:
        assert word.lower() in error["message"].lower(), error["message"]
    assert not [word for word in INNER if word in answer.text], answer.text
    assert len(answer.text) < 2000
    assert GUID.fullmatch(answer.headers["x-ms-request-id"])
    if status not in (429, 503):
        assert "retry-after" not in answer.headers


def broken_gzip() -> bytes:
    packed = bytearray(gzip.compress(GOOD * 50))
    packed[len(packed) // 2] ^= 0xFF
    return bytes(packed)


@dataclass(frozen=True)
class Body:
    """A body that is refused."""

    content: bytes
    status: int
    code: str
    words: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)


ZIPPED = {"Content_Encoding": "gzip"}
BODIES: dict[str, Body] = {
    "empty": Body(b"", 400, "InvalidFormat", ("no body",)),
    "white space": Body(b" \n ", 400, "MalformedJson"),
    "broken json": Body(b'[{"Id": "a"}, {"Id": ]', 400, "MalformedJson", ("line 1", "column")),
    "cut short": Body(b'[{"Id": "a"', 400, "MalformedJson", ("ends",)),
    "two arrays": Body(b'[{"Id": "a"}][{"Id": "b"}]', 400, "MalformedJson", ("follows",)),
    "trailing comma": Body(b'[{"Id": "a"},]', 400, "MalformedJson", ("comma",)),
    "comment": Body(b'[{"Id": "a"} /* b */]', 400, "MalformedJson"),
    "single quotes": Body(b"[{'Id': 'a'}]", 400, "MalformedJson", ("double quotes",)),
    "lines of json": Body(b'{"Id": "a"}\n{"Id": "b"}\n', 400, "MalformedJson"),
    "nan": Body(b'[{"Id": NaN}]', 400, "MalformedJson", ("NaN",)),
    "minus infinity": Body(b'[{"Id": -Infinity}]', 400, "MalformedJson", ("NaN",)),
    "bare object": Body(b'{"Id": "a"}', 400, "InvalidFormat", ("array of objects", "[ ]")),
    "bare text": Body(b'"a"', 400, "InvalidFormat", ("array",)),
    "null": Body(b"null", 400, "InvalidFormat", ("null",)),
    "not objects": Body(b'[{"Id": "a"}, {"Id": "b"}, 3]', 400, "InvalidFormat", ("index 2", "number")),
    "arrays inside": Body(b'[[{"Id": "a"}]]', 400, "InvalidFormat", ("index 0", "array")),
    "null inside": Body(b'[{"Id": "a"}, null]', 400, "InvalidFormat", ("index 1", "null")),
    "deep arrays": Body(b'[{"Id": ' + b"[" * DEEP + b"]" * DEEP + b"}]", 400, "MalformedJson", ("deep",)),
    "deep objects": Body(
        b'[{"Id": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}]", 400, "MalformedJson", ("deep",)
    ),
    "deep and open": Body(b"[" * DEEP, 400, "MalformedJson"),
    "not utf-8": Body(b'[{"Id": "\xc3\x28"}]', 400, "MalformedJson", ("UTF-8",)),
    "overlong utf-8": Body(b'[{"Id": "\xc0\xaf"}]', 400, "MalformedJson", ("UTF-8",)),
    "surrogate in utf-8": Body(b'[{"Id": "\xed\xa0\x80"}]', 400, "MalformedJson", ("UTF-8",)),
    "utf-16": Body('[{"Id": "a"}]'.encode("utf-16"), 400, "MalformedJson", ("UTF-16",)),
    "lone high surrogate": Body(b'[{"Id": "\\ud800"}]', 400, "MalformedJson", ("surrogate",)),
    "lone low surrogate": Body(b'[{"Id": "a\\udc00b"}]', 400, "MalformedJson", ("surrogate",)),
    "zero byte": Body(b'[{"Id": "a\x00b"}]', 400, "MalformedJson"),
    "gzip broken": Body(broken_gzip(), 400, "MalformedGzip", (), ZIPPED),
    "gzip cut": Body(gzip.compress(GOOD)[:-5], 400, "MalformedGzip", ("cut short",), ZIPPED),
    "gzip not at all": Body(GOOD, 400, "MalformedGzip", ("gzip",), ZIPPED),
    "gzip unannounced": Body(gzip.compress(GOOD), 400, "MalformedJson", ("Content-Encoding: gzip",)),
    "gzip twice": Body(gzip.compress(gzip.compress(GOOD)), 400, "MalformedJson", (), ZIPPED),
    "gzip bomb": Body(
        gzip.compress(b"[" + b'{"Id": "' + b"a" * (200 * MIB) + b'"}]'),
        413,
        "PayloadSizeLimitExceeded",
        ("decompression",),
        ZIPPED,
    ),
    "over the limit": Body(
        b"[" + b" " * (5 * MIB) + b"]", 413, "ContentLengthLimitExceeded", (str(5 * MIB + 2),)
    ),
    "wrong type": Body(GOOD, 415, "UnsupportedContentType", ("text/plain",), {"Content_Type": "text/plain"}),
    "other charset": Body(
        GOOD, 415, "UnsupportedContentType", (), {"Content_Type": "application/json; charset=latin-1"}
    ),
    "deflate": Body(GOOD, 415, "UnsupportedContentEncoding", ("deflate",), {"Content_Encoding": "deflate"}),
    "brotli after gzip": Body(GOOD, 415, "UnsupportedContentEncoding", (), {"Content_Encoding": "gzip, br"}),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_refused(rule: Rule, beside: Sender, name: str) -> None:
    body = BODIES[name]
    answer = rule.post(body.content, **body.headers)
    check_refusal(answer, body.status, body.code, *body.words)


def test_missing_content_type(rule: Rule, beside: Sender) -> None:
    headers = {name: value for name, value in rule.headers().items() if name != "Content-Type"}
    answer = rule.api.http.post(rule.url, content=GOOD, headers=headers)
    check_refusal(answer, 415, "UnsupportedContentType", "missing")


def test_charset_utf8_and_odd_casing_are_taken(rule: Rule, beside: Sender) -> None:
    for kind in ("application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'):
        assert rule.post(b"[]", Content_Type=kind).status_code == 204
    assert rule.post(gzip.compress(b"[]"), Content_Encoding="GZIP").status_code == 204


@pytest.mark.parametrize(
    ("version", "code"),
    [(None, "MissingApiVersion"), ("", "MissingApiVersion"), ("1", "InvalidApiVersion"),
     ("2023-13-01", "InvalidApiVersion"), ("2023-01-01-secret", "InvalidApiVersion"), ("latest", "InvalidApiVersion")],
)  # fmt: skip
def test_api_versions(rule: Rule, beside: Sender, version: str | None, code: str) -> None:
    bare = rule.url.partition("?")[0]
    url = bare if version is None else f"{bare}?api-version={version}"
    answer = rule.api.http.post(url, content=b"[]", headers=rule.headers())
    check_refusal(answer, 400, code, "api-version")


def test_versions_and_spellings_that_are_taken(rule: Rule, beside: Sender) -> None:
    bare = rule.target.partition("?")[0]
    for target in (
        f"{bare}?api-version=2021-11-01-preview",
        f"{bare}?api-version=2023-04-01-preview",
        f"{bare}?api%2Dversion=2023-01-01",
        f"/DATACOLLECTIONRULES/{rule.immutable_id.upper()}/STREAMS/custom-in?API-VERSION=2023-01-01",
        f"//dataCollectionRules//{rule.immutable_id}/streams/Custom%2DIn?api-version=2023-01-01",
    ):
        answer = rule.api.http.post(f"{rule.api.base}{target}", content=b"[]", headers=rule.headers())
        assert answer.status_code == 204, (target, answer.text)


def test_unknown_rule(rule: Rule, beside: Sender) -> None:
    unknown = "dcr-" + "0" * 32
    url = rule.url.replace(rule.immutable_id, unknown)
    check_refusal(
        rule.api.http.post(url, content=GOOD, headers=rule.headers()), 404, "NotFound", unknown, "not found"
    )


def test_unknown_stream_names_those_there_are(rule: Rule, beside: Sender) -> None:
    url = rule.url.replace("Custom-In", "Custom-Out")
    answer = rule.api.http.post(url, content=GOOD, headers=rule.headers())
    check_refusal(answer, 400, "InvalidStream", "Custom-Out", rule.immutable_id)
    assert "Custom-In" in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_other_methods(rule: Rule, beside: Sender, method: str) -> None:
    answer = rule.api.http.request(method, rule.url, headers=rule.headers())
    assert answer.status_code == 404
    if method != "HEAD":
        check_refusal(answer, 404, "NotFound")


@pytest.mark.parametrize("path", ["", "/x", "/dcr-1/streams", "/dcr-1/stream/a", "/dcr-1/streams/a/b"])
def test_other_paths(rule: Rule, beside: Sender, path: str) -> None:
    url = f"{rule.api.base}/dataCollectionRules{path}?api-version=2023-01-01"
    check_refusal(rule.api.http.post(url, content=GOOD, headers=rule.headers()), 404, "NotFound")


def test_strange_names_are_not_echoed_raw(rule: Rule, beside: Sender) -> None:
    for stream in ("%0d%0aX-Evil:1", "%00", "%ff%fe", "..%2f..%2fetc", "a" * 5000, "%E2%80%AE"):
        url = rule.url.replace("Custom-In", stream)
        answer = rule.api.http.post(url, content=GOOD, headers=rule.headers())
        check_refusal(answer, 400, "InvalidStream")
        assert "x-evil" not in answer.headers


# Tokens


def refused_token(rule: Rule, header: str | None) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    if header is not None:
        headers["Authorization"] = header
    return rule.api.http.post(rule.url, content=GOOD, headers=headers)


def check_challenge(answer: httpx.Response, api: Api, code: str) -> None:
    check_refusal(answer, 401, code)
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    assert f'authorization_uri="{api.base}/{api.env["AZURE_TENANT_ID"]}"' in challenge
    assert "insufficient_claims" not in challenge


def test_no_token(rule: Rule, beside: Sender) -> None:
    check_challenge(refused_token(rule, None), rule.api, "AuthenticationFailed")


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Basic YTpi", "Bearer a.b.c", "Bearer " + "a" * 20_000, "Bearer e30.e30.e30",
     "Bearer \xff\xfe"],
)  # fmt: skip
def test_bad_tokens(rule: Rule, beside: Sender, header: str) -> None:
    headers = {b"Authorization": header.encode("latin-1"), b"Content-Type": b"application/json"}
    answer = rule.api.http.post(rule.url, content=GOOD, headers=headers)
    assert answer.headers["x-ms-error-code"] in ("InvalidToken", "AuthenticationFailed")
    check_refusal(answer, 401, answer.headers["x-ms-error-code"])


def test_expired_token(rule: Rule, beside: Sender, forger: Forger) -> None:
    answer = refused_token(rule, f"Bearer {forger.expired()}")
    check_challenge(answer, rule.api, "ExpiredAuthenticationToken")


@pytest.mark.parametrize(
    "kind",
    ["by_another_key", "by_public_key_as_secret", "unsigned", "altered"],
)
def test_forged_tokens(rule: Rule, beside: Sender, forger: Forger, kind: str) -> None:
    token = getattr(forger, kind)()
    check_challenge(refused_token(rule, f"Bearer {token}"), rule.api, "InvalidToken")


def test_tokens_of_another_tenant_or_surface(rule: Rule, beside: Sender, forger: Forger) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    for claims in ({"tid": other}, {"iss": f"https://sts.windows.net/{other}/"}):
        answer = refused_token(rule, f"Bearer {forger.signed(**claims)}")
        check_challenge(answer, rule.api, "InvalidToken")
    for scope in (ARM_SCOPE, QUERY_SCOPE):
        answer = refused_token(rule, f"Bearer {rule.api.token(scope)}")
        check_challenge(answer, rule.api, "InvalidAudience")
    answer = refused_token(rule, f"Bearer {forger.signed(aud='https://monitor.azure.com.evil')}")
    check_challenge(answer, rule.api, "InvalidAudience")
    answer = refused_token(rule, f"Bearer {forger.signed(scp='user_impersonation')}")
    check_challenge(answer, rule.api, "UnsupportedAccessTokenType")
    for claim in ("exp", "nbf", "oid", "aud", "tid"):
        answer = refused_token(rule, f"Bearer {forger.without(claim)}")
        check_challenge(answer, rule.api, "InvalidToken")


def test_good_claims_by_the_real_key_are_taken(rule: Rule, forger: Forger) -> None:
    """The refusals above are for what was changed, not for how the tests make tokens."""
    headers = rule.headers() | {"Authorization": f"Bearer {forger.signed()}"}
    assert rule.api.http.post(rule.url, content=b"[]", headers=headers).status_code == 204


def test_a_caller_without_the_role(rule: Rule, beside: Sender) -> None:
    api = rule.api
    other = api.make_rule("unassigned", {"Id": "string"}, "Bad_CL", grant=False)
    answer = other.post(GOOD)
    check_refusal(answer, 403, "OperationFailed", other.immutable_id, "does not have access")


# Order of checks: size, token, rule, role, stream, type, body


def test_the_first_fault_in_azures_order_is_told(rule: Rule, beside: Sender) -> None:
    api = rule.api
    large = b"[" + b" " * (5 * MIB) + b"]"
    check_refusal(api.http.post(rule.url, content=large, headers={}), 413, "ContentLengthLimitExceeded")
    unknown = rule.url.replace(rule.immutable_id, "dcr-none")
    check_refusal(api.http.post(unknown, content=b"{", headers={}), 401, "AuthenticationFailed")
    nowhere = rule.url.replace("Custom-In", "Custom-None")
    check_refusal(api.http.post(nowhere, content=b"{", headers=rule.headers()), 400, "InvalidStream")


# Bodies that come in odd ways


def raw_connection(api: Api) -> ssl.SSLSocket:
    import socket

    url = httpx.URL(api.base)
    plain = socket.create_connection(("127.0.0.1", url.port or 443), timeout=30)
    return api.trust.wrap_socket(plain, server_hostname=url.host)


def request_head(rule: Rule, *headers: str) -> bytes:
    lines = [f"POST {rule.target} HTTP/1.1", f"Host: {httpx.URL(rule.api.base).netloc.decode()}"]
    lines += [f"{name}: {value}" for name, value in rule.headers().items()]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def read_answer(connection: ssl.SSLSocket) -> tuple[int, dict[str, str], bytes]:
    """One answer with its headers and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"closed before an answer: {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(first.split()[1]), headers, body


def closed_cleanly(connection: ssl.SSLSocket) -> bool:
    return connection.recv(1) == b""


def test_413_comes_though_the_client_writes_on_and_the_connection_goes_on(rule: Rule, beside: Sender) -> None:
    size = 12 * MIB
    with raw_connection(rule.api) as connection:
        connection.sendall(request_head(rule, f"Content-Length: {size}"))
        for _ in range(size // MIB):
            connection.sendall(b" " * MIB)
        status, headers, body = read_answer(connection)
        assert (status, headers["x-ms-error-code"]) == (413, "ContentLengthLimitExceeded")
        assert str(size) in json.loads(body)["error"]["message"]
        if headers.get("connection", "").lower() == "close":
            assert closed_cleanly(connection)
        else:
            connection.sendall(request_head(rule, "Content-Length: 2") + b"[]")
            assert read_answer(connection)[0] == 204


def test_413_for_a_body_of_unknown_length(rule: Rule, beside: Sender) -> None:
    with raw_connection(rule.api) as connection:
        connection.sendall(request_head(rule, "Transfer-Encoding: chunked"))
        for _ in range(6):
            connection.sendall(f"{MIB:x}\r\n".encode() + b" " * MIB + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        status, headers, _ = read_answer(connection)
        assert (status, headers["x-ms-error-code"]) == (413, "ContentLengthLimitExceeded")


def test_413_for_a_body_far_beyond_what_is_drained(rule: Rule, beside: Sender) -> None:
    """Nobody reads a gigabyte: the answer comes at once and the connection ends."""
    with raw_connection(rule.api) as connection:
        connection.sendall(request_head(rule, f"Content-Length: {1024 * MIB}") + b"[")
        status, headers, _ = read_answer(connection)
        assert (status, headers["x-ms-error-code"]) == (413, "ContentLengthLimitExceeded")
        assert headers["connection"].lower() == "close"


def test_chunked_bodies_are_taken(rule: Rule, beside: Sender) -> None:
    with raw_connection(rule.api) as connection:
        connection.sendall(request_head(rule, "Transfer-Encoding: chunked"))
        for piece in (b"[", b" ", b"]"):
            connection.sendall(b"1\r\n" + piece + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert read_answer(connection)[0] == 204


def test_refusals_leave_the_connection_usable(rule: Rule, beside: Sender) -> None:
    with raw_connection(rule.api) as connection:
        for body in (b"{", b"[1]", b"[{]"):
            connection.sendall(request_head(rule, f"Content-Length: {len(body)}") + body)
            assert read_answer(connection)[0] == 400
        connection.sendall(request_head(rule, "Content-Length: 2") + b"[]")
        assert read_answer(connection)[0] == 204


def test_expect_continue(rule: Rule, beside: Sender) -> None:
    with raw_connection(rule.api) as connection:
        connection.sendall(request_head(rule, "Content-Length: 2", "Expect: 100-continue"))
        status, _, _ = read_answer(connection)
        assert status == 100
        connection.sendall(b"[]")
        assert read_answer(connection)[0] == 204


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    ],
)
def test_what_is_not_http_ends_the_connection_alone(rule: Rule, beside: Sender, raw: bytes) -> None:
    with raw_connection(rule.api) as connection:
        try:
            connection.sendall(raw)
            answer = connection.recv(65536)
        except (ConnectionError, ssl.SSLError):
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 2"), answer
    assert not [word for word in INNER if word.encode() in answer]
    beside.wait_for_more()


def test_a_client_that_hangs_up_in_the_middle(rule: Rule, beside: Sender) -> None:
    for _ in range(10):
        with raw_connection(rule.api) as connection:
            connection.sendall(request_head(rule, "Content-Length: 100000") + b'[{"Id": "half')
    beside.wait_for_more()


def test_the_client_request_id_comes_back_when_asked_for(rule: Rule, beside: Sender) -> None:
    plain = "0f8fad5bd9cb469fa16570867728950e"
    answer = rule.post(b"[]", x_ms_client_request_id=plain, x_ms_return_client_request_id="true")
    assert answer.status_code == 204
    assert answer.headers["x-ms-client-request-id"] == "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert "x-ms-client-request-id" not in rule.post(b"[]", x_ms_client_request_id=plain).headers


def test_all_this_had_no_effect_on_others(api: Api, beside: Sender) -> None:
    """Last of the module: the sender beside got nothing but 204, and each of its rows is there once."""
    beside.wait_for_more()
    beside.stop()
    assert_once(api, "Bad_CL", beside)
    assert "never" not in {row[0] for row in api.rows("Bad_CL | distinct Id")}


def test_nothing_of_it_is_in_the_log(server: ServerProcess) -> None:
    text = server.log.read_text()
    assert "Traceback" not in text, text[-3000:]


# What is 204 though it is odd


def test_wrong_values_null_themselves_and_keep_their_rows(api: Api) -> None:
    stream = {"Id": "string", "Int": "int", "Long": "long", "Real": "real", "Bool": "boolean", "Date": "datetime",
              "Dyn": "dynamic"}  # fmt: skip
    api.make_table("Odd_CL", stream)
    rule = api.make_rule("odd", stream, "Odd_CL")
    body = (
        b'[{"Id":"wrong","Int":"x","Long":{},"Real":"y","Bool":"perhaps","Date":"yesterday","Dyn":"text","Unknown":[1,2]},'
        b'{"Id":"range","Int":3000000000,"Long":99999999999999999999,"Real":1e999,"Bool":7,"Date":"9999-99-99","Dyn":null},'
        b'{"Id":"right","Int":-5,"Long":9007199254740993,"Real":0.25,"Bool":true,"Date":"2026-01-31T12:00:00.1234567Z",'
        b'"Dyn":{"b":[1,{"a":null}]}},'
        b'{"Id":"first","Id":"second","Int":1,"Int":2},'
        b'{"id":"case","Int":"12"},{},'
        b'{"Id":"\\u0000\\ud83d\\ude00","Int":2.9}]'
    )
    answer = rule.post(body)
    assert answer.status_code == 204, answer.text
    eventually_count(api, "Odd_CL", 7)
    rows = {row[0]: row[1:] for row in api.rows("Odd_CL | project Id, Int, Long, Real, Bool, Date, Dyn")}
    assert rows["wrong"][:5] == [None, None, None, None, None]
    assert rows["wrong"][5] in ("text", '"text"')
    assert rows["range"][:2] == [None, None]
    assert rows["range"][3] is True
    assert rows["range"][4:] == [None, None]
    assert rows["right"][:4] == [-5, 9007199254740993, 0.25, True]
    assert rows["right"][4].startswith("2026-01-31T12:00:00.12345")
    assert json.loads(rows["right"][5]) == {"b": [1, {"a": None}]}
    assert rows["first"][0] == 1
    assert "second" not in rows
    assert rows["\x00\U0001f600"][0] == 2
    assert sorted(row[0] for row in api.rows('Odd_CL | where Id == "" | project Int') if row[0]) == [12]
    columns = api.query("Odd_CL | take 1").json()["tables"][0]["columns"]
    assert "Unknown" not in {column["name"] for column in columns}


def eventually_count(api: Api, table: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while (seen := api.value(f"{table} | count")) != count:
        assert time.monotonic() < deadline and seen < count, seen
        time.sleep(0.05)


def test_long_values_are_cut_and_kept(api: Api) -> None:
    api.make_table("Long_CL", {"Id": "string", "Text": "string"})
    rule = api.make_rule("long", {"Id": "string", "Text": "string"}, "Long_CL")
    text = "a" * (64 * 1024 - 1) + "\u20ac" + "b" * 1000
    rule.send([{"Id": "1", "Text": text}])
    eventually_count(api, "Long_CL", 1)
    kept: Any = api.value("Long_CL | project Text")
    assert len(kept.encode()) <= 64 * 1024
    assert text.startswith(kept)
    assert len(kept) >= 64 * 1024 - 1
