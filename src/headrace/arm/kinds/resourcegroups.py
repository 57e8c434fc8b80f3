"""Resource groups, and the plain list of what is in one. Mirrors Microsoft.Resources, resourceGroups."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from headrace.arm import store
from headrace.arm.filters import Term, parse_filter
from headrace.arm.ids import (
    GROUP_TYPE,
    SAVED_SEARCH_TYPE,
    SUBSCRIPTION_TYPE,
    TABLE_TYPE,
)
from headrace.arm.kinds.base import (
    Kind,
    changed,
    check_tags,
    clean,
    find_for_put,
    group_not_found,
    list_resources,
    next_link,
    page_size,
    read_location,
    require_scope,
    save_put,
    skip_token,
)
from headrace.arm.kinds.cascade import remove_resource
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.clock import iso
from headrace.identity.assignments import delete_assignments_under
from headrace.wire.problems import HttpError, http_error

_NAME = re.compile(r"[\w().-]{0,89}[\w()-]")
_SHOWN_TYPE = "Microsoft.Resources/resourceGroups"
_FIELDS = frozenset({"name", "resourcetype", "resourcegroup", "location", "tagname", "tagvalue"})
_GROUP_FIELDS = frozenset({"name", "location", "tagname", "tagvalue"})
_HIDDEN = (SUBSCRIPTION_TYPE, GROUP_TYPE, TABLE_TYPE, SAVED_SEARCH_TYPE)


def group_document(item: Resource) -> dict[str, Any]:
    """A resource group as clients read it."""
    document: dict[str, Any] = {
        "id": item.id,
        "name": item.name,
        "type": _SHOWN_TYPE,
        "location": item.location,
    }
    for name in ("tags", "managedBy"):
        if item.document.get(name) is not None:
            document[name] = item.document[name]
    return {**document, "properties": {"provisioningState": "Succeeded"}}


class ResourceGroups(Kind):
    """Microsoft.Resources/subscriptions/resourceGroups."""

    type = GROUP_TYPE

    def get(self, call: Call) -> Answer:
        """GET of a group."""
        return Answer(200, group_document(self._require(call)))

    def list(self, call: Call) -> Answer:
        """GET of a subscription's groups that `$filter` lets through."""
        require_scope(call)
        terms = parse_filter(call.query.get("$filter"), _GROUP_FIELDS)
        if not terms:
            return list_resources(call, self.type, lambda _call, item: group_document(item))
        after, place = skip_token(call), call.target.subscription
        items = store.select_page(call.connection, self.type, subscription=place, after=after)
        return _page(call, [item for item in items if _wanted(item, terms)], group_document)

    def put(self, call: Call) -> Answer:
        """PUT of a group: 201 when it is new."""
        require_scope(call)
        if not _NAME.fullmatch(call.target.name):
            raise http_error(
                400,
                "InvalidResourceGroup",
                "The provided resource group name has these invalid characters: it has at most 90 letters, "
                "digits, '_', '-', '.', '(' or ')' and does not end in '.'.",
                target="resourceGroupName",
            )
        existing = find_for_put(call)
        check_tags(call.body)
        location = self._location(call, existing)
        document = clean(call.body)
        item = save_put(call, existing, document, location)
        return Answer(201 if existing is None else 200, group_document(item))

    def patch(self, call: Call) -> Answer:
        """PATCH of a group's tags."""
        item = self._require(call)
        check_tags(call.body)
        kept = {name: value for name, value in call.body.items() if name in ("tags", "managedBy")}
        item = changed(call, item, {**item.document, **kept})
        store.save(call.connection, item)
        return Answer(200, group_document(item))

    def delete(self, call: Call) -> Answer:
        """DELETE of a group and everything in it: its workspaces with their tables, its rules, its roles."""
        item = self._require(call)
        for inside in store.below(call.connection, item.key):
            remove_resource(call, inside)
        delete_assignments_under(call.connection, item.id)
        store.remove(call.connection, item.key)
        return Answer(200)

    def _require(self, call: Call) -> Resource:
        require_scope(call)
        item = store.get(call.connection, call.target.key)
        if item is None:
            raise group_not_found(call.target.name)
        return item

    @staticmethod
    def _location(call: Call, existing: Resource | None) -> str:
        try:
            return read_location(call, existing)
        except HttpError as error:
            if error.problem.code != "InvalidResourceLocation" or existing is None:
                raise
            raise http_error(
                409,
                "InvalidResourceGroupLocation",
                f"Invalid resource group location. The Resource group '{existing.name}' already exists in "
                f"location '{existing.location}'.",
                target="location",
            ) from None


class Resources(Kind):
    """`/subscriptions/{id}[/resourceGroups/{name}]/resources`: what is there, of every kind."""

    type = "Microsoft.Resources/resources"

    def list(self, call: Call) -> Answer:
        """GET of all tracked resources that `$filter` lets through, in pages."""
        require_scope(call)
        terms = parse_filter(call.query.get("$filter"), _FIELDS)
        target = call.target
        items = store.select_page(
            call.connection,
            None,
            subscription=target.subscription,
            group_key=target.group_key,
            after=skip_token(call),
        )
        found = [item for item in items if item.type not in _HIDDEN and item.location]
        return _page(call, [item for item in found if _wanted(item, terms)], _brief)


def _page(call: Call, found: Sequence[Resource], shown: Callable[[Resource], dict[str, Any]]) -> Answer:
    """The first of what was found, with `nextLink` when there are more."""
    limit = page_size(call)
    body: dict[str, Any] = {"value": [shown(item) for item in found[:limit]]}
    if len(found) > limit:
        body["nextLink"] = next_link(call, found[limit - 1].key)
    return Answer(200, body)


def _brief(item: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": item.id, "name": item.name, "type": item.type, "location": item.location}
    for name in ("kind", "tags", "identity"):
        if item.document.get(name) is not None:
            entry[name] = item.document[name]
    return {
        **entry,
        "createdTime": iso(item.created),
        "changedTime": iso(item.modified),
        "provisioningState": "Succeeded",
    }


def _wanted(item: Resource, terms: tuple[Term, ...]) -> bool:
    tags = item.document.get("tags")
    tags = tags if isinstance(tags, dict) else {}
    named = next((term.value.lower() for term in terms if term.field == "tagname"), None)
    texts = {
        "name": item.name,
        "resourcetype": item.type,
        "resourcegroup": item.group_key.rpartition("/")[2],
        "location": item.location,
    }
    for term in terms:
        if term.field == "tagname":
            good = any(term.holds(name) for name in tags)
        elif term.field == "tagvalue":
            good = any(term.holds(value) for name, value in tags.items() if named in (None, name.lower()))
        else:
            good = term.holds(texts[term.field])
        if not good:
            return False
    return True
