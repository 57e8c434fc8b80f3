"""A gateway with a real store, real tokens and a real journal, driven by ASGI in process."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from sqlalchemy import insert
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.clock import SECOND, Clock, ManualClock, SystemClock
from headrace.disk import RealDisk
from headrace.identity.access import load_access
from headrace.identity.apps import App, create_app
from headrace.identity.assignments import assign
from headrace.identity.keys import create_signing_key, load_signing
from headrace.identity.store import tenant as tenant_table
from headrace.identity.tokens import Grant, issue
from headrace.identity.verify import TokenVerifier
from headrace.ingest.intake import Intake
from headrace.ingest.model import Dropped, Refusal
from headrace.ingest.routes import Gateway
from headrace.ingest.throttle import Throttle
from headrace.journal.files import FileJournal, FileJournalReader
from headrace.journal.model import JournalWriter, Record
from headrace.observe import log_errors
from headrace.settings import IngestSettings, JournalSettings, Settings
from headrace.store.database import Database
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses

TENANT = "11111111-2222-4333-8444-555555555555"
INGESTION_AUDIENCE = "https://monitor.azure.com"
VERSION = b"api-version=2023-01-01"
ROW = {"TimeGenerated": "2026-01-31T12:00:00Z", "RawData": "a line"}
ADDRESSES = Addresses("https://localhost:8443", ("localhost", "127.0.0.1"))


@dataclass(frozen=True, slots=True)
class Head:
    """A rule as the gateway sees it."""

    immutable_id: str
    resource_id: str
    version: int
    streams: tuple[str, ...]


def head(number: int = 1, streams: tuple[str, ...] = ("Custom-MyTable_CL", "Custom-Other")) -> Head:
    """A rule of its own resource id."""
    return Head(
        f"dcr-{number:032x}",
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g"
        f"/providers/Microsoft.Insights/dataCollectionRules/rule{number}",
        7,
        streams,
    )


@dataclass
class Rules:
    """A view of the rules whose age the test sets."""

    current: Mapping[str, Head]
    seconds: float = 0.0

    def age(self) -> float:
        """Seconds since the last look."""
        return self.seconds


@dataclass
class Notes:
    """An observer that keeps everything."""

    records: list[Record] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    drops: list[Dropped] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)

    def accepted(self, record: Record) -> None:
        """Kept."""
        self.records.append(record)

    def answered(self, rule: str, stream: str) -> None:
        """Kept."""
        self.answers.append((rule, stream))

    def refused(self, refusal: Refusal) -> None:
        """Kept."""
        self.refusals.append(refusal)

    def dropped(self, dropped: Dropped) -> None:
        """Kept."""
        self.drops.append(dropped)


@dataclass(frozen=True)
class Answer:
    """What came back. `taken` are the body's bytes that the application took in before it began to answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    taken: int

    def header(self, name: str) -> str | None:
        """The header's value."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, whose shape is checked."""
        document = msgspec.json.decode(self.body)
        assert set(document) == {"error"}
        error: dict[str, Any] = document["error"]
        assert error["code"] == self.header("x-ms-error-code")
        assert error["message"]
        assert self.header("content-type") == "application/json; charset=utf-8"
        return error


async def call(
    app: ASGIApp,
    *,
    method: str = "POST",
    path: bytes = b"/",
    query: bytes = b"",
    headers: Iterable[tuple[bytes, bytes]] = (),
    pieces: Sequence[bytes] = (b"",),
    hang: bool = False,
    gone: bool = False,
    http_version: str = "1.1",
) -> Answer | None:
    """One request by ASGI. The body comes in `pieces`; after them the client waits for the answer, or sends
    nothing more (`hang`), or hangs up (`gone`). None when it got no answer.
    """
    sent: list[Message] = []
    left = list(pieces)
    more = hang or gone
    taken = 0
    done = asyncio.Event()

    async def receive() -> Message:
        nonlocal taken
        if left:
            piece = left.pop(0)
            taken += len(piece)
            return {"type": "http.request", "body": piece, "more_body": bool(left) or more}
        if not gone:
            await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "http_version": http_version,
        "method": method,
        "scheme": "https",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "client": ("127.0.0.9", 5),
        "headers": list(headers),
    }
    await app(scope, receive, send)
    done.set()
    if not sent:
        return None
    start, *bodies = sent
    assert not bodies[-1].get("more_body", False)
    names = [(name.decode(), value.decode()) for name, value in start["headers"]]
    return Answer(start["status"], names, b"".join(b.get("body", b"") for b in bodies), taken)


