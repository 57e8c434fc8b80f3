"""Bad queries over the wire, and what the way through the gateway must not let pass."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
from typing import Any

import httpx
import pytest

from tests.server.kit import INGEST_SCOPE, QUERY_SCOPE, Api, eventually
from tests.server.tokens import Forger

pytestmark = [pytest.mark.server]

INNER = ("Traceback", "duckdb", "DuckDB", "Binder Error", "sqlglot", ".py", "/tmp/")


@pytest.fixture(scope="module")
def table(api: Api) -> str:
    api.make_table("Asked_CL", {"Id": "string", "Number": "long"})
    return "Asked_CL"


def ask(api: Api, content: bytes | str, **headers: str) -> httpx.Response:
    url = f"{api.base}/v1/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query"
    given = {"Content-Type": "application/json"} | headers
    return api.http.post(url, content=content, headers=api.bearer(QUERY_SCOPE) | given)


def check_refused(answer: httpx.Response, status: int = 400, code: str = "BadArgumentError") -> str:
    assert answer.status_code == status, answer.text[:500]
    error = answer.json()["error"]
    assert error["code"] == code, error
    assert error["message"]
    assert not [word for word in INNER if word in answer.text], answer.text[:1000]
    return answer.text


def test_what_a_refusal_says_in_its_head(api: Api) -> None:
    url = f"{api.base}/v1/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query"
    missing = api.http.post(url, json={"query": "print 1"})
    authority = f"{api.base}/{api.env['AZURE_TENANT_ID']}"
    assert missing.headers["www-authenticate"] == f'Bearer authorization_uri="{authority}"'
    wrong = ask(api, '{"query": "Nothing | where"}')
    check_refused(wrong)
    assert wrong.headers["x-ms-error-code"] == "BadArgumentError"


def test_preferences_may_come_in_several_headers(api: Api) -> None:
    url = f"{api.base}/v1/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query"
    headers = [*api.bearer(QUERY_SCOPE).items(), ("Prefer", "wait=30"), ("Prefer", "include-statistics=true")]
    answer = api.http.post(url, json={"query": "print 1"}, headers=headers)
    assert list(answer.json()) == ["tables", "statistics"]


LONG = "range n from 1 to 2000 step 1 | project n, text = strcat('row ', n)"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/workspaces/{workspace}/query", {"query": LONG}),
        ("/v1/$batch", {"requests": [{"id": "1", "workspace": "{workspace}", "method": "POST", "path": "/query",
                                      "body": {"query": LONG}}]}),
        ("/v1/workspaces/{workspace}/metadata", {}),
        ("/v2/rest/query", {"db": "{workspace}", "csl": LONG}),
        ("/v1/rest/query", {"db": "{workspace}", "csl": LONG}),
    ],
)  # fmt: skip
def test_long_answers_come_in_gzip_to_who_takes_it(api: Api, path: str, body: dict[str, Any]) -> None:
    workspace = api.env["HEADRACE_WORKSPACE_ID"]
    url = api.base + path.format(workspace=workspace)
    content = json.dumps(body).replace("{workspace}", workspace)
    sizes = {}
    for accept in ("gzip", "identity"):
        headers = {"Accept-Encoding": accept, "Content-Type": "application/json"} | api.bearer(QUERY_SCOPE)
        with api.http.stream("POST", url, content=content, headers=headers) as answer:
            raw = b"".join(answer.iter_raw())
        assert answer.status_code == 200, raw[:500]
        assert answer.headers.get("content-encoding") == ("gzip" if accept == "gzip" else None)
        assert answer.headers["vary"] == "Accept-Encoding"
        assert int(answer.headers["content-length"]) == len(raw)
        json.loads(gzip.decompress(raw) if accept == "gzip" else raw)
        sizes[accept] = len(raw)
    assert sizes["gzip"] < sizes["identity"] / 2


def test_short_answers_come_as_they_are(api: Api) -> None:
    answer = api.query("print 1")
    assert "content-encoding" not in answer.headers
    assert "gzip" in answer.request.headers["accept-encoding"]


@pytest.mark.parametrize(
    "query", ['search "nowhere to be found"', "union * | take 0", 'find where Id == "none"']
)
def test_what_looks_at_all_tables_is_answered(api: Api, table: str, query: str) -> None:
    assert api.rows(query) == []


def test_a_tables_guids_are_strings_in_queries(api: Api) -> None:
    known = "74be27de-1e4e-49d9-b579-fe0b331d3642"
    api.make_table("Guids_CL", {"Number": "int", "Id": "guid"})
    transform = "source | extend TimeGenerated = now(), Id = toguid(Text) | project-away Text"
    rule = api.make_rule("guids", {"Number": "int", "Text": "string"}, "Guids_CL", transform)
    rule.send([{"Number": 1, "Text": known.upper()}, {"Number": 2, "Text": "none"}])
    eventually(lambda: api.value("Guids_CL | count"), lambda count: count == 2)
    answer = api.query("Guids_CL | order by Number asc | project Id, empty = isempty(Id), size = strlen(Id)")
    (result,) = answer.json()["tables"]
    assert result["columns"][0] == {"name": "Id", "type": "string"}
    assert result["rows"] == [[known, False, 36], ["", True, 0]]
    assert api.rows(f"Guids_CL | where Id == '{known}' | project Number") == [[1]]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", ()),
        ("Asked_CL | wher Id == 1", ("wher",)),
        ("Nowhere_CL", ("Nowhere_CL",)),
        ("Asked_CL | where Missing == 1", ("Missing",)),
        ("Asked_CL | where Number == 'text' | where", ()),
        ("Asked_CL | extend x = nofunction(1)", ("nofunction",)),
        ("Asked_CL | extend x = 'open", ()),
        ("read_parquet('/etc/passwd')", ()),
        ("externaldata(a:string)['/etc/passwd']", ()),
        ("Asked_CL; drop table x", ()),
        (".drop table Asked_CL", ()),
        ("print " + "(" * 5000 + "1" + ")" * 5000, ()),
        ("print " + "1+" * 5000 + "1", None),
        ("print " + "-" * 5000 + "1", None),
        ("Asked_CL" + " | where Number > 0" * 3000, None),
        ("print " + ",".join(f"c{number}=1" for number in range(5000)), None),
        ("let f = (x:long) { f(x) }; print f(1)", ()),
        ("\x00", ()),
        ("print '\ud83d'".encode("utf-16", "surrogatepass").decode("utf-16", "replace"), None),
        ("workspace('../..').Asked_CL", ()),
        ("range x from 1 to 1e18 step 1 | count", None),
    ],
    ids=lambda value: value[:30].encode("ascii", "replace").decode() if isinstance(value, str) else "",
)
def test_bad_queries(api: Api, table: str, query: str, words: tuple[str, ...] | None) -> None:
    """`words` None: whether it is refused is not the point, only that the answer is in words."""
    answer = ask(api, json.dumps({"query": query}), Prefer="wait=10")
    if words is None and answer.status_code == 200:
        return
    if words is None:
        assert answer.status_code in (400, 413, 504), answer.text[:500]
        assert answer.json()["error"]["code"]
        assert not [word for word in INNER if word in answer.text], answer.text[:1000]
        return
    text = check_refused(answer)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"null", b"7", b"\xff", b'{"query": 7}', b'{"timespan": "P1D"}', b'{"query": null}',
     b'{"query": "print 1", "timespan": "yesterday"}', b'{"query": "print 1", "workspaces": "x"}',
     b'{"query": "print 1", "workspaces": [{}]}', b'{"query":' * 10_000, b'{"query": "print 1", "timespan": 5}'],
)  # fmt: skip
def test_bad_bodies(api: Api, content: bytes) -> None:
    check_refused(ask(api, content))


def test_a_very_large_body(api: Api) -> None:
    answer = ask(api, b'{"query": "' + b"a" * (40 * 1024 * 1024) + b'"}')
    assert answer.status_code in (400, 413), answer.text[:300]
    assert answer.json()["error"]["code"]


def test_bad_tokens(api: Api) -> None:
    url = f"{api.base}/v1/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query"
    forger = Forger(api)
    for header in (None, "Bearer x", f"Bearer {forger.unsigned()}", f"Bearer {forger.expired()}",
                   f"Bearer {api.token(INGEST_SCOPE)}"):  # fmt: skip
        headers = {} if header is None else {"Authorization": header}
        answer = api.http.post(url, json={"query": "print 1"}, headers=headers)
        assert answer.status_code in (401, 403), answer.text
        assert answer.json()["error"]["code"]
        assert "rows" not in answer.text


def test_unknown_workspaces_and_paths(api: Api) -> None:
    bearer = api.bearer(QUERY_SCOPE)
    for path in ("workspaces/00000000-0000-0000-0000-000000000000/query", "workspaces/%2e%2e/query", "nothing",
                 "workspaces/x", "", "subscriptions/x/query"):  # fmt: skip
        answer = api.http.post(f"{api.base}/v1/{path}", json={"query": "print 1"}, headers=bearer)
        assert answer.status_code in (400, 403, 404), (path, answer.text)
        assert answer.json()["error"]["code"]


def test_paths_are_taken_in_any_case(api: Api) -> None:
    bearer = api.bearer(QUERY_SCOPE)
    customer = api.env["HEADRACE_WORKSPACE_ID"]
    for path in (f"V1/Workspaces/{customer.upper()}/Query", f"v1//workspaces/{customer}/query",
                 f"v1{api.workspace.upper()}/query", f"v1/{api.workspace}/query"):  # fmt: skip
        answer = api.http.post(f"{api.base}/{path}", json={"query": "print 1"}, headers=bearer)
        assert answer.status_code == 200, (path, answer.text)


def test_a_batch_with_bad_members(api: Api, table: str) -> None:
    workspace = api.env["HEADRACE_WORKSPACE_ID"]
    good = {
        "id": "1",
        "workspace": workspace,
        "method": "POST",
        "path": "/query",
        "body": {"query": "print 1"},
    }
    requests: list[Any] = [
        good,
        good | {"id": "2", "body": {"query": "nonsense("}},
        good | {"id": "3", "workspace": "none"},
        good | {"id": "4", "path": "/other"},
    ]
    url = f"{api.base}/v1/$batch"
    answer = api.http.post(url, json={"requests": requests}, headers=api.bearer(QUERY_SCOPE))
    assert answer.status_code == 200, answer.text
    by_id = {one["id"]: one for one in answer.json()["responses"]}
    assert by_id["1"]["status"] == 200
    assert {by_id[number]["status"] for number in "234"} <= {400, 403, 404}
    for number in "234":
        assert by_id[number]["body"]["error"]["code"]
        assert "tables" not in by_id[number]["body"]
    wrong: list[Any] = [{"requests": [good, good]}, {"requests": [7]}, {"requests": "x"}, {}, []]
    for bad in wrong:
        answer = api.http.post(url, json=bad, headers=api.bearer(QUERY_SCOPE))
        assert answer.status_code == 400, (bad, answer.text)
        assert answer.json()["error"]["code"] == "BadArgumentError"


# The way through the gateway


def exchange(api: Api, raw: bytes) -> bytes:
    """Everything that comes back for some bytes until the server hangs up or is silent for a second."""
    url = httpx.URL(api.base)
    plain = socket.create_connection(("127.0.0.1", url.port or 443), timeout=10)
    data = b""
    with api.trust.wrap_socket(plain, server_hostname=url.host) as connection:
        connection.sendall(raw)
        connection.settimeout(1.0)
        try:
            while piece := connection.recv(65536):
                data += piece
        except (TimeoutError, ConnectionError, ssl.SSLError):
            pass
    return data


def test_no_request_is_smuggled_through(api: Api) -> None:
    """What two readers could take for one request or for two reaches the processes behind as one or not at all."""
    inner = b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
    host = httpx.URL(api.base).netloc
    for framing in (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(inner),
        b"Content-Length: +0\r\n\r\n",
    ):
        raw = b"POST /subscriptions HTTP/1.1\r\nHost: " + host + b"\r\n" + framing + inner
        answers = exchange(api, raw)
        # At most the two answers that the gateway itself counts, each to a request of its own.
        assert answers.count(b"HTTP/1.1 ") <= 2
        assert b"Traceback" not in answers
    assert api.http.get(f"{api.base}/readyz").status_code == 200


def test_forwarding_headers_of_a_client_count_for_nothing(api: Api) -> None:
    headers = {"X-Forwarded-Host": "evil.test", "Forwarded": "host=evil.test", "X-Forwarded-Proto": "http"}
    tenant = api.env["AZURE_TENANT_ID"]
    url = f"{api.base}/{tenant}/v2.0/.well-known/openid-configuration"
    assert "evil" not in api.http.get(url, headers=headers).text
    assert "evil" not in api.http.get(url, headers={"Host": "evil.test"}).text
    assert api.http.get(url, headers={"Host": "evil.test"}).json()["token_endpoint"].startswith(api.base)


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", "/%00", "/..%2f..%2fetc/passwd", "/%ff%fe", "/a" * 4000]
)
def test_other_addresses(api: Api, path: str) -> None:
    answer = api.http.get(f"{api.base}{path}")
    assert answer.status_code in (200, 400, 401, 404, 414), answer.text[:200]
    assert "Traceback" not in answer.text
