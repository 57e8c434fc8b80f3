"""The gateway's part of the OpenAPI description."""

from __future__ import annotations

from headrace.wire.openapi import TEXT, Operation, Schema, many, obj


def operations() -> list[Operation]:
    """The Logs Ingestion API, receipts, health and metrics."""
    row: Schema = {"type": "object"}
    health = obj({"status": TEXT})
    return [
        Operation(
            "POST", "/dataCollectionRules/{ruleId}/streams/{stream}", "Send rows", "Ingestion", {204: None},
            body=many(row), query=("api-version",), needed=("api-version",),
        ),
        Operation("GET", "/receipts/{requestId}", "What became of a call", "Ingestion", {200: {"type": "object"}}),
        Operation("GET", "/healthz", "Whether the process serves", "Health", {200: health}, secured=False, statuses=()),
        Operation(
            "GET", "/readyz", "Whether recovery is done", "Health", {200: health, 503: health},
            secured=False, statuses=(),
        ),
        Operation(
            "GET", "/metrics", "Numbers for Prometheus", "Health", {200: TEXT}, answer_media="text/plain",
            secured=False,
        ),
    ]  # fmt: skip
