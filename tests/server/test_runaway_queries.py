"""Queries that would never end: each is stopped with the documented error, and ingestion goes on meanwhile."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.server.kit import QUERY_SCOPE, Api, Sender, eventually
from tests.servers import ServerProcess

pytestmark = [pytest.mark.server]

ENDLESS = (
    "range a from 1 to 9000000 step 1 | extend k = a % 3 | as T | join kind=inner T on k | summarize sum(a1)"
)
SECONDS = 6
"""How long the runaway queries are let run."""


def _runaway(api: Api) -> httpx.Response:
    with httpx.Client(verify=api.trust, timeout=60, trust_env=False) as client:
        return client.post(
            f"{api.base}/v1/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query",
            json={"query": ENDLESS},
            headers=api.bearer(QUERY_SCOPE) | {"Prefer": f"wait={SECONDS}"},
        )


def test_ingestion_is_acknowledged_and_shown_while_queries_run_away(api: Api) -> None:
    api.make_table("Runaway_CL", {"Id": "string"})
    rule = api.make_rule("runaway", {"Id": "string"}, "Runaway_CL")
    sender = Sender(rule, "runaway")
    api.token(QUERY_SCOPE)
    with ThreadPoolExecutor(3) as threads:
        running: list[Future[httpx.Response]] = [threads.submit(_runaway, api) for _ in range(3)]
        sender.start()
        shown = eventually(lambda: api.value("Runaway_CL | count"), lambda count: count >= 50)
        seen_meanwhile = not any(query.done() for query in running)
        answers = [query.result() for query in running]
    sender.stop()
    assert seen_meanwhile, f"{shown} rows were shown only after the runaway queries had ended"
    assert not sender.failures
    for answer in answers:
        assert answer.status_code == 504, answer.text
        assert answer.json()["error"]["code"] == "GatewayTimeout"
    count = eventually(
        lambda: api.value("Runaway_CL | distinct Id | count"), lambda count: count >= len(sender.acknowledged)
    )
    assert count == len(sender.acknowledged)
    assert api.value("Runaway_CL | count") == count


def test_queries_stand_back_for_ingestion(server: ServerProcess) -> None:
    [query], [engine] = server.children("query"), server.children("engine")
    assert query.nice() > engine.nice()
