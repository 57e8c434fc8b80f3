"""syslog-ng as it is, where it is installed: its `http` destination with `azure-auth-header`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.clients.conftest import Azure, running
from tests.server.kit import eventually

SYSLOG_NG = shutil.which("syslog-ng")

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(SYSLOG_NG is None, reason="there is no syslog-ng on PATH"),
]

LINES = 5000
CONFIGURATION = r"""
@version: 3.38
source s_lines {
  file("app.log" flags(no-parse) follow-freq(0.1) log-iw-size(10000) log-fetch-limit(1000));
};
destination d_headrace {
  http(
    url("`HEADRACE_INGEST_URL`/api/logs?api-version=2016-04-01")
    method("POST")
    headers("Content-Type: application/json" "Log-Type: SyslogNg" "time-generated-field: TIME")
    body-prefix("[") delimiter(",") body-suffix("]")
    body('$(format-json --key MESSAGE --pair TIME="$ISODATE" --pair LENGTH=int64($(length $MESSAGE)))')
    batch-lines(1000) batch-timeout(500) time-reopen(1)
    tls(ca-file("`HEADRACE_CA_FILE`") peer-verify(yes))
    azure-auth-header(
      method("POST") path("/api/logs") content-type("application/json")
      workspace-id("`HEADRACE_WORKSPACE_ID`") secret("`SHARED_KEY`")
    )
  );
};
log { source(s_lines); destination(d_headrace); flags(flow-control); };
"""


@contextmanager
def shipping(azure: Azure, folder: Path) -> Iterator[Path]:
    """syslog-ng at work on `app.log` in a folder; where its own messages are."""
    assert SYSLOG_NG is not None
    keys = azure.log_analytics.shared_keys.get_shared_keys(azure.group, azure.env["HEADRACE_WORKSPACE_NAME"])
    (folder / "syslog-ng.conf").write_text(CONFIGURATION)
    state = ["--persist-file", "state", "--control", "control", "--pidfile", "pid"]
    command = [SYSLOG_NG, "--foreground", "--stderr", "--no-caps", "--cfgfile", "syslog-ng.conf", *state]
    variables = azure.env | {"SHARED_KEY": str(keys.primary_shared_key)}
    with running(command, folder, variables) as log:
        yield log


def test_lines_of_a_file_arrive_once(azure: Azure, tmp_path: Path) -> None:
    started = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    lines = [f'line {number} "ö" \\' for number in range(LINES)]
    (tmp_path / "app.log").write_text("\n".join(lines) + "\n")
    workspace = azure.env["HEADRACE_WORKSPACE_ID"]
    count = "union isfuzzy=true SyslogNg_CL, (datatable(MESSAGE_s:string)[]) | count"
    with shipping(azure, tmp_path) as log:
        found = eventually(lambda: azure.rows(workspace, count), lambda found: found[0]["Count"] >= LINES)
    assert found[0]["Count"] == LINES, log.read_text()
    rows = azure.rows(workspace, "SyslogNg_CL")
    assert sorted(row["MESSAGE_s"] for row in rows) == sorted(lines)
    assert all(row["LENGTH_d"] == len(row["MESSAGE_s"]) + 1 for row in rows), "bytes of UTF-8"
    assert all(started <= row["TimeGenerated"] <= datetime.now(UTC) for row in rows)
