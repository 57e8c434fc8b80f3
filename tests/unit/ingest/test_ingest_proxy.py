from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from tests.ingest_kit import Answer, call

from headrace.ingest import proxy as proxy_module
from headrace.ingest.proxy import Proxy, Upstream, two_processes


class Echo:
    """An upstream that tells what reached it, or does what the path says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.gone = threading.Event()
        self.entered = threading.Event()
        self.pieces = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        self.entered.set()
        if path == "/wait":
            await read_all(receive)
            assert (await receive())["type"] == "http.disconnect"
            self.gone.set()
            return
        if path == "/break":
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]}
            )
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            return
        if path == "/stream":
            await self._stream(send)
            return
        body = await read_all(receive)
        told = {
            "name": self.name,
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [(name.decode(), value.decode()) for name, value in scope["headers"]],
            "size": len(body),
            "body": body[:100].decode("latin-1"),
        }
        content = json.dumps(told).encode()
        await send(
            {
                "type": "http.response.start",
                "status": 418,
                "headers": [
                    (b"content-length", str(len(content)).encode()),
                    (b"set-cookie", b"a=1"),
                    (b"set-cookie", b"b=2"),
                    (b"x-gone", b"1"),
                    (b"connection", b"x-gone"),
                    (b"x-kept", b"yes"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(400):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.pieces += 1
        await send({"type": "http.response.body", "body": b""})


async def read_all(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def one_empty_message() -> Receive:
    """A client that sends no body and waits."""
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return receive


@contextlib.contextmanager
def serving(app: Echo, path: Path) -> Iterator[None]:
    """The app on a unix socket, in a thread of its own."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class Front:
    """A proxy over two upstreams, and a loop to drive it on."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.engine = Upstream(folder / "e.sock", read_seconds=5)
        self.query = Upstream(folder / "q.sock", read_seconds=5)
        self.proxy: Proxy = two_processes(self.engine, self.query)

    def ask(self, path: bytes, **options: Any) -> Answer:
        answer = self.runner.run(call(self.proxy, path=path, **options))
        assert answer is not None
        return answer

    def close(self) -> None:
        self.runner.run(self.proxy.close())
        self.runner.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def front(folder: Path) -> Iterator[Front]:
    made = Front(folder)
    yield made
    made.close()


@pytest.fixture
def engine(folder: Path) -> Iterator[Echo]:
    echo = Echo("engine")
    with serving(echo, folder / "e.sock"):
        yield echo


@pytest.fixture
def query(folder: Path) -> Iterator[Echo]:
    echo = Echo("query")
    with serving(echo, folder / "q.sock"):
        yield echo


def test_where_requests_go(front: Front, engine: Echo, query: Echo) -> None:
    wanted = {
        b"/": "engine",
        b"/subscriptions/x": "engine",
        b"/v1": "query",
        b"/v1/workspaces/x/query": "query",
        b"//V1//$batch": "query",
        b"/v1/rest/auth/metadata": "query",
        b"/subscriptions/s/providers/Microsoft.Insights/logs": "query",
        b"/subscriptions/s/providers/Microsoft.Insights/logs/x": "engine",
        b"/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w/query": "query",
        b"/subscriptions/s/resourceGroups/g/providers/microsoft.operationalinsights/workspaces/w/api//query/": "query",
        b"/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/query": "engine",
        b"/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/dataCollectionRules/query": "engine",
        b"/v2/rest/query": "query",
        b"/v1x/query": "engine",
        b"/tenant/oauth2/v2.0/token": "engine",
    }
    found = {path: json.loads(front.ask(path, method="GET").body)["name"] for path in wanted}
    assert found == wanted


def test_what_passes_through_and_what_does_not(front: Front, engine: Echo) -> None:
    answer = front.ask(
        b"/subscriptions//a%2Fb/%20c",
        method="PUT",
        query=b"$filter=name%20eq%20'x'&api%2Dversion=1",
        headers=[
            (b"host", b"arm.example:8443"),
            (b"prefer", b""),
            (b"x-two", b"1"),
            (b"x-two", b"2"),
            (b"connection", b"keep-alive, x-hop"),
            (b"x-hop", b"1"),
            (b"te", b"trailers"),
            (b"keep-alive", b"timeout=5"),
            (b"proxy-authorization", b"Basic x"),
            (b"x-forwarded-for", b"1.2.3.4"),
            (b"x-forwarded-proto", b"http"),
            (b"x-forwarded-host", b"evil"),
            (b"forwarded", b"for=1.2.3.4"),
            (b"content-length", b"6"),
        ],
        pieces=[b"abc", b"def"],
    )
    told = json.loads(answer.body)
    assert (told["method"], told["path"]) == ("PUT", "/subscriptions//a%2Fb/%20c")
    assert told["query"] == "$filter=name%20eq%20'x'&api%2Dversion=1"
    assert told["body"] == "abcdef"
    headers = [(name, value) for name, value in told["headers"] if name != "connection"]
    assert headers == [
        ("host", "arm.example:8443"),
        ("prefer", ""),
        ("x-two", "1"),
        ("x-two", "2"),
        ("content-length", "6"),
        ("x-forwarded-for", "127.0.0.9"),
        ("x-forwarded-proto", "https"),
    ]
    assert answer.status == 418
    assert [value for name, value in answer.headers if name == "set-cookie"] == ["a=1", "b=2"]
    # The gateway's server puts its own on every answer.
    assert answer.header("date") is None
    assert (answer.header("x-kept"), answer.header("x-gone"), answer.header("connection")) == (
        "yes",
        None,
        None,
    )


def test_bodies_without_length_and_without_any_header(front: Front, engine: Echo) -> None:
    told = json.loads(front.ask(b"/", pieces=[b"x" * 100_000] * 20, http_version="2").body)
    assert told["size"] == 2_000_000
    assert json.loads(front.ask(b"/", method="DELETE").body)["size"] == 0


def test_head_has_no_body(front: Front, engine: Echo) -> None:
    answer = front.ask(b"/", method="HEAD")
    assert (answer.status, answer.body) == (418, b"")
    assert int(answer.header("content-length") or 0) > 0


def test_an_upstream_that_is_down_is_503_and_back_later(front: Front, folder: Path) -> None:
    def down() -> None:
        answer = front.ask(b"/", pieces=[b"x" * 1000, b"y" * 1000], headers=[(b"content-length", b"2000")])
        assert (answer.status, answer.error["code"]) == (503, "ServiceUnavailable")
        assert answer.header("retry-after") == "1"
        assert answer.header("x-ms-request-id")
        assert answer.taken == 2000

    down()
    for _ in range(2):
        with serving(Echo("engine"), folder / "e.sock"):
            assert front.ask(b"/").status == 418
        down()
        (folder / "e.sock").unlink()


def test_a_client_that_hangs_up_ends_its_request(front: Front, engine: Echo) -> None:
    async def scenario() -> None:
        hung_up = asyncio.Event()
        first = True

        async def receive() -> Message:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            raise AssertionError("nobody is there to be answered")

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/wait",
            "raw_path": b"/wait",
            "query_string": b"",
            "headers": [],
        }
        running = asyncio.ensure_future(front.proxy(scope, receive, send))
        await asyncio.to_thread(engine.entered.wait, 10)
        assert not running.done()
        hung_up.set()
        await running
        assert await asyncio.to_thread(engine.gone.wait, 10)

    front.runner.run(scenario())


def test_a_client_that_hangs_up_in_its_body(front: Front, engine: Echo) -> None:
    headers = [(b"content-length", b"100")]
    gone = call(front.proxy, path=b"/wait", pieces=[b"half"], gone=True, headers=headers)
    assert front.runner.run(gone) is None


def test_an_answer_that_breaks_off_is_not_made_whole(front: Front, engine: Echo) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    receive = one_empty_message()

    scope = {"type": "http", "method": "GET", "path": "/break", "query_string": b"", "headers": []}
    front.runner.run(front.proxy(scope, receive, send))
    assert sent[0]["status"] == 200
    assert all(message["more_body"] for message in sent[1:])


def test_answers_stream_with_bounded_memory(front: Front, engine: Echo) -> None:
    """A client that does not read holds the upstream back."""

    async def scenario() -> int:
        release = asyncio.Event()
        size = 0

        receive = one_empty_message()

        async def send(message: Message) -> None:
            nonlocal size
            if message["type"] == "http.response.body":
                size += len(message["body"])
                await release.wait()

        scope = {"type": "http", "method": "GET", "path": "/stream", "query_string": b"", "headers": []}
        running = asyncio.ensure_future(front.proxy(scope, receive, send))
        await asyncio.to_thread(engine.entered.wait, 10)
        before = -1
        while engine.pieces != before:
            before = engine.pieces
            await asyncio.sleep(0.2)
        assert engine.pieces < 100
        release.set()
        await running
        return size

    assert front.runner.run(scenario()) == 400 * 65536


def test_a_body_over_the_bound_is_413(front: Front, engine: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "MAX_BODY_BYTES", 1000)
    answer = front.ask(b"/", pieces=[b"x" * 600] * 5)
    assert (answer.status, answer.error["code"]) == (413, "RequestContentTooLarge")
    assert answer.taken == 3000


def test_a_body_that_stops_coming_is_408(front: Front, engine: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "_PIECE_SECONDS", 0.05)
    answer = front.ask(b"/", pieces=[b"x" * 600], hang=True)
    assert (answer.status, answer.error["code"]) == (408, "TimeoutExpired")
    answer = front.ask(b"/", pieces=[], hang=True)
    assert (answer.status, answer.error["code"]) == (408, "TimeoutExpired")


def test_a_slow_answer_is_504(folder: Path, engine: Echo) -> None:
    front = Front(folder)
    impatient = Upstream(folder / "e.sock", read_seconds=0.1)
    answer = front.runner.run(call(Proxy(lambda _: impatient, [impatient]), path=b"/wait"))
    assert answer is not None
    assert (answer.status, answer.error["code"]) == (504, "GatewayTimeout")
    front.runner.run(impatient.client.aclose())
    front.close()
