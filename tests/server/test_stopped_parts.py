"""Parts that hold still or die: the others go on, nothing is lost or doubled, counts never fall."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.server.kit import (
    ARM_SCOPE,
    QUERY_SCOPE,
    TABLES,
    Api,
    Rule,
    Sender,
    api_of,
    assert_once,
    eventually,
    ids_of,
    sending,
)
from tests.server.test_tables_and_rules import letters_of
from tests.servers import ServerProcess, running_server

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(240),
    # Where the peer is killed between connect and handshake, Python's own `ssl` leaves the socket to the collector.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]

ID = {"Id": "string"}
SETTINGS = {
    "HEADRACE_SERVER_GATEWAYS": "2",
    "HEADRACE_JOURNAL_SEGMENT_BYTES": "262144",
    "HEADRACE_TABLES_COMMIT_SECONDS": "0.3",
    "HEADRACE_TABLES_CHECKPOINT_COMMITS": "4",
    "HEADRACE_TRANSFORM_BATCH_SECONDS": "0.1",
}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Api]]:
    """A server with two gateways that rolls, commits and compacts many times within a test."""
    folder = tmp_path_factory.mktemp("busy")
    arguments = ("--data-dir", str(folder / "data"), "--port", "0", "--quiet")
    with running_server(folder, *arguments, variables=SETTINGS) as server, api_of(server) as api:
        yield server, api


@contextmanager
def stopped(server: ServerProcess, role: str) -> Iterator[None]:
    """The processes of a role hold still inside the block."""
    pids = [child.pid for child in server.children(role)]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def make(api: Api, name: str) -> tuple[Rule, str]:
    table = f"{name}_CL"
    api.make_table(table, ID)
    return api.make_rule(name.lower(), ID, table), table


def test_ingestion_and_queries_go_on_without_the_engine(busy: tuple[ServerProcess, Api]) -> None:
    server, api = busy
    rule, table = make(api, "Still")
    rule.send([{"Id": "first"}])
    eventually(lambda: ids_of(api, table), lambda seen: "first" in seen)
    rule.api.token(QUERY_SCOPE)
    with sending(rule, "s") as sender:
        sender.wait_for_more()
        with stopped(server, "engine"):
            sender.wait_for_more(50)
            before = ids_of(api, table)
            assert "first" in before
            # A stopped process still accepts; what waits for it must not hold up anything else.
            impatient = httpx.Client(verify=api.trust, trust_env=False, timeout=2)
            with impatient as client, pytest.raises(httpx.ReadTimeout):
                client.get(f"{api.base}{api.workspace}?api-version=2023-09-01", headers=api.bearer(ARM_SCOPE))
            sender.wait_for_more(50)
        assert api.arm("GET", api.workspace, version="2023-09-01").status_code == 200
    sender.tried.add("first")
    assert_once(api, table, sender)


def test_arm_answers_503_while_the_engine_is_away_and_all_arrives(busy: tuple[ServerProcess, Api]) -> None:
    server, api = busy
    rule, table = make(api, "Away")
    with sending(rule, "a") as sender:
        sender.wait_for_more()
        # The supervisor would start it again at once: held, it cannot.
        supervisor = server.process.pid
        os.kill(supervisor, signal.SIGSTOP)
        try:
            for child in server.children("engine"):
                child.kill()
            answer = api.arm("GET", api.workspace, version="2023-09-01")
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            assert answer.headers["x-ms-error-code"] == answer.json()["error"]["code"] == "ServiceUnavailable"
            assert api.ask_token(ARM_SCOPE).status_code == 503
            sender.wait_for_more(50)
            assert api.value(f"{table} | count") >= 0
        finally:
            os.kill(supervisor, signal.SIGCONT)
        eventually(
            lambda: api.arm("GET", api.workspace, version="2023-09-01").status_code, lambda seen: seen == 200
        )
        sender.wait_for_more()
    assert_once(api, table, sender)


def test_ingestion_goes_on_without_queries(busy: tuple[ServerProcess, Api]) -> None:
    server, api = busy
    rule, table = make(api, "Unasked")
    with sending(rule, "u") as sender, stopped(server, "query"):
        sender.wait_for_more(100)
        assert api.arm("GET", api.workspace, version="2023-09-01").status_code == 200
    assert_once(api, table, sender)
    for child in server.children("query"):
        child.kill()
    eventually(lambda: api.query(f"{table} | count").status_code, lambda seen: seen == 200)


class Counter(threading.Thread):
    """Asks for the count again and again and notes every fall, and every count beyond what was sent."""

    def __init__(self, api: Api, table: str, sender: Sender) -> None:
        super().__init__(daemon=True)
        self.faults: list[str] = []
        self.counts = 0
        self._last = 0
        self._api = api
        self._text = f"{table} | summarize count(), dcount(Id, 4)"
        self._sender = sender
        self._done = threading.Event()

    def run(self) -> None:
        api = self._api
        url = f"{api.base}/v1/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query"
        with httpx.Client(verify=api.trust, trust_env=False, timeout=30) as client:
            while not self._done.wait(0.05):
                try:
                    answer = client.post(url, json={"query": self._text}, headers=api.bearer(QUERY_SCOPE))
                except httpx.TransportError as error:
                    self.faults.append(repr(error))
                    continue
                most = len(self._sender.tried)
                if answer.status_code != 200:
                    self.faults.append(answer.text)
                    continue
                count, _ = answer.json()["tables"][0]["rows"][0]
                if count < self._last:
                    self.faults.append(f"fell from {self._last} to {count}")
                if count > most:
                    self.faults.append(f"{count}, but only {most} were sent")
                self._last = count
                self.counts += 1

    def stop(self) -> None:
        self._done.set()
        self.join(60)


def test_counts_never_fall_and_never_exceed_what_was_sent(busy: tuple[ServerProcess, Api]) -> None:
    server, api = busy
    rule, table = make(api, "Counted")
    with sending(rule, "c", patient=True) as sender:
        counter = Counter(api, table, sender)
        counter.start()
        try:
            for _ in range(3):
                eventually_counted(counter, 15)
                for child in server.children("engine"):
                    child.kill()
            eventually_counted(counter, 15)
            # A commit rewrites the files of many days and small ones; several went by.
            sender.wait_for_more(100)
        finally:
            counter.stop()
    assert not counter.faults, counter.faults[:5]
    assert counter.counts >= 60
    assert_once(api, table, sender)


def eventually_counted(counter: Counter, more: int) -> None:
    wanted = counter.counts + more
    eventually(lambda: counter.counts + 1000 * len(counter.faults), lambda seen: seen >= wanted)


# Two gateways


def post_through_both(rule: Rule, content: bytes, wanted: int, tries: int = 24) -> None:
    """New connections are spread over both gateways by the kernel; all must answer the same."""
    for _ in range(tries):
        with httpx.Client(verify=rule.api.trust, trust_env=False, timeout=30) as client:
            answer = client.post(rule.url, content=content, headers=rule.headers())
            assert answer.status_code == wanted, answer.text


def test_rows_through_both_gateways_arrive_once(busy: tuple[ServerProcess, Api]) -> None:
    server, api = busy
    rule, table = make(api, "Both")
    pids = [child.pid for child in server.children("gateway")]
    assert len(pids) == 2
    sent = set()
    for number in range(40):
        sent.add(f"b-{number}")
        post_through_both(rule, f'[{{"Id": "b-{number}"}}]'.encode(), 204, tries=1)
    found = eventually(lambda: ids_of(api, table), lambda seen: sent <= set(seen))
    assert set(found) == sent
    assert set(found.values()) == {1}
    journals = list((server.log.parent / "data" / "journal").iterdir())
    assert len([path for path in journals if path.is_dir()]) == 2
    kinds = api.value(f"{table} | summarize dcount(_TimeReceived)")
    assert kinds > 1


def test_roles_change_on_both_gateways_within_a_second(busy: tuple[ServerProcess, Api]) -> None:
    _, api = busy
    api.make_table("Granted_CL", ID)
    rule = api.make_rule("granted", ID, "Granted_CL", grant=False)
    post_through_both(rule, b"[]", 403)
    assignment = api.grant(rule.path)
    time.sleep(1.0)
    post_through_both(rule, b"[]", 204)
    api.delete(assignment, "2022-04-01")
    time.sleep(1.0)
    post_through_both(rule, b"[]", 403)
    assert rule.post(b"[]").status_code == 403


def test_a_killed_gateway_comes_back_with_its_journal(busy: tuple[ServerProcess, Api]) -> None:
    server, api = busy
    rule, table = make(api, "Killed")
    folder = server.log.parent / "data" / "journal"
    before = {path.name for path in folder.iterdir() if path.is_dir()}
    with sending(rule, "k", patient=True) as sender:
        for _ in range(4):
            sender.wait_for_more()
            for child in server.children("gateway"):
                child.kill()
        sender.wait_for_more()
    eventually(lambda: len(server.children("gateway")), lambda seen: seen == 2)
    assert_once(api, table, sender)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == before


# What lies in the journal when a table goes


def test_rows_for_a_table_deleted_after_acceptance(busy: tuple[ServerProcess, Api]) -> None:
    """The engine is away; the deletion is done before it reads on."""
    server, api = busy
    api.make_table("Deleted_CL", ID)
    rule = api.make_rule("deleted", ID, "Deleted_CL")
    rule.send([{"Id": "stored"}])
    eventually(lambda: ids_of(api, "Deleted_CL"), bool)
    with stopped(server, "engine"):
        rule.send([{"Id": f"lost-{number}"} for number in range(3)])
        deletion = threading.Thread(target=api.delete, args=(f"{api.workspace}/tables/Deleted_CL", TABLES))
        deletion.start()
        time.sleep(0.2)
    deletion.join(60)
    # Both were there when the engine went on: the rows were stored before the deletion, or are letters now.
    rule.send([{"Id": "after"}])
    letters = eventually(
        lambda: letters_of(api, rule), lambda seen: any(b"after" in letter.body for letter in seen)
    )
    assert {letter.reason for letter in letters} == {"TableNotFound"}
    assert sum(letter.rows for letter in letters) in (1, 4)
    assert api.query("Deleted_CL").status_code == 400