class Tenant:
    """A store with one tenant, a signing key, and apps."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.database = Database.open(folder / "store.db")
        self.database.migrate()
        with self.database.write() as connection:
            connection.execute(
                insert(tenant_table).values(id=1, tenant_id=TENANT, home_subscription=None, created=0)
            )
            create_signing_key(connection, self.clock.now())
        # On a clock of its own that stands still: however slow the test, the view does not grow old.
        self.view_clock = ManualClock()
        self.access = LiveView(self.database, load_access, clock=self.view_clock)
        self.verifier = TokenVerifier(self.access, ADDRESSES, self.clock)

    def app(self, *rules: Head, role: str = "Monitoring Metrics Publisher") -> App:
        """An app with the role on each of the rules."""
        with self.database.write() as connection:
            app = create_app(connection, f"app {uuid.uuid4()}", self.clock.now())
            for rule in rules:
                assign(
                    connection,
                    scope=rule.resource_id,
                    role=role,
                    principal_id=app.principal_id,
                    by="test",
                    now=self.clock.now(),
                )
        self.access.refresh()
        return app

    def token(self, app: App, audience: str = INGESTION_AUDIENCE, ago: int = 0) -> str:
        """A token of the app, issued so many seconds ago."""
        with self.database.read() as connection:
            key = load_signing(connection)
        assert key is not None
        grant = Grant(TENANT, app.app_id, app.principal_id, audience, "1")
        return issue(key, grant, self.clock.now() // SECOND - ago)

    def close(self) -> None:
        """Close the store."""
        self.database.close()


class World:
    """A tenant's gateway with one rule, its own journal, and an app that may send."""

    def __init__(
        self,
        folder: Path,
        tenant: Tenant,
        *,
        ingest: Mapping[str, Any] | None = None,
        mode: Literal["headrace", "compatible"] = "headrace",
        journal: JournalWriter | None = None,
        proxy: ASGIApp | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self.rule = head()
        self.tenant = tenant
        self.app = tenant.app(self.rule)
        self.token = tenant.token(self.app)
        self.rules = Rules({self.rule.immutable_id: self.rule})
        self.notes = Notes()
        self.clock = ManualClock()
        self.settings = Settings(data_dir=folder, mode=mode, ingest=IngestSettings(**(ingest or {})))
        self.runner = asyncio.Runner()
        self.folder = folder / "journal" / str(uuid.uuid4())
        self.folder.parent.mkdir(exist_ok=True)
        self.journal = journal or FileJournal.open(
            self.folder, JournalSettings(segment_bytes=1024 * 1024), RealDisk(), SystemClock()
        )
        limits = self.settings.ingest
        self.intake = Intake(
            settings=self.settings,
            verifier=tenant.verifier,
            access=tenant.access,
            rules=self.rules,
            journal=self.journal,
            addresses=ADDRESSES,
            throttle=Throttle(limits.rule_requests_per_minute, limits.rule_bytes_per_minute, self.clock),
            observer=self.notes,
        )
        self.gateway = Gateway(intake=self.intake, proxy=proxy or self._no_proxy, ready=ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.runner.run(self.journal.close())
        self.runner.close()

    @staticmethod
    async def _no_proxy(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("nothing goes to the proxy here")

    def path(self, stream: str = "Custom-MyTable_CL", rule: str | None = None) -> bytes:
        """The address to post to."""
        return f"/dataCollectionRules/{rule or self.rule.immutable_id}/streams/{stream}".encode()

    def headers(self, **changes: str | None) -> list[tuple[bytes, bytes]]:
        """What the SDK sends; `content_type=None` leaves one out, others are added."""
        values: dict[str, str | None] = {
            "host": "localhost:8443",
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
        }
        values.update({name.replace("_", "-"): value for name, value in changes.items()})
        return [(name.encode(), value.encode()) for name, value in values.items() if value is not None]

    def post(self, body: bytes = b"", *pieces: bytes, **options: Any) -> Answer:
        """Send a body; what `call` takes may be overridden. Fails when there is no answer."""
        answer = self.attempt(body, *pieces, **options)
        assert answer is not None
        return answer

    def attempt(self, body: bytes = b"", *pieces: bytes, **options: Any) -> Answer | None:
        """The same, and None when there was no answer."""
        given = {"path": self.path(), "query": VERSION, "headers": self.headers(), **options}
        return self.runner.run(call(self.gateway, pieces=(body, *pieces), **given))

    def send(self, value: Any, *, compress: bool = False, **headers: str | None) -> Answer:
        """Send a value as JSON."""
        body = msgspec.json.encode(value)
        if compress:
            return self.post(gzip.compress(body), headers=self.headers(content_encoding="gzip", **headers))
        return self.post(body, headers=self.headers(**headers))

    def records(self) -> list[Record]:
        """Everything that the journal holds, as its reader sees it."""
        reader = FileJournalReader(self.folder)
        found: list[Record] = []
        while len(found) < reader.end():
            found.extend(reader.read(len(found), 1 << 30))
        return found

    def payloads(self) -> list[Record]:
        """The same without error rows."""
        return [one for one in self.records() if one.entry.stream != log_errors.STREAM]

    def error_rows(self) -> list[log_errors.ErrorRow]:
        """The error rows that the journal holds."""
        told = [one for one in self.records() if one.entry.stream == log_errors.STREAM]
        return [row for one in told for row in log_errors.decode_rows(one.entry.body)]

    def with_rule(self, **changes: Any) -> None:
        """Change the rule, as the control plane would."""
        self.rule = replace(self.rule, **changes)
        self.rules.current = {self.rule.immutable_id: self.rule}
