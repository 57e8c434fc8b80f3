"""OpenAPI descriptions, put together from operations that each room states of its own addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]

ANY: Schema = {}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
_NAME = re.compile(r"{(\w+)(?::path)?}")


def ref(name: str) -> Schema:
    """A reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def obj(required: Mapping[str, Schema] | None = None, **optional: Schema) -> Schema:
    """An object with these members; others may be there, too."""
    members = dict(required or {})
    schema: Schema = {"type": "object", "properties": {**members, **optional}}
    if members:
        schema["required"] = list(members)
    return schema


def many(item: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": item}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address.

    `answers` are the schemas of success by status, None for an answer without a body. `errors` is the name of the
    schema that all failures have. `body` is the request's schema, `media` its media type; `query` are names of
    query parameters, those in `needed` required.
    """

    method: str
    path: str
    summary: str
    tag: str
    answers: Mapping[int, Schema | None]
    body: Schema | None = None
    media: str = "application/json"
    answer_media: str = "application/json"
    query: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    secured: bool = True
    errors: str = "Error"
    statuses: tuple[str, ...] = field(default=("4XX", "503"))

    def document(self) -> Schema:
        """The operation as OpenAPI has it."""
        responses: Schema = {str(status): self._answer(schema) for status, schema in self.answers.items()}
        failure = {"application/json": {"schema": ref(self.errors)}}
        for status in self.statuses:
            responses[status] = {"description": "What is wrong, and what to do.", "content": failure}
        result: Schema = {
            "summary": self.summary,
            "tags": [self.tag],
            "parameters": [
                *(_parameter(name, "path", True) for name in _NAME.findall(self.path)),
                *(_parameter(name, "query", name in self.needed) for name in self.query),
            ],
            "responses": responses,
        }
        if self.body is not None:
            result["requestBody"] = {"content": {self.media: {"schema": self.body}}, "required": True}
        if not self.secured:
            result["security"] = []
        return result

    def _answer(self, schema: Schema | None) -> Schema:
        if schema is None:
            return {"description": "Done."}
        return {"description": "Done.", "content": {self.answer_media: {"schema": schema}}}


def _parameter(name: str, place: str, required: bool) -> Schema:
    return {"name": name, "in": place, "required": required, "schema": TEXT}


ERROR = obj(
    {
        "error": obj(
            {"code": TEXT, "message": TEXT},
            target=TEXT,
            details=many(obj({"code": TEXT, "message": TEXT})),
        )
    }
)
"""ARM's error shape, which nearly every address shares."""


def describe(
    title: str, version: str, server: str, operations: Iterable[Operation], schemas: Mapping[str, Schema]
) -> Schema:
    """The OpenAPI 3.0 document of all operations, reached at `server`."""
    paths: dict[str, Schema] = {}
    for operation in operations:
        path = _NAME.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = operation.document()
    return {
        "openapi": "3.0.3",
        "info": {
            "title": title,
            "version": version,
            "description": "Paths match in any letter case. Every failure has one of the shapes described here.",
        },
        "servers": [{"url": server}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR, **schemas},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
