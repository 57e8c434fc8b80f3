"""Tags of a subscription, group or resource, apart from its document. Mirrors Microsoft.Resources/tags."""

from __future__ import annotations

from collections import Counter
from typing import Any

from headrace.arm import store
from headrace.arm.ids import DELETED_WORKSPACE_TYPE, TAGS_TYPE
from headrace.arm.kinds.base import (
    Kind,
    changed,
    check_tags,
    invalid,
    not_found,
    one_of,
    require_scope,
    without_null_tags,
)
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.wire.problems import http_error

_OPERATIONS = ("Merge", "Replace", "Delete")


class Tags(Kind):
    """Microsoft.Resources/tags/default, an extension of everything that has tags."""

    type = TAGS_TYPE

    def get(self, call: Call) -> Answer:
        """GET of a resource's tags."""
        return _answer(_tagged(call))

    def put(self, call: Call) -> Answer:
        """PUT: the tags become exactly those sent."""
        return _set(call, _tagged(call), _sent(call))

    def patch(self, call: Call) -> Answer:
        """PATCH with an `operation`: Merge, Replace or Delete."""
        item = _tagged(call)
        operation = one_of(call.body.get("operation"), _OPERATIONS)
        sent, now = _sent(call), _tags(item)
        if operation == "Replace":
            return _set(call, item, sent)
        if operation == "Merge":
            return _set(call, item, {**now, **sent})
        if operation == "Delete":
            # By name and value, or by the name alone.
            named = _named(call) or {}
            left = {n: v for n, v in now.items() if n not in named or named[n] not in (v, "", None)}
            return _set(call, item, left)
        raise invalid(f"'operation' is one of {', '.join(_OPERATIONS)}.", "operation")

    def delete(self, call: Call) -> Answer:
        """DELETE of all tags."""
        _set(call, _tagged(call), {})
        return Answer(200)


class TagNames(Kind):
    """`/subscriptions/{id}/tagNames`: the tags in use, and how often."""

    type = "Microsoft.Resources/tagnames"

    def list(self, call: Call) -> Answer:
        """GET of all tag names with their values."""
        require_scope(call)
        used: dict[str, Counter[str]] = {}
        for item in store.select_page(call.connection, None, subscription=call.target.subscription):
            for name, value in _tags(item).items():
                used.setdefault(name, Counter())[value] += 1
        root = f"{call.target.scope}/tagNames"
        return Answer(200, {"value": [_usage(root, name, values) for name, values in sorted(used.items())]})


def _usage(root: str, name: str, values: Counter[str]) -> dict[str, Any]:
    path = f"{root}/{name}"
    return {
        "id": path,
        "tagName": name,
        "count": _count(values.total()),
        "values": [
            {"id": f"{path}/tagValues/{value}", "tagValue": value, "count": _count(number)}
            for value, number in sorted(values.items())
        ],
    }


def _count(number: int) -> dict[str, Any]:
    return {"type": "Total", "value": number}


def _tagged(call: Call) -> Resource:
    """The resource whose tags are meant. Raises `HttpError` 404, or 400 for another name than `default`."""
    require_scope(call)
    if call.target.name.lower() != "default":
        raise http_error(
            400, "InvalidTagsResourceName", "The name of a resource's tags is 'default'.", target="name"
        )
    item = store.get(call.connection, call.target.scope.lower())
    if item is None or item.type == DELETED_WORKSPACE_TYPE:
        # When the record of a deleted workspace was last changed says which tables went with it.
        raise not_found(call)
    return item


def _tags(item: Resource) -> dict[str, str]:
    tags = item.document.get("tags")
    return dict(tags) if isinstance(tags, dict) else {}


def _named(call: Call) -> Any:
    properties = call.body.get("properties")
    return properties.get("tags") if isinstance(properties, dict) else None


def _sent(call: Call) -> dict[str, str]:
    sent = without_null_tags({"tags": _named(call)})
    check_tags(sent)
    return dict(sent["tags"] or {})


def _set(call: Call, item: Resource, tags: dict[str, str]) -> Answer:
    check_tags({"tags": tags})
    item = changed(call, item, {**item.document, "tags": tags})
    store.save(call.connection, item)
    return _answer(item)


def _answer(item: Resource) -> Answer:
    body = {
        "id": f"{item.id}/providers/{TAGS_TYPE}/default",
        "name": "default",
        "type": TAGS_TYPE,
        "properties": {"tags": _tags(item)},
    }
    return Answer(200, body)
