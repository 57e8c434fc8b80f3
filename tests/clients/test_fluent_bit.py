"""Fluent Bit as it is, where it is installed: `fluent-bit` on PATH, or HEADRACE_TEST_FLUENT_BIT."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Azure, clients_of, headrace, running
from tests.server.kit import eventually
from tests.servers import ServerProcess, running_server

FLUENT_BIT = os.environ.get("HEADRACE_TEST_FLUENT_BIT") or shutil.which("fluent-bit")

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(
        FLUENT_BIT is None, reason="there is no fluent-bit on PATH, and HEADRACE_TEST_FLUENT_BIT names none"
    ),
]

DECLARED = {"Time": "datetime", "Number": "long", "Text": "string", "Inner": "dynamic"}
COLUMNS = {"TimeGenerated": "datetime", "Number": "long", "Text": "string", "Inner": "dynamic"}
TRANSFORM = "source | project-rename TimeGenerated = Time"
LINE = {"Text": f'"ö" \\ {"x" * 200}', "Inner": {"tags": ["a", None], "deep": {}}}
ROWS = 20_000
COUNT = "Rows_CL | summarize Count = count(), Numbers = dcount(Number, 4), Sum = sum(Number)"

TAIL = """
[INPUT]
    name           tail
    path           {folder}/*.ndjson
    read_from_head on
    refresh_interval 1
    parser         lines
"""
LOGS_INGESTION = """
[OUTPUT]
    name           azure_logs_ingestion
    match          *
    tenant_id      ${AZURE_TENANT_ID}
    client_id      ${AZURE_CLIENT_ID}
    client_secret  ${AZURE_CLIENT_SECRET}
    auth_url       ${HEADRACE_AUTHORITY_HTTP_URL}/${AZURE_TENANT_ID}/oauth2/v2.0/token
    dce_url        ${HEADRACE_INGEST_URL}
    dcr_id         ${RULE}
    table_name     Rows
    time_key       Time
    tls            on
    tls.verify_hostname on
    tls.ca_file    ${HEADRACE_CA_FILE}
"""
HTTP = """
[OUTPUT]
    name           http
    match          *
    host           localhost
    port           ${PORT}
    uri            /dataCollectionRules/${RULE}/streams/Custom-Rows?api-version=2023-01-01
    format         json
    json_date_key  Time
    json_date_format iso8601
    compress       gzip
    tls            on
    tls.verify_hostname on
    tls.ca_file    ${HEADRACE_CA_FILE}
    oauth2.enable  on
    oauth2.token_url ${HEADRACE_AUTHORITY_HTTP_URL}/${AZURE_TENANT_ID}/oauth2/v2.0/token
    oauth2.scope   https://monitor.azure.com/.default
"""
DATA_COLLECTOR = """
[OUTPUT]
    name           azure
    match          *
    host           localhost
    port           ${PORT}
    customer_id    ${HEADRACE_WORKSPACE_ID}
    shared_key     ${KEY}
    log_type       FluentBit
    time_key       When
    time_generated on
    tls            on
    tls.ca_file    ${HEADRACE_CA_FILE}
"""


@pytest.fixture(scope="module")
def plain_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the token endpoint over plain HTTP too: Fluent Bit can be given no CA for that one."""
    folder = tmp_path_factory.mktemp("fluent-bit-server")
    arguments = ("--ephemeral", "--port", "0", "--http-authority", "0", "--quiet")
    with running_server(folder, *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def logs(plain_tokens: ServerProcess) -> Iterator[Azure]:
    yield from clients_of(plain_tokens)


@contextmanager
def shipping(logs: Azure, folder: Path, output: str, **variables: str) -> Iterator[Path]:
    """Fluent Bit at work on the `.ndjson` files of a folder; where its log is."""
    assert FLUENT_BIT is not None
    (folder / "parsers.conf").write_text("[PARSER]\n    name   lines\n    format json\n")
    service = (
        "[SERVICE]\n    flush 0.2\n    log_level debug\n    parsers_file parsers.conf\n"
        "    scheduler.base 1\n    scheduler.cap 2\n"
    )
    configuration = folder / "fluent-bit.conf"
    configuration.write_text(service + TAIL.format(folder=folder) + output)
    variables |= logs.env | {"PORT": logs.env["HEADRACE_INGEST_URL"].rpartition(":")[2]}
    with running([FLUENT_BIT, "--config", str(configuration)], folder, variables) as log:
        yield log


def write_rows(folder: Path, count: int = ROWS, name: str = "rows") -> None:
    lines = (json.dumps({"Number": number} | LINE) for number in range(count))
    (folder / f"{name}.ndjson").write_text("\n".join(lines) + "\n")


def counted(logs: Azure, workspace: str, query: str = COUNT) -> list[Any]:
    return list(logs.rows(workspace, query)[0].values())


def arrived(logs: Azure, workspace: str, count: int, log: Path) -> list[Any]:
    """Rows, distinct numbers and their sum, once that many came."""
    try:
        return eventually(lambda: counted(logs, workspace), lambda found: found[1] >= count)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text('utf-8', 'replace')[-8000:]}") from error


@pytest.mark.parametrize("compress", ["on", "off"])
def test_the_logs_ingestion_output(logs: Azure, tmp_path: Path, compress: str) -> None:
    workspace, rule = logs.source(f"fluent-bit-{compress}", DECLARED, COLUMNS, TRANSFORM)
    started = datetime.now(UTC) - timedelta(seconds=1)
    write_rows(tmp_path)
    output = f"{LOGS_INGESTION}    compress {compress}\n    time_generated on\n"
    with shipping(logs, tmp_path, output, RULE=rule.immutable_id) as log:
        found = arrived(logs, workspace.customer_id, ROWS, log)
    assert found == [ROWS, ROWS, sum(range(ROWS))]
    query = "Rows_CL | where Number == 7 | project TimeGenerated, Text, Inner"
    (row,) = logs.rows(workspace.customer_id, query)
    assert started <= row["TimeGenerated"] <= datetime.now(UTC)
    assert {"Text": row["Text"], "Inner": json.loads(row["Inner"])} == LINE
    text = log.read_text("utf-8")
    assert "http_status=204" in text
    assert "is now available" in text, "connections are not kept alive"
    assert "[error]" not in text and "[ warn]" not in text, text


def test_times_as_seconds(logs: Azure, tmp_path: Path) -> None:
    """Without `time_generated` the time is a number."""
    declared = DECLARED | {"Time": "real"}
    transform = "source | extend TimeGenerated = unixtime_seconds_todatetime(Time) | project-away Time"
    workspace, rule = logs.source("fluent-bit-seconds", declared, COLUMNS, transform)
    started = datetime.now(UTC) - timedelta(seconds=1)
    write_rows(tmp_path, 3)
    with shipping(logs, tmp_path, LOGS_INGESTION, RULE=rule.immutable_id) as log:
        arrived(logs, workspace.customer_id, 3, log)
    for row in logs.rows(workspace.customer_id, "Rows_CL"):
        assert started <= row["TimeGenerated"] <= datetime.now(UTC)


def test_nothing_is_lost_when_the_gateway_dies(
    plain_tokens: ServerProcess, logs: Azure, tmp_path: Path
) -> None:
    """What Fluent Bit was not told to be taken, it sends again."""
    workspace, rule = logs.source("fluent-bit-killed", DECLARED, COLUMNS, TRANSFORM)
    output = f"{LOGS_INGESTION}    compress on\n    time_generated on\n    retry_limit no_limits\n"
    write_rows(tmp_path, name="one")
    with shipping(logs, tmp_path, output, RULE=rule.immutable_id) as log:
        eventually(lambda: log.read_text("utf-8"), lambda text: "http_status=204" in text)
        plain_tokens.children("gateway")[0].kill()
        write_rows(tmp_path, name="two")
        eventually(lambda: is_ready(logs), bool)
        per_row = (
            "Rows_CL | summarize Times = count() by Number | summarize Numbers = count(), Least = min(Times)"
        )
        wanted = [ROWS, 2]
        found = eventually(
            lambda: counted(logs, workspace.customer_id, per_row), lambda found: found == wanted
        )
    assert found == wanted


def is_ready(logs: Azure) -> bool:
    trust = ssl.create_default_context(cafile=logs.env["HEADRACE_CA_FILE"])
    try:
        url = f"{logs.env['HEADRACE_ARM_URL']}/readyz"
        return httpx.get(url, verify=trust, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_what_is_refused_is_explained(logs: Azure, tmp_path: Path) -> None:
    write_rows(tmp_path, 1)
    rule = f"dcr-{'0' * 32}"
    with shipping(logs, tmp_path, LOGS_INGESTION, RULE=rule) as log:
        text = eventually(lambda: log.read_text("utf-8"), lambda text: "http_status=404" in text)
    assert f"'{rule}' not found" in text


def test_the_http_output_signs_in_with_a_secret(logs: Azure, tmp_path: Path) -> None:
    sends_with_http(logs, tmp_path, "fluent-bit-secret", lambda rule: HTTP + _secret(logs))


def test_the_http_output_signs_in_with_a_certificate(
    plain_tokens: ServerProcess, logs: Azure, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    sends_with_http(
        logs,
        tmp_path,
        "fluent-bit-certificate",
        lambda rule: HTTP + _certificate(plain_tokens, logs, rule, certificate),
    )


def sends_with_http(logs: Azure, folder: Path, name: str, output: Callable[[str], str]) -> None:
    """All rows arrive once by an output that is made for the rule's resource id."""
    workspace, rule = logs.source(name, DECLARED, COLUMNS, TRANSFORM)
    write_rows(folder)
    with shipping(logs, folder, output(rule.id), RULE=rule.immutable_id) as log:
        found = arrived(logs, workspace.customer_id, ROWS, log)
    assert found == [ROWS, ROWS, sum(range(ROWS))]


def _secret(logs: Azure) -> str:
    return (
        "    oauth2.auth_method post\n"
        f"    oauth2.client_id {logs.env['AZURE_CLIENT_ID']}\n"
        f"    oauth2.client_secret {logs.env['AZURE_CLIENT_SECRET']}\n"
    )


def _certificate(server: ServerProcess, logs: Azure, scope: str, certificate: tuple[Path, Path]) -> str:
    both, alone = certificate
    app = headrace(server, "app", "create", "fluent-bit", "--certificate", str(alone))
    logs.grant(scope, app["principalId"])
    return (
        "    oauth2.auth_method private_key_jwt\n"
        f"    oauth2.client_id {app['clientId']}\n"
        f"    oauth2.jwt_key_file {both}\n"
        f"    oauth2.jwt_cert_file {alone}\n"
        "    oauth2.jwt_header x5t\n"
    )


def test_the_data_collector_output(logs: Azure, tmp_path: Path) -> None:
    """The retired API: it puts the workspace's id before the host, which leads here still under `localhost`."""
    keys = logs.log_analytics.shared_keys.get_shared_keys(logs.group, logs.env["HEADRACE_WORKSPACE_NAME"])
    workspace = logs.env["HEADRACE_WORKSPACE_ID"]
    started = datetime.now(UTC) - timedelta(seconds=1)
    write_rows(tmp_path)
    query = (
        "union isfuzzy=true FluentBit_CL, (datatable(Number_d:real)[])"
        " | summarize Count = count(), Numbers = dcount(Number_d, 4), Sum = tolong(sum(Number_d))"
    )
    with shipping(logs, tmp_path, DATA_COLLECTOR, KEY=str(keys.primary_shared_key)) as log:
        found = eventually(lambda: counted(logs, workspace, query), lambda found: found[0] >= ROWS)
    assert found == [ROWS, ROWS, sum(range(ROWS))]
    (row,) = logs.rows(workspace, "FluentBit_CL | where Number_d == 7")
    assert started <= row["TimeGenerated"] <= datetime.now(UTC)
    assert {"Text": row["Text_s"], "Inner": json.loads(row["Inner_s"])} == LINE
    assert "HTTP status=200" in log.read_text("utf-8")
