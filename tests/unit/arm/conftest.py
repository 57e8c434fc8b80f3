"""A control plane on a real store, with real tokens, spoken to over HTTP inside this process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from headrace.arm.bootstrap import Sample, bootstrap_sample
from headrace.arm.cloud import cloud_routes
from headrace.arm.model import Activity, ArmDeps
from headrace.arm.routes import arm_routes
from headrace.catalog.model import Catalog
from headrace.catalog.rules import Rule, RuleLimits
from headrace.clock import SECOND, ManualClock
from headrace.errors import Problem
from headrace.identity import keys
from headrace.identity.access import Access, load_access
from headrace.identity.apps import create_app
from headrace.identity.assignments import assign
from headrace.identity.bootstrap import FirstApp, bootstrap
from headrace.identity.graph import Graph, graph_routes
from headrace.identity.tokens import Grant, issue
from headrace.identity.verify import TokenVerifier
from headrace.store.database import Database
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
BASE = "https://localhost:8443"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
WORKSPACE = f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/work1"
ENDPOINT = f"{GROUP}/providers/Microsoft.Insights/dataCollectionEndpoints/dce1"
RULE = f"{GROUP}/providers/Microsoft.Insights/dataCollectionRules/dcr1"
COLUMNS = [{"name": "TimeGenerated", "type": "dateTime"}, {"name": "Message", "type": "string"}]


def table_body(*columns: tuple[str, str], **properties: Any) -> dict[str, Any]:
    listed = [{"name": name, "type": kind} for name, kind in columns]
    return {"properties": {"schema": {"columns": [*COLUMNS, *listed]}, **properties}}


def rule_body(**changes: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "streamDeclarations": {"Custom-My": {"columns": [{"name": "Time", "type": "datetime"}]}},
        "destinations": {"logAnalytics": [{"workspaceResourceId": WORKSPACE, "name": "la"}]},
        "dataFlows": [
            {
                "streams": ["Custom-My"],
                "destinations": ["la"],
                "transformKql": "source | project TimeGenerated = Time",
                "outputStream": "Custom-My_CL",
            }
        ],
    }
    return {"location": "eastus", "properties": {**properties, **changes}}


@dataclass
class World:
    """The parts, and a client that calls as the first app unless another token is given."""

    database: Database
    clock: ManualClock
    first: FirstApp
    view: LiveView[Access]
    deps: ArmDeps
    runner: asyncio.Runner
    http: httpx.AsyncClient
    published: list[int] = field(default_factory=list)
    faults: list[Problem] = field(default_factory=list)
    validated: list[tuple[Rule, Catalog]] = field(default_factory=list)
    tokens: dict[tuple[str, str, int], str] = field(default_factory=dict)
    activity: list[Activity] = field(default_factory=list)
    noted: list[Activity] = field(default_factory=list)

    def token(
        self, app_id: str = "", principal_id: str = "", audience: str = "https://management.azure.com"
    ) -> str:
        app_id, principal_id = app_id or self.first.app_id, principal_id or self.first.principal_id
        wanted = (app_id, audience, self.clock.now())
        if wanted not in self.tokens:
            with self.database.read() as connection:
                key = keys.load_signing(connection)
            assert key is not None
            grant = Grant(self.first.tenant_id, app_id, principal_id, audience, "1")
            self.tokens[wanted] = issue(key, grant, self.clock.now() // SECOND)
        return self.tokens[wanted]

    def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        version: str | None = "2023-03-11",
        headers: dict[str, str] | None = None,
        token: str | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        url = path if path.startswith("http") else BASE + path
        if version is not None and "api-version" not in url and "api%2D" not in url:
            url += ("&" if "?" in url else "?") + f"api-version={version}"
        sent = {"Authorization": f"Bearer {token or self.token()}", **(headers or {})}
        body: dict[str, Any] = {"json": json} if json is not None else {"content": content}
        return self.runner.run(self.http.request(method, url, headers=sent, **body))

    def put(self, path: str, json: Any = None, **options: Any) -> Any:
        response = self.call("PUT", path, json if json is not None else {}, **options)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def get(self, path: str, **options: Any) -> Any:
        response = self.call("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def other_app(self, *roles: tuple[str, str]) -> str:
        """The token of a new app that has the given (role, scope)s."""
        with self.database.write() as connection:
            app = create_app(connection, "other", self.clock.now())
            for role, scope in roles:
                now = self.clock.now()
                assign(
                    connection,
                    scope=scope,
                    role=role,
                    principal_id=app.principal_id,
                    by=app.principal_id,
                    now=now,
                )
        return self.token(app.app_id, app.principal_id)

    def basics(self) -> None:
        """A group, a workspace and the table My_CL."""
        self.put(GROUP, {"location": "eastus"})
        self.put(WORKSPACE, {"location": "eastus", "properties": {"sku": {"name": "PerGB2018"}}})
        self.put(f"{WORKSPACE}/tables/My_CL", table_body())


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FirstApp]:
    """A store after its first start: making keys and secrets takes a while, copying the file does not."""
    path = tmp_path_factory.mktemp("started") / "store.db"
    database = Database.open(path)
    database.migrate()
    now = ManualClock().now()
    with database.write() as connection:
        first = bootstrap(connection, SUBSCRIPTION, now)
        by = first.principal_id
        assign(connection, scope="/", role="Owner", principal_id=by, by=by, now=now)
    database.close()
    return path, first


@pytest.fixture
def world(tmp_path: Path, started: tuple[Path, FirstApp]) -> Iterator[World]:
    source, first = started
    clock = ManualClock()
    shutil.copy(source, tmp_path / "store.db")
    database = Database.open(tmp_path / "store.db")
    view: LiveView[Access] = LiveView(database, load_access, clock=clock)
    addresses = Addresses(BASE, frozenset({"localhost", "other.example"}))
    published: list[int] = []
    faults: list[Problem] = []
    validated: list[tuple[Rule, Catalog]] = []

    async def publish(change: int) -> None:
        published.append(change)

    def validate(rule: Rule, catalog: Catalog) -> tuple[Problem, ...]:
        validated.append((rule, catalog))
        return tuple(faults)

    verifier = TokenVerifier(view, addresses, clock)
    activity: list[Activity] = []
    noted: list[Activity] = []

    def logged(since: int | None, until: int | None) -> list[Activity]:
        wanted = [
            one
            for one in activity
            if (since is None or one.time >= since) and (until is None or one.time <= until)
        ]
        return sorted(wanted, key=lambda one: one.time, reverse=True)

    deps = ArmDeps(
        database,
        verifier,
        view,
        addresses,
        clock,
        validate,
        publish,
        None,
        RuleLimits(),
        logged,
        note=noted.append,
    )
    graph = Graph(database, view, verifier, addresses)
    clouds = cloud_routes(addresses, lambda: view.current.tenant)
    app = Starlette(routes=[*clouds, *graph_routes(graph), *arm_routes(deps)])
    runner = asyncio.Runner()
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))
    made = World(
        database,
        clock,
        first,
        view,
        deps,
        runner,
        http,
        published,
        faults,
        validated,
        activity=activity,
        noted=noted,
    )
    made.put(f"/subscriptions/{SUBSCRIPTION}", {"displayName": "Test"})
    try:
        yield made
    finally:
        runner.run(http.aclose())
        runner.close()
        database.close()


MakeSample = Callable[[], Sample]


@pytest.fixture
def make_sample(world: World) -> MakeSample:
    def make() -> Sample:
        return bootstrap_sample(
            world.deps,
            subscription=SUBSCRIPTION,
            principal_id=world.first.principal_id,
            app_id=world.first.app_id,
            tenant=world.first.tenant_id,
        )

    return make
