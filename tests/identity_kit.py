"""A small world of identity for tests: store, tenant, first app, endpoints, reached in process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from headrace.clock import SECOND, ManualClock
from headrace.identity.access import Access, load_access
from headrace.identity.admin import admin_routes
from headrace.identity.apps import add_secret, create_app
from headrace.identity.bootstrap import FirstApp, bootstrap
from headrace.identity.endpoint import TokenEndpoint, load_authority
from headrace.identity.explain_routes import explain_routes
from headrace.identity.key_routes import key_routes
from headrace.identity.routes import SignIn, identity_routes
from headrace.identity.surface import Admin
from headrace.identity.verify import TokenVerifier
from headrace.store.database import Database
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
BASE = "https://localhost:8443"
ADDRESSES = Addresses(BASE, ("localhost", "127.0.0.1", "::1"))


class Client:
    """An HTTP client of an application in this process, for code that is not asynchronous."""

    def __init__(self, runner: asyncio.Runner, app: Starlette) -> None:
        self._runner = runner
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._http.request(method, url, **options))

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)

    def together(self, *calls: tuple[str, dict[str, Any]]) -> list[httpx.Response]:
        """Several POSTs at once."""

        async def all_of_them() -> list[httpx.Response]:
            return await asyncio.gather(*(self._http.post(url, **options) for url, options in calls))

        return self._runner.run(all_of_them())

    def close(self) -> None:
        self._runner.run(self._http.aclose())


@dataclass
class World:
    """A store with a tenant and its first app, and everything of identity on top of it."""

    database: Database
    clock: ManualClock
    first: FirstApp
    view: LiveView[Access]
    verifier: TokenVerifier
    endpoint: TokenEndpoint
    client: Client
    published: list[int] = field(default_factory=list)

    @property
    def tenant(self) -> str:
        return self.first.tenant_id

    def form(self, **fields: str | None) -> dict[str, str]:
        """A good token request with the given fields put in, or left out where None."""
        good: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_id": self.first.app_id,
            "client_secret": self.first.secret,
            "scope": "https://monitor.azure.com/.default",
        }
        return {name: value for name, value in (good | fields).items() if value is not None}

    def token(self, path: str | None = None, **fields: str | None) -> str:
        """An access token, got over HTTP."""
        answer = self.client.post(path or f"/{self.tenant}/oauth2/v2.0/token", data=self.form(**fields))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def app(self, name: str = "sender") -> tuple[str, str, str]:
        """Another app: its app id, principal id and secret."""
        with self.database.write() as connection:
            made = create_app(connection, name, self.clock.now())
            secret = add_secret(connection, made.app_id, self.clock.now()).text
        self.view.refresh()
        return made.app_id, made.principal_id, secret

    def arm(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """A call of the admin surface as the first app, or with another token."""
        bearer = token or self.token(scope="https://management.azure.com/.default")
        return self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {bearer}"})


def make_store(folder: Path, now: int | None = None) -> tuple[FirstApp, int]:
    """A store in `folder` with tenant and first app; that app and the time it was made at.

    The time is the machine's, against which real clients check tokens.
    """
    made_at = int(time.time()) * SECOND if now is None else now
    database = Database.open(folder / "store.db")
    database.migrate()
    with database.write() as connection:
        first = bootstrap(connection, SUBSCRIPTION, made_at)
    database.close()
    return first, made_at


@contextmanager
def open_world(folder: Path, first: FirstApp, now: int) -> Iterator[World]:
    """The world of the store that `make_store` made."""
    clock = ManualClock(now)
    database = Database.open(folder / "store.db")
    view = LiveView(database, load_access, clock=clock)
    verifier = TokenVerifier(view, ADDRESSES, clock)
    published: list[int] = []

    async def publish(change: int) -> None:
        await asyncio.sleep(0)
        published.append(change)

    endpoint = TokenEndpoint(LiveView(database, load_authority, clock=clock), ADDRESSES, clock)
    admin = Admin(database, view, verifier, ADDRESSES, clock, publish)
    app = Starlette(
        routes=[
            *identity_routes(SignIn(endpoint, ADDRESSES, clock)),
            *admin_routes(admin),
            *key_routes(admin),
            *explain_routes(admin),
        ]
    )
    try:
        with asyncio.Runner() as runner:
            client = Client(runner, app)
            yield World(database, clock, first, view, verifier, endpoint, client, published)
            client.close()
    finally:
        database.close()
