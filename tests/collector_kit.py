"""An old sender of the Data Collector API, as its documentation has it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx

from headrace.cli.client import Server


class Sender:
    """An old sender."""

    def __init__(self, client: Server, key: str) -> None:
        self._client = client
        self._key = key
        self.workspace = client.variable("HEADRACE_WORKSPACE_ID")

    def post(
        self,
        log_type: str,
        body: Any,
        *,
        date: str | None = None,
        key: str | None = None,
        workspace: str | None = None,
        version: str = "?api-version=2016-04-01",
        content_type: str = "application/json",
        **headers: str,
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        date = date or format_datetime(datetime.now(UTC), usegmt=True)
        text = f"POST\n{len(content)}\n{content_type}\nx-ms-date:{date}\n/api/logs"
        digest = hmac.new(base64.b64decode(key or self._key), text.encode(), hashlib.sha256).digest()
        signature = base64.b64encode(digest).decode()
        sent = {
            "Content-Type": content_type,
            "Authorization": f"SharedKey {workspace or self.workspace}:{signature}",
            "Log-Type": log_type,
            "x-ms-date": date,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        url = f"{self._client.variable('HEADRACE_INGEST_URL')}/api/logs{version}"
        return self._client.request(
            "POST", url, content=content, headers={name: value for name, value in sent.items() if value}
        )
