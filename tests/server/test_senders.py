"""What senders other than Azure's SDKs put on the wire: their token requests, headers and bodies, taken as they are."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from headrace.testing.local import LiveRule, LocalServer
from tests.servers import ServerProcess

pytestmark = pytest.mark.server

PREVIEW, STABLE = "2021-11-01-preview", "2023-01-01"


class Wire:
    """One HTTPS connection a call, with exactly the headers that are given."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self._context = ssl.create_default_context(cafile=variables["HEADRACE_CA_FILE"])

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        address = urlsplit(url)
        connection = http.client.HTTPSConnection(address.netloc, context=self._context, timeout=30)
        try:
            connection.putrequest("POST", f"{address.path}?{address.query}", skip_accept_encoding=True)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def token(self, path: str, form: str, **headers: str) -> dict[str, Any]:
        url = f"{self.variables['AZURE_AUTHORITY_HOST']}/{self.variables['AZURE_TENANT_ID']}/{path}"
        sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        status, body = self.post(url, form.encode(), sent)
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found


@pytest.fixture
def wire(server: ServerProcess) -> Wire:
    return Wire(server.env)


@pytest.fixture(scope="module")
def events(server: ServerProcess) -> Iterator[tuple[LocalServer, LiveRule]]:
    """A rule that takes what the senders here have in common."""
    local = LocalServer(server.env)
    local.create_table("Senders_CL", {"message": "string", "Event": "dynamic", "run": "string"})
    columns = {
        "timestamp": "datetime",
        "TimeGenerated": "datetime",
        "message": "string",
        "Event": "dynamic",
        "run": "string",
    }
    rule = {
        "properties": {
            "streamDeclarations": {
                "Custom-Senders": {
                    "columns": [{"name": name, "type": kind} for name, kind in columns.items()]
                }
            },
            "dataFlows": [
                {
                    "streams": ["Custom-Senders"],
                    "destinations": ["workspace"],
                    "outputStream": "Custom-Senders_CL",
                    "transformKql": "source | extend TimeGenerated = coalesce(TimeGenerated, timestamp)"
                    " | project-away timestamp",
                }
            ],
        }
    }
    yield local, local.apply_rule(rule, "senders")
    local.close()


def address(rule: LiveRule, version: str) -> str:
    return (
        f"{rule.endpoint}/dataCollectionRules/{rule.immutable_id}/streams/{rule.stream}?api-version={version}"
    )


def client(wire: Wire) -> tuple[str, str]:
    return wire.variables["AZURE_CLIENT_ID"], wire.variables["AZURE_CLIENT_SECRET"]


def test_logstash(wire: Wire, events: tuple[LocalServer, LiveRule]) -> None:
    """Its scope has two slashes, its user agent bars, and what it sends is gzip."""
    local, rule = events
    id, secret = client(wire)
    scope = quote("https://monitor.azure.com//.default", "")
    form = f"client_id={id}&scope={scope}&client_secret={secret}&grant_type=client_credentials"
    token = wire.token("oauth2/v2.0/token", form)
    assert isinstance(token["expires_in"], int), "the plugin adds it to a time"
    run = str(uuid.uuid4())
    body = json.dumps(
        [{"message": "from logstash", "run": run, "@version": "1", "ls_timestamp": "2026-01-01T00:00:00Z"}]
    )
    headers = {
        "Accept": "*/*",
        "Accept-Encoding": "gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
        "User-Agent": "SentinelLogstashPlugin|1.2.0|linux x86_64|jruby/9.4.8.0 (3.1.4p0)",
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
        "Authorization": f"Bearer {token['access_token']}",
    }
    assert wire.post(address(rule, STABLE), gzip.compress(body.encode()), headers) == (204, b"")
    local.expect(f"Senders_CL | where run == '{run}'", [{"message": "from logstash"}])


def test_vector(wire: Wire, events: tuple[LocalServer, LiveRule]) -> None:
    """It asks whether all is well by a call without rows, which must be answered 204."""
    local, rule = events
    id, secret = client(wire)
    form = urlencode(
        {
            "scope": "https://monitor.azure.com/.default",
            "client_id": id,
            "client_secret": secret,
            "grant_type": "client_credentials",
        }
    )
    token = wire.token("oauth2/v2.0/token", form)["access_token"]
    headers = {
        "content-type": "application/json",
        "authorization": f"Bearer {token}",
        "user-agent": "Vector/0.50.0",
    }
    assert wire.post(address(rule, STABLE), b"[]", headers) == (204, b"")
    run = str(uuid.uuid4())
    rows = [
        {"message": f"line {number}", "run": run, "TimeGenerated": f"2026-01-01T00:00:00.00000{number}Z"}
        for number in range(3)
    ]
    assert wire.post(address(rule, STABLE), json.dumps(rows).encode(), headers) == (204, b"")
    local.expect(
        f"Senders_CL | where run == '{run}' | sort by message asc",
        [{"message": row["message"]} for row in rows],
    )


