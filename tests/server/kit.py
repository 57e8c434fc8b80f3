"""Raw HTTP against a real server: nothing between a test and the wire but httpx."""

from __future__ import annotations

import ssl
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from tests.servers import ServerProcess

T = TypeVar("T")

PUBLISHER_ROLE = "3913510d-42f4-4e42-8a64-420c390055eb"
INGEST_SCOPE = "https://monitor.azure.com/.default"
ARM_SCOPE = "https://management.azure.com/.default"
QUERY_SCOPE = "https://api.loganalytics.io/.default"
WAIT_SECONDS = 60.0
TABLES = "2022-10-01"
INSIGHTS = "2023-03-11"


def eventually(look: Callable[[], T], good: Callable[[T], bool], seconds: float = WAIT_SECONDS) -> T:
    """What `look` gives once it is good; fails with the last look when that does not come."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if good(seen):
            return seen
        assert time.monotonic() < deadline, f"still not as wanted: {seen!r}"
        time.sleep(0.05)


class Api:
    """One server's surfaces, called as a stranger would call them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self.base = env["HEADRACE_ARM_URL"]
        self.trust = ssl.create_default_context(cafile=env["HEADRACE_CA_FILE"])
        self.http = httpx.Client(verify=self.trust, timeout=60, trust_env=False)
        self._tokens: dict[str, str] = {}

    def close(self) -> None:
        self.http.close()

    # Identity

    def ask_token(self, scope: str, **form: str) -> httpx.Response:
        env = self.env
        fields = {
            "grant_type": "client_credentials",
            "client_id": env["AZURE_CLIENT_ID"],
            "client_secret": env["AZURE_CLIENT_SECRET"],
            "scope": scope,
        } | form
        url = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}/oauth2/v2.0/token"
        return self.http.post(url, data=fields)

    def token(self, scope: str) -> str:
        if scope not in self._tokens:
            answer = self.ask_token(scope)
            assert answer.status_code == 200, answer.text
            self._tokens[scope] = answer.json()["access_token"]
        return self._tokens[scope]

    def bearer(self, scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(scope)}"}

    # Control plane

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.env['AZURE_SUBSCRIPTION_ID']}"

    @property
    def group(self) -> str:
        return f"{self.subscription}/resourceGroups/{self.env['HEADRACE_RESOURCE_GROUP']}"

    @property
    def workspace(self) -> str:
        return workspace_id(self.group, self.env["HEADRACE_WORKSPACE_NAME"])

    def rule_id(self, name: str) -> str:
        return f"{self.group}/providers/Microsoft.Insights/dataCollectionRules/{name}"

    def arm(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str = INSIGHTS,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> httpx.Response:
        return self.http.request(
            method,
            f"{self.base}{path}",
            json=body,
            params={"api-version": version, **query},
            headers=self.bearer(ARM_SCOPE) | dict(headers or {}),
        )

    def put(self, path: str, body: Any, version: str = INSIGHTS) -> Any:
        answer = self.arm("PUT", path, body, version=version)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def delete(self, path: str, version: str = INSIGHTS) -> None:
        answer = self.arm("DELETE", path, version=version)
        assert answer.status_code == 200, answer.text

    def make_workspace(self, name: str, group: str | None = None) -> tuple[str, str]:
        """The ARM id and the customer id."""
        path = workspace_id(group or self.group, name)
        made = self.put(path, {"location": self.env["HEADRACE_LOCATION"], "properties": {}}, "2023-09-01")
        return path, made["properties"]["customerId"]

    def make_table(self, name: str, columns: Mapping[str, str], workspace: str | None = None) -> str:
        path = f"{workspace or self.workspace}/tables/{name}"
        listed = [{"name": "TimeGenerated", "type": "datetime"}]
        listed += [{"name": column, "type": kind} for column, kind in columns.items()]
        self.put(path, {"properties": {"schema": {"name": name, "columns": listed}}}, TABLES)
        return path

    def make_rule(
        self,
        name: str,
        stream: Mapping[str, str],
        table: str,
        transform: str = "source | extend TimeGenerated = now()",
        workspace: str | None = None,
        *,
        grant: bool = True,
        kind: str | None = None,
    ) -> Rule:
        """A rule with the one stream `Custom-In`; the first application may send to it."""
        path = self.rule_id(name)
        body = rule_body(self, stream, table, transform, workspace or self.workspace)
        made = self.put(path, body if kind is None else body | {"kind": kind})
        if grant:
            self.grant(path)
        return Rule(self, path, made["properties"]["immutableId"], "Custom-In")

    def grant(self, scope: str, principal: str | None = None, role: str = PUBLISHER_ROLE) -> str:
        """Assign a role and answer the assignment's id."""
        definition = f"{self.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        properties = {
            "roleDefinitionId": definition,
            "principalId": principal or self.env["HEADRACE_PRINCIPAL_ID"],
            "principalType": "ServicePrincipal",
        }
        self.put(path, {"properties": properties}, "2022-04-01")
        return path

    # Queries

    def query(self, text: str, workspace: str | None = None) -> httpx.Response:
        return self.http.post(
            f"{self.base}/v1/workspaces/{workspace or self.env['HEADRACE_WORKSPACE_ID']}/query",
            json={"query": text},
            headers=self.bearer(QUERY_SCOPE),
        )

    def rows(self, text: str, workspace: str | None = None) -> list[list[Any]]:
        answer = self.query(text, workspace)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert "error" not in document, document["error"]
        rows: list[list[Any]] = document["tables"][0]["rows"]
        return rows

    def value(self, text: str, workspace: str | None = None) -> Any:
        return self.rows(text, workspace)[0][0]


