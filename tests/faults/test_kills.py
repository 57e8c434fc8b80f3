"""kill -9 of any process, or of all, at seeded random moments under load: nothing is lost, nothing is doubled.

`HEADRACE_KILLS` says how often (30 by default, 1,000 in `make soak`), `HEADRACE_KILLS_SEED` chooses the moments.
"""

from __future__ import annotations

import contextlib
import os
import random
import ssl
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers import ServerProcess, start_server

KILLS = int(os.environ.get("HEADRACE_KILLS", "30"))
SENDERS = 4
ROWS = 7
SEED = int(os.environ.get("HEADRACE_KILLS_SEED", "20261123"))
_WAIT_SECONDS = 60.0

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(900 + 15 * KILLS),
    # Where the peer is killed between connect and handshake, Python's own `ssl` leaves the socket to the collector.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]

# Small limits, so that segments roll and tables commit many times within the test.
SETTINGS = {
    "HEADRACE_SERVER_GATEWAYS": "2",
    "HEADRACE_JOURNAL_SEGMENT_BYTES": "262144",
    "HEADRACE_TABLES_COMMIT_SECONDS": "0.3",
    "HEADRACE_TABLES_CHECKPOINT_COMMITS": "5",
}


class Sender(threading.Thread):
    """Posts rows with ids of its own until stopped; knows which were answered 204 and which were not.

    Every other sender repeats a call with its `x-ms-client-request-id` until it is answered, as the SDKs do; what
    the lost answer stood for may be in a journal already, and the repeat may come to another gateway's.
    """

    def __init__(self, world: World, number: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[str] = set()
        self.tried: set[str] = set()
        self.unexpected: list[int] = []
        self._world = world
        self._number = number

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            self._send_until_stopped(stack)

    def _send_until_stopped(self, stack: contextlib.ExitStack) -> None:
        serial = 0
        client: httpx.Client | None = None
        again = False
        while not self._world.stopping.is_set():
            serial += not again
            ids = [f"{self._number}-{serial}-{row}" for row in range(ROWS)]
            try:
                if client is None:
                    client = httpx.Client(verify=self._world.trust, timeout=10, trust_env=False)
                    stack.callback(client.close)
                token = self._world.token
                self.tried.update(ids)
                answer = client.post(
                    self._world.ingest_url,
                    json=[{"Id": identifier} for identifier in ids],
                    headers={"Authorization": f"Bearer {token}", **self._call_id(serial)},
                )
            except httpx.TransportError:
                client = None
                again = self._repeats
                time.sleep(0.01)
                continue
            again = self._repeats and answer.status_code != 204
            if answer.status_code == 204:
                self.acknowledged.update(ids)
            elif answer.status_code == 503:
                time.sleep(0.05)
            else:
                self.unexpected.append(answer.status_code)

    @property
    def _repeats(self) -> bool:
        return self._number % 2 == 0

    def _call_id(self, serial: int) -> dict[str, str]:
        return {"x-ms-client-request-id": f"{self._number}-{serial}"} if self._repeats else {}


class World:
    """A server in a folder of its own, its rule, and what senders need."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server = self._start("0")
        self.port = self.server.env["HEADRACE_ARM_URL"].rpartition(":")[2]
        self.stopping = threading.Event()
        self._set_up()

    def restart(self) -> None:
        self.server = self._start(self.port)

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.server.env["HEADRACE_CA_FILE"])

    def rows(self) -> Counter[str]:
        """How often each id stands in the table. Raises `httpx.HTTPError` while nothing answers."""
        env = self.server.env
        with httpx.Client(verify=self.trust, timeout=60, trust_env=False) as client:
            answer = client.post(
                f"{env['HEADRACE_QUERY_URL']}/workspaces/{env['HEADRACE_WORKSPACE_ID']}/query",
                json={"query": "Kill_CL | project Id"},
                headers={"Authorization": f"Bearer {self.query_token}"},
            )
            answer.raise_for_status()
            assert "error" not in answer.json()
            return Counter(row[0] for row in answer.json()["tables"][0]["rows"])

    def _start(self, port: str) -> ServerProcess:
        data = str(self._folder / "data")
        return start_server(self._folder, "--data-dir", data, "--port", port, "--quiet", variables=SETTINGS)

    def _set_up(self) -> None:
        env = self.server.env
        base = env["HEADRACE_ARM_URL"]
        self.token = self._token("https://monitor.azure.com/.default")
        self.query_token = self._token("https://api.loganalytics.io/.default")
        group = (
            f"/subscriptions/{env['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{env['HEADRACE_RESOURCE_GROUP']}"
        )
        workspace = (
            f"{group}/providers/Microsoft.OperationalInsights/workspaces/{env['HEADRACE_WORKSPACE_NAME']}"
        )
        columns = [{"name": "TimeGenerated", "type": "datetime"}, {"name": "Id", "type": "string"}]
        table = {"properties": {"schema": {"name": "Kill_CL", "columns": columns}}}
        self._put(f"{workspace}/tables/Kill_CL", "2022-10-01", table)
        rule_id = f"{group}/providers/Microsoft.Insights/dataCollectionRules/kills"
        properties = {
            "streamDeclarations": {"Custom-Kill": {"columns": [{"name": "Id", "type": "string"}]}},
            "destinations": {"logAnalytics": [{"workspaceResourceId": workspace, "name": "w"}]},
            "dataFlows": [
                {
                    "streams": ["Custom-Kill"],
                    "destinations": ["w"],
                    "transformKql": "source | extend TimeGenerated = now()",
                    "outputStream": "Custom-Kill_CL",
                }
            ],
        }
        body = {"location": env["HEADRACE_LOCATION"], "properties": properties}
        rule = self._put(rule_id, "2023-03-11", body)
        role = "/providers/Microsoft.Authorization/roleDefinitions/3913510d-42f4-4e42-8a64-420c390055eb"
        assignment = {"properties": {"roleDefinitionId": role, "principalId": env["HEADRACE_PRINCIPAL_ID"]}}
        path = f"{rule_id}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        self._put(path, "2022-04-01", assignment)
        immutable_id = rule["properties"]["immutableId"]
        self.ingest_url = (
            f"{base}/dataCollectionRules/{immutable_id}/streams/Custom-Kill?api-version=2023-01-01"
        )

    def _token(self, scope: str) -> str:
        env = self.server.env
        form = {
            "grant_type": "client_credentials",
            "client_id": env["AZURE_CLIENT_ID"],
            "client_secret": env["AZURE_CLIENT_SECRET"],
            "scope": scope,
        }
        url = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}/oauth2/v2.0/token"
        with httpx.Client(verify=self.trust, trust_env=False) as client:
            answer = client.post(url, data=form)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def _put(self, path: str, version: str, body: dict[str, Any]) -> Any:
        token = self._token("https://management.azure.com/.default")
        url = f"{self.server.env['HEADRACE_ARM_URL']}{path}?api-version={version}"
        with httpx.Client(verify=self.trust, trust_env=False) as client:
            answer = client.put(url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        assert answer.is_success, answer.text
        return answer.json()


def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    senders = [Sender(world, number) for number in range(SENDERS)]
    try:
        for sender in senders:
            sender.start()
        _kill_again_and_again(world, senders)
        world.stopping.set()
        for sender in senders:
            sender.join(30)
        acknowledged = set().union(*(sender.acknowledged for sender in senders))
        found = _settled(world, acknowledged)
    finally:
        world.stopping.set()
        if world.server.process.poll() is None:
            world.server.stop()
    assert not [code for sender in senders for code in sender.unexpected]
    assert len(acknowledged) > KILLS * ROWS, "too little was sent to prove anything"
    lost = acknowledged - set(found)
    doubled = {identifier for identifier, count in found.items() if count > 1}
    invented = set(found) - set().union(*(sender.tried for sender in senders))
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged rows are gone, e.g. {sorted(lost)[:5]}"
    assert not doubled, f"{len(doubled)} rows are there twice, e.g. {sorted(doubled)[:5]}"
    assert not invented


def _kill_again_and_again(world: World, senders: list[Sender]) -> None:
    moments = random.Random(SEED)
    for kill in range(KILLS):
        before = sum(len(sender.acknowledged) for sender in senders)
        time.sleep(moments.uniform(0.05, 0.6))
        victim = ("gateway", "engine", "all", "query", "engine", "gateway")[kill % 6]
        if victim == "all":
            world.server.kill_all()
            world.restart()
        else:
            for process in world.server.children(victim):
                process.kill()
        _wait_for_more(senders, before)


def _wait_for_more(senders: list[Sender], before: int) -> None:
    """Go on only when payloads are accepted again, so that each kill meets a server at work."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while sum(len(sender.acknowledged) for sender in senders) <= before:
        assert time.monotonic() < deadline, "nothing was accepted any more"
        time.sleep(0.01)


def _settled(world: World, wanted: set[str]) -> Counter[str]:
    """The table once it has every wanted id, or as it is when that does not come, and a second look after that."""
    deadline = time.monotonic() + _WAIT_SECONDS
    found: Counter[str] = Counter()
    while time.monotonic() < deadline and not wanted <= set(found):
        try:
            found = world.rows()
        except httpx.HTTPError:
            time.sleep(0.1)
    time.sleep(2.0)
    return world.rows()
