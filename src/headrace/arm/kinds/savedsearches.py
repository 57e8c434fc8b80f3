"""Saved searches of a workspace; one with an alias is a function that its queries can call.

Mirrors Microsoft.OperationalInsights/workspaces/savedSearches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headrace.arm import store
from headrace.arm.ids import SAVED_SEARCH_TYPE, WORKSPACE_TYPE
from headrace.arm.kinds.base import (
    answer,
    clean,
    find_for_put,
    invalid,
    render,
    require_parent,
    save_put,
)
from headrace.arm.kinds.scopes import ProxyKind
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.wire.problems import http_error

MAX_SEARCHES = 1000
_NAME = re.compile(r"[A-Za-z0-9 ._|()-]{1,200}", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)
_MOST = {
    "category": 200,
    "displayName": 500,
    "query": 64 * 1024,
    "functionAlias": 200,
    "functionParameters": 4096,
}
_REQUIRED = ("category", "displayName", "query")


class SavedSearches(ProxyKind):
    """Microsoft.OperationalInsights/workspaces/savedSearches."""

    type = SAVED_SEARCH_TYPE

    def check_scope(self, call: Call) -> None:
        """See `ProxyKind.check_scope`: the workspace."""
        require_parent(call, WORKSPACE_TYPE)

    def shown(self, item: Resource) -> dict[str, Any]:
        """See `ProxyKind.shown`."""
        properties = {name: value for name, value in item.properties.items() if value is not None}
        return render(item, {"version": 2, **properties}, location=False)

    def list(self, call: Call) -> Answer:
        """GET of a workspace's saved searches; one page, as in Azure."""
        workspace = require_parent(call, WORKSPACE_TYPE)
        items = store.select_page(call.connection, self.type, parent_key=workspace.key)
        return Answer(200, {"value": [self.shown(item) for item in items]})

    def put(self, call: Call) -> Answer:
        """PUT: 200, whether it is new or replaces another."""
        workspace = require_parent(call, WORKSPACE_TYPE)
        if not _NAME.fullmatch(call.target.name):
            raise http_error(
                400,
                "InvalidParameter",
                "A saved search's name has 1 to 200 letters, digits, spaces and '._|()-'.",
                target="name",
            )
        existing = find_for_put(call)
        document = clean(call.body)
        _check(document["properties"])
        self._check_others(call, workspace, document["properties"])
        item = save_put(call, existing, document)
        return answer(item, self.shown(item))

    def _check_others(self, call: Call, workspace: Resource, properties: Mapping[str, Any]) -> None:
        items = store.select_page(call.connection, self.type, parent_key=workspace.key)
        others = [item for item in items if item.key != call.target.key]
        if len(others) >= MAX_SEARCHES:
            raise http_error(
                400, "InvalidParameter", f"A workspace has at most {MAX_SEARCHES} saved searches."
            )
        alias = properties.get("functionAlias")
        if alias and any(item.properties.get("functionAlias") == alias for item in others):
            raise http_error(
                409,
                "Conflict",
                f"Another saved search of the workspace has the function alias '{alias}'.",
                target="properties.functionAlias",
            )


def _check(properties: Mapping[str, Any]) -> None:
    for name in _REQUIRED:
        if not isinstance(properties.get(name), str) or not properties[name].strip():
            raise invalid(f"'{name}' is a text and is required.", f"properties.{name}")
    for name, most in _MOST.items():
        value = properties.get(name)
        if value is not None and (not isinstance(value, str) or len(value) > most):
            raise invalid(f"'{name}' is a text of at most {most} characters.", f"properties.{name}")
    alias = properties.get("functionAlias")
    if alias and not _ALIAS.fullmatch(alias):
        raise invalid(
            "'functionAlias' has letters, digits and '_' and begins with no digit.",
            "properties.functionAlias",
        )
    version = properties.get("version")
    if version is not None and (isinstance(version, bool) or version not in (1, 2)):
        raise invalid("'version' is 1 or 2.", "properties.version")
    tags = properties.get("tags")
    if tags is not None and not (isinstance(tags, list) and all(_is_tag(tag) for tag in tags)):
        raise invalid("'tags' is an array of objects with the texts 'name' and 'value'.", "properties.tags")


def _is_tag(tag: Any) -> bool:
    return isinstance(tag, dict) and all(isinstance(tag.get(name), str) for name in ("name", "value"))