def test_serilog(wire: Wire, events: tuple[LocalServer, LiveRule]) -> None:
    """What .NET's StringContent says of its text, and a time with seven decimals."""
    local, rule = events
    id, secret = client(wire)
    form = urlencode(
        {
            "client_id": id,
            "scope": "https://monitor.azure.com/.default",
            "client_secret": secret,
            "grant_type": "client_credentials",
        }
    )
    token = wire.token("oauth2/v2.0/token", form)["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}
    run = str(uuid.uuid4())
    now = local.query("print now()")[0]["print_0"]
    row = {
        "TimeGenerated": f"{now[:19]}.1234567Z",
        "Event": {"Level": "Information", "Properties": {"Größe": 7}},
        "Message": "not declared",
        "message": "from serilog",
        "run": run,
    }
    body = json.dumps([row], ensure_ascii=False).encode()
    assert wire.post(address(rule, STABLE), body, headers) == (204, b"")
    expected = {"TimeGenerated": f"{now[:19]}.123456Z", "Size": 7, "message": "from serilog"}
    local.expect(
        f"Senders_CL | where run == '{run}' | extend Size = toint(Event.Properties['Größe'])", [expected]
    )


@pytest.mark.parametrize(
    "scope", ["https://monitor.azure.com//.default", "https://monitor.azure.com/.default"]
)
def test_powershell(wire: Wire, events: tuple[LocalServer, LiveRule], scope: str) -> None:
    """Its escapes are in lower case, and Windows' own PowerShell waits for 100 Continue."""
    local, rule = events
    id, secret = client(wire)
    escaped = scope.replace(":", "%3a").replace("/", "%2f")
    form = f"client_id={id}&scope={escaped}&client_secret={secret}&grant_type=client_credentials"
    token = wire.token("oauth2/v2.0/token", form, Expect="100-continue", Connection="Keep-Alive")[
        "access_token"
    ]
    headers = {
        "User-Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json; charset=utf-8",
        "Expect": "100-continue",
    }
    run = str(uuid.uuid4())
    body = json.dumps([{"message": "from PowerShell", "run": run}], indent=4).replace("\n", "\r\n").encode()
    assert wire.post(address(rule, PREVIEW), body, headers) == (204, b"")
    local.expect(f"Senders_CL | where run == '{run}'", [{"message": "from PowerShell"}])


def test_powershell_with_one_record(wire: Wire, events: tuple[LocalServer, LiveRule]) -> None:
    """`ConvertTo-Json` makes an object of a list with one member, which Azure takes and loses."""
    _, rule = events
    id, secret = client(wire)
    form = f"client_id={id}&scope=https%3a%2f%2fmonitor.azure.com%2f%2f.default&client_secret={secret}"
    token = wire.token("oauth2/v2.0/token", f"{form}&grant_type=client_credentials")["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    status, answer = wire.post(address(rule, STABLE), b'{"message": "alone"}', headers)
    assert status == 400
    assert "array" in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize("resource", ["https://monitor.azure.com", "https://monitor.azure.com/"])
def test_the_older_token_endpoint(wire: Wire, events: tuple[LocalServer, LiveRule], resource: str) -> None:
    """Scripts from before v2.0 name a resource; their answer has its numbers as texts."""
    local, rule = events
    id, secret = client(wire)
    form = urlencode(
        {"grant_type": "client_credentials", "client_id": id, "client_secret": secret, "resource": resource}
    )
    token = wire.token("oauth2/token", form)
    assert token["expires_in"].isdigit() and token["expires_on"].isdigit()
    headers = {"Authorization": f"Bearer {token['access_token']}", "Content-Type": "application/json"}
    run = str(uuid.uuid4())
    body = json.dumps([{"message": "v1", "run": run}]).encode()
    assert wire.post(address(rule, STABLE), body, headers) == (204, b"")
    local.expect(f"Senders_CL | where run == '{run}'", [{"message": "v1"}])


def test_a_body_in_chunks(wire: Wire, events: tuple[LocalServer, LiveRule]) -> None:
    """As `curl -T -`, Go's readers and Java's streams send: without a length."""
    local, rule = events
    with local.credential() as credential:
        token = credential.get_token("https://monitor.azure.com/.default").token
    run = str(uuid.uuid4())
    rows = gzip.compress(json.dumps([{"message": "in chunks", "run": run}] * 3).encode())
    chunks = [rows[:1], rows[1:20], rows[20:]]
    body = b"".join(b"%x;note=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    url = urlsplit(address(rule, STABLE))
    context = ssl.create_default_context(cafile=wire.variables["HEADRACE_CA_FILE"])
    connection = http.client.HTTPSConnection(url.netloc, context=context, timeout=30)
    connection.putrequest("POST", f"{url.path}?{url.query}")
    for name, value in {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Encoding": "GZIP",
        "Transfer-Encoding": "chunked",
    }.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (204, b"")
    connection.close()
    local.expect(f"Senders_CL | where run == '{run}'", [{"message": "in chunks"}] * 3)
