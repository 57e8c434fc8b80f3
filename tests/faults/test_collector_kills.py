"""kill -9 while tables grow by what is posted: each record that was answered 200 is stored, once."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.collector_kit import Sender
from tests.server.kit import Api, api_of, eventually
from tests.servers import ServerProcess, running_server

from headrace.cli.client import ARM_SCOPE, QUERY_SCOPE, Server
from headrace.errors import ProblemError

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

ROUNDS = 8
SEED = 20261127
WAIT_SECONDS = 60.0


def kill(server: ServerProcess, role: str) -> None:
    for child in server.children(role):
        child.kill()


def post(sender: Sender, body: list[dict[str, object]]) -> None:
    """Until it is answered 200: while a gateway starts again there is nobody to answer."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            if sender.post("Grows", body).status_code == 200:
                return
        except ProblemError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stored(api: Api) -> Counter[str]:
    answer = api.query("Grows_CL | project Name_s")
    return (
        Counter(row[0] for row in answer.json()["tables"][0]["rows"])
        if answer.status_code == 200
        else Counter()
    )


def test_records_survive_kills_once(tmp_path: Path) -> None:
    moments = random.Random(SEED)
    with running_server(tmp_path, "--port", "0", "--quiet", "--data-dir", str(tmp_path / "data")) as server:
        with Server(server.env) as client:
            workspace = (
                f"{client.variable('HEADRACE_ARM_URL')}/subscriptions/{client.variable('AZURE_SUBSCRIPTION_ID')}"
                f"/resourceGroups/{client.variable('HEADRACE_RESOURCE_GROUP')}/providers"
                f"/Microsoft.OperationalInsights/workspaces/{client.variable('HEADRACE_WORKSPACE_NAME')}"
            )
            url = f"{workspace}/sharedKeys?api-version=2022-10-01"
            sender = Sender(client, client.send("POST", url, ARM_SCOPE).json()["primarySharedKey"])
            names: set[str] = set()
            for number in range(ROUNDS):
                mine = [f"{number}-{place}" for place in range(5)]
                post(sender, [{"Name": name, f"Only{number}": number} for name in mine])
                names.update(mine)
                time.sleep(moments.uniform(0.0, 0.6))
                kill(server, "engine" if number % 3 else "gateway")
        with api_of(server) as api:
            eventually(lambda: api.ask_token(QUERY_SCOPE).status_code, lambda status: status == 200)
            deadline = time.monotonic() + WAIT_SECONDS
            while not names <= set(found := stored(api)):
                assert time.monotonic() < deadline, names - set(found)
                time.sleep(0.2)
            assert max(found.values()) == 1
            assert set(found) == names
            columns = api.query("Grows_CL | getschema | where ColumnName startswith 'Only' | count").json()
            assert columns["tables"][0]["rows"] == [[ROUNDS]]
