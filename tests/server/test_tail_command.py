"""`headrace tail`: the rows that are there, and each that comes, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from typing import Any

import pytest

from tests.server.kit import Api, Rule
from tests.servers import ServerProcess

pytestmark = pytest.mark.server


@pytest.fixture
def rule(api: Api) -> Rule:
    name = f"Tailed{uuid.uuid4().hex[:8]}"
    api.make_table(f"{name}_CL", {"Id": "string", "Level": "string"})
    return api.make_rule(name, {"Id": "string", "Level": "string"}, f"{name}_CL")


def command(server: ServerProcess, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "headrace", "tail", *arguments, "--output", "ndjson"],
        env={**os.environ, **server.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shown(server: ServerProcess, *arguments: str) -> list[dict[str, Any]]:
    with command(server, *arguments, "--no-follow") as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def test_the_newest_rows_oldest_first(server: ServerProcess, api: Api, rule: Rule) -> None:
    table = f"{rule.path.rpartition('/')[2]}_CL"
    for number in range(4):
        rule.send([{"Id": str(number), "Level": "Error" if number % 2 else "Info"}])
    while api.value(f"{table} | count") < 4:
        pass
    assert [row["Id"] for row in shown(server, table, "--last", "3")] == ["1", "2", "3"]
    only = f"{table} | where Level == 'Error'"
    assert shown(server, only, "--columns", "Id, Level") == [
        {"Id": "1", "Level": "Error"},
        {"Id": "3", "Level": "Error"},
    ]
    assert shown(server, table, "--last", "0") == []


def test_rows_that_come_are_shown_once_until_it_is_stopped(
    server: ServerProcess, api: Api, rule: Rule
) -> None:
    table = f"{rule.path.rpartition('/')[2]}_CL"
    rule.send([{"Id": "before"}])
    while api.value(f"{table} | count") < 1:
        pass
    with command(server, table, "--columns", "Id") as process:
        assert process.stdout is not None and process.stderr is not None
        seen = [process.stdout.readline()]
        for number in range(6):
            rule.send([{"Id": f"{number}-{place}"} for place in range(2)])
            seen += [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    ids = [json.loads(line)["Id"] for line in [*seen, *rest.splitlines()]]
    assert sorted(ids) == sorted(
        ["before", *(f"{number}-{place}" for number in range(6) for place in range(2))]
    )


def test_what_is_wrong_with_it_is_said(server: ServerProcess) -> None:
    with command(server, "HeadraceSample_CL | where Nothing == 1") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "There is no column `Nothing`" in errors