def workspace_id(group: str, name: str) -> str:
    return f"{group}/providers/Microsoft.OperationalInsights/workspaces/{name}"


def rule_body(
    api: Api, stream: Mapping[str, str], table: str, transform: str, workspace: str
) -> dict[str, Any]:
    columns = [{"name": name, "type": kind} for name, kind in stream.items()]
    flow = {
        "streams": ["Custom-In"],
        "destinations": ["there"],
        "transformKql": transform,
        "outputStream": f"Custom-{table}",
    }
    return {
        "location": api.env["HEADRACE_LOCATION"],
        "properties": {
            "streamDeclarations": {"Custom-In": {"columns": columns}},
            "destinations": {"logAnalytics": [{"workspaceResourceId": workspace, "name": "there"}]},
            "dataFlows": [flow],
        },
    }


class Rule:
    """A rule to send to."""

    def __init__(self, api: Api, path: str, immutable_id: str, stream: str) -> None:
        self.api = api
        self.path = path
        self.immutable_id = immutable_id
        self.stream = stream

    @property
    def target(self) -> str:
        return f"/dataCollectionRules/{self.immutable_id}/streams/{self.stream}?api-version=2023-01-01"

    @property
    def url(self) -> str:
        return f"{self.api.base}{self.target}"

    def headers(self, **more: str) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return self.api.bearer(INGEST_SCOPE) | {"Content-Type": "application/json"} | named

    def post(self, content: bytes, **headers: str) -> httpx.Response:
        return self.api.http.post(self.url, content=content, headers=self.headers(**headers))

    def send(self, rows: Sequence[Mapping[str, Any]]) -> None:
        answer = self.api.http.post(self.url, json=list(rows), headers=self.headers())
        assert answer.status_code == 204, answer.text


class Sender(threading.Thread):
    """Sends rows with ids of its own (column `Id`) until stopped; keeps what was answered 204 and what else.

    With `patient`, answers 503 and broken connections are no failures: the payload is then neither sent nor not.
    """

    def __init__(self, rule: Rule, name: str, *, rows: int = 5, patient: bool = False) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[str] = set()
        self.tried: set[str] = set()
        self.failures: list[str] = []
        self._rule = rule
        self._name = name
        self._rows = rows
        self._patient = patient
        self._done = threading.Event()

    def run(self) -> None:
        serial = 0
        rule = self._rule
        with httpx.Client(verify=rule.api.trust, timeout=30, trust_env=False) as client:
            while not self._done.is_set():
                serial += 1
                ids = [f"{self._name}-{serial}-{number}" for number in range(self._rows)]
                self.tried.update(ids)
                try:
                    answer = client.post(rule.url, json=[{"Id": one} for one in ids], headers=rule.headers())
                except httpx.TransportError as error:
                    self._failed(repr(error), self._patient)
                    continue
                if answer.status_code == 204:
                    self.acknowledged.update(ids)
                else:
                    self._failed(answer.text, self._patient and answer.status_code == 503)

    def _failed(self, what: str, expected: bool) -> None:
        if not expected:
            self.failures.append(what)
        time.sleep(0.02)

    def stop(self) -> None:
        self._done.set()
        self.join(60)

    def wait_for_more(self, count: int = 1) -> None:
        """Return once `count` rows more were accepted."""
        wanted = len(self.acknowledged) + count
        eventually(lambda: len(self.acknowledged), lambda seen: seen >= wanted)


@contextmanager
def sending(rule: Rule, name: str, *, rows: int = 5, patient: bool = False) -> Iterator[Sender]:
    """A sender beside the block."""
    sender = Sender(rule, name, rows=rows, patient=patient)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()


def ids_of(api: Api, table: str, workspace: str | None = None) -> Counter[str]:
    """How often each id stands in a table."""
    return Counter(row[0] for row in api.rows(f"{table} | project Id", workspace))


def assert_once(api: Api, table: str, sender: Sender) -> None:
    """All that was accepted is in the table, once; nothing that was not sent is."""
    assert not sender.failures, sender.failures[:3]
    assert sender.acknowledged, "nothing was sent"
    found = eventually(lambda: ids_of(api, table), lambda seen: sender.acknowledged <= set(seen))
    assert not [one for one, count in found.items() if count > 1]
    assert set(found) <= sender.tried


@contextmanager
def api_of(server: ServerProcess) -> Iterator[Api]:
    api = Api(server.env)
    try:
        yield api
    finally:
        api.close()
