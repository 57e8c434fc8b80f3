"""The query APIs' part of the OpenAPI description."""

from __future__ import annotations

from headrace.query.graph import PATH
from headrace.wire.openapi import ANY, TEXT, WHOLE, Operation, Schema, many, obj, ref

_COLUMN = obj({"name": TEXT, "type": TEXT})
_CELLS = many(many(ANY))
SCHEMAS: dict[str, Schema] = {
    "QueryResult": obj(
        {"tables": many(obj({"name": TEXT, "columns": many(_COLUMN), "rows": _CELLS}))},
        statistics=ANY,
        render=ANY,
        error=ANY,
    ),
    "QueryBody": obj(
        {"query": TEXT},
        timespan={"type": "string", "nullable": True},
        workspaces={"type": "array", "items": TEXT, "nullable": True},
    ),
    "BatchBody": obj({"requests": many(obj({"id": TEXT, "workspace": TEXT}, body=ref("QueryBody")))}),
    "BatchResult": obj({"responses": many(obj({"id": TEXT, "status": WHOLE, "body": ANY}))}),
    "GraphBody": obj({"query": TEXT}, subscriptions=many(TEXT), options=ANY),
    "GraphResult": obj({"totalRecords": WHOLE, "count": WHOLE, "data": ANY, "resultTruncated": TEXT}),
    "KustoBody": obj({"db": TEXT, "csl": TEXT}, properties=ANY),
    "KustoTables": obj({"Tables": many(obj({"TableName": TEXT, "Columns": many(ANY), "Rows": many(ANY)}))}),
}


def operations() -> list[Operation]:
    """The Logs Query API and the Kusto surface."""
    result, body, kusto = ref("QueryResult"), ref("QueryBody"), ref("KustoBody")
    asked = ("query", "timespan", "workspaces")
    of_workspace = "/v1/workspaces/{workspaceId}"
    return [
        Operation("POST", f"{of_workspace}/query", "Query a workspace", "Query", {200: result}, body, statuses=_LATE),
        Operation(
            "GET", f"{of_workspace}/query", "Query a workspace", "Query", {200: result}, query=asked, statuses=_LATE
        ),
        Operation(
            "POST", f"{of_workspace}/search", "Query tables of any plan", "Query", {200: result}, body, statuses=_LATE
        ),
        Operation("POST", "/v1/$batch", "Several queries", "Query", {200: ref("BatchResult")}, ref("BatchBody")),
        Operation("GET", f"{of_workspace}/metadata", "What a workspace has", "Query", {200: {"type": "object"}}),
        Operation(
            "POST", PATH, "Query what there is", "Management", {200: ref("GraphResult")}, ref("GraphBody"),
            query=("api-version",), statuses=_LATE,
        ),
        Operation(
            "GET", "/v1/rest/auth/metadata", "How Kusto's clients sign in", "Kusto", {200: obj({"AzureAD": ANY})},
            secured=False,
        ),
        Operation("POST", "/v1/rest/mgmt", "A command", "Kusto", {200: ref("KustoTables")}, kusto),
        Operation("POST", "/v1/rest/query", "Query a workspace", "Kusto", {200: ANY}, kusto, statuses=_LATE),
        Operation("POST", "/v2/rest/query", "Query a workspace", "Kusto", {200: ANY}, kusto, statuses=_LATE),
    ]  # fmt: skip


_LATE = ("4XX", "503", "504")
