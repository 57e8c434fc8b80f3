"""What all kinds of resources have in common: the methods, etags, documents, tags, lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from sqlalchemy import Connection

from headrace.arm import store
from headrace.arm.body import parse_object
from headrace.arm.ids import GROUP_TYPE, Target, make_key
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.clock import iso
from headrace.ids import guid_of, new_guid
from headrace.wire.problems import HttpError, http_error

PAGE = 1000
MAX_TAGS = 50
READ_ONLY = frozenset({"id", "name", "type", "etag", "systemData"})


class Kind:
    """A kind of resource. Subclasses answer the methods that the kind has; the others are 405.

    `type` is in Azure's casing. `prepare` runs before the write transaction of a `put` or `patch`, on a
    connection of its own, for work that takes long.
    """

    type: str
    actions: frozenset[str] = frozenset()
    """POST actions below a resource, lower-case."""
    silent_actions: frozenset[str] = frozenset()
    """Those of them that are answered without a body."""
    bare_list = False
    """Whether a list is answered as an array of its own, without `value`."""

    def parse(self, body: bytes) -> dict[str, Any]:
        """The object that a request's body holds. Raises `HttpError` 400."""
        return parse_object(body)

    def alone(self, call: Call) -> bool:
        """Whether a writing call brings its own transactions: `call.connection` is then for reading."""
        return False

    def prepare(self, call: Call) -> Any:
        """Work ahead of the write; the result is the call's `prepared`."""
        return None

    def get(self, call: Call) -> Answer:
        """GET of one resource."""
        raise method_not_allowed(call)

    def list(self, call: Call) -> Answer:
        """GET of a collection."""
        raise method_not_allowed(call)

    def put(self, call: Call) -> Answer:
        """PUT of one resource."""
        raise method_not_allowed(call)

    def patch(self, call: Call) -> Answer:
        """PATCH of one resource."""
        raise method_not_allowed(call)

    def delete(self, call: Call) -> Answer:
        """DELETE of one resource."""
        raise method_not_allowed(call)

    def post(self, call: Call) -> Answer:
        """POST of one of the kind's actions, `call.action`."""
        raise method_not_allowed(call)

    def ask(self, call: Call) -> Answer:
        """POST to the collection: a question that is too long for an address, and changes nothing."""
        raise method_not_allowed(call)


def has(kind: Kind, method: str) -> bool:
    """Whether the kind answers `method`: `get`, `list`, `put`, `patch`, `delete` or `ask`."""
    return getattr(type(kind), method) is not getattr(Kind, method)


def allowed_methods(kind: Kind, target: Target) -> list[str]:
    """The HTTP methods that the kind has for a resource, or for a collection."""
    if target.is_collection:
        return [*(("GET", "HEAD") if has(kind, "list") else ()), *(("POST",) if has(kind, "ask") else ())]
    methods = [method.upper() for method in ("get", "put", "patch", "delete") if has(kind, method)]
    return ["GET", "HEAD", *methods[1:]] if methods[:1] == ["GET"] else methods


def method_not_allowed(call: Call, allowed: Iterable[str] = ()) -> HttpError:
    """405 for a method that the kind does not have, with those that it has."""
    return http_error(
        405,
        "MethodNotAllowed",
        f"{call.method} is not supported for '{call.target.type}'{'' if call.action is None else ' here'}.",
        headers={"Allow": ", ".join(allowed)},
    )


# Finding things


def not_found(call: Call) -> HttpError:
    """404 in ARM's words."""
    target = call.target
    under = f" under resource group '{target.group}'" if target.group else ""
    return http_error(404, "ResourceNotFound", f"The Resource '{target.short}'{under} was not found.")


def require(call: Call) -> Resource:
    """The resource that the call is about. Raises `HttpError` 404."""
    require_scope(call)
    found = store.get(call.connection, call.target.key)
    if found is None:
        raise not_found(call)
    return found


def require_scope(call: Call) -> None:
    """Raises `HttpError` 404 when the call's subscription or resource group does not exist."""
    target = call.target
    require_subscription(call.connection, target)
    group = target.group_key if target.type != GROUP_TYPE else None
    if group is not None and not store.exists(call.connection, group):
        raise group_not_found(target.group or "")


def require_subscription(connection: Connection, target: Target) -> None:
    """Raises `HttpError` when the target's subscription does not exist: 404, and 400 for what is no GUID."""
    name = target.subscription
    if name is None or store.exists(connection, f"/subscriptions/{name}".lower()):
        return
    if guid_of(name) is None:
        raise http_error(
            400,
            "InvalidSubscriptionId",
            f"The provided subscription identifier '{name[:64]}' is malformed or invalid.",
        )
    raise http_error(404, "SubscriptionNotFound", f"The subscription '{name}' could not be found.")


def group_not_found(name: str) -> HttpError:
    """404 in ARM's words."""
    return http_error(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def check_etag(call: Call, existing: Resource | None) -> None:
    """Raises `HttpError` 412 when If-Match or If-None-Match does not hold."""
    wanted = call.headers.get("if-match")
    if wanted is not None and (existing is None or not _matches(wanted, existing.etag)):
        raise http_error(
            412,
            "PreconditionFailed",
            f"The resource '{call.target.short}' is not at the etag of If-Match: somebody changed it. "
            "Read it again.",
        )
    unwanted = call.headers.get("if-none-match")
    if unwanted is not None and existing is not None and _matches(unwanted, existing.etag):
        raise http_error(412, "PreconditionFailed", f"The resource '{call.target.short}' exists already.")


def _matches(header: str, etag: str) -> bool:
    for part in header.split(","):
        text = part.strip()
        text = text[2:] if text.startswith("W/") else text
        if text == "*" or text.strip('"\\') == etag:
            return True
    return False


# Documents


def new_resource(
    call: Call, document: Mapping[str, Any], location: str, *, unique_id: str | None = None
) -> Resource:
    """A resource as the call makes it, not yet saved."""
    target = call.target
    return Resource(
        key=target.key,
        id=target.id,
        type=target.type,
        subscription=(target.subscription or "").lower(),
        group_key=target.group_key or "",
        parent_key=target.parent_id.lower(),
        name=target.name,
        location=location,
        document=document,
        etag=new_guid(),
        created=call.now,
        created_by=call.caller.object_id,
        modified=call.now,
        modified_by=call.caller.object_id,
        unique_id=unique_id,
    )


def changed(call: Call, existing: Resource, document: Mapping[str, Any], **values: Any) -> Resource:
    """An existing resource with another document: same id, casing, creation and unique id."""
    return replace(
        existing,
        document=document,
        etag=new_guid(),
        modified=call.now,
        modified_by=call.caller.object_id,
        **values,
    )


def find_for_put(call: Call) -> Resource | None:
    """What a PUT replaces; None when it makes something new. Raises `HttpError` 412 as `check_etag` does."""
    existing = store.get(call.connection, call.target.key)
    check_etag(call, existing)
    return existing


def save_put(
    call: Call, existing: Resource | None, document: Mapping[str, Any], location: str = "", **values: Any
) -> Resource:
    """Save what a PUT makes, or makes of an existing resource."""
    item = changed(call, existing or new_resource(call, document, location), document, **values)
    store.save(call.connection, item)
    return item


def clean(body: Mapping[str, Any], read_only_properties: Iterable[str] = ()) -> dict[str, Any]:
    """A request's document without what only the server sets."""
    document = {name: value for name, value in body.items() if name not in READ_ONLY}
    properties = document.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, dict):
        raise invalid("'properties' is an object.", "properties")
    left_out = frozenset(read_only_properties)
    document["properties"] = {name: value for name, value in properties.items() if name not in left_out}
    return document


def invalid(message: str, target: str) -> HttpError:
    """400 for a document that cannot be understood."""
    return http_error(400, "InvalidRequestContent", message, target=target)


def find_member(value: Mapping[str, Any], name: str) -> Any:
    """A member by its name in any letter case, as clients write some bodies in several; None where it is not there."""
    return next((inner for key, inner in value.items() if key.lower() == name.lower()), None)


def one_of(value: object, known: Iterable[str]) -> str | None:
    """The one of `known` that a value is in any letter case, as Azure reads such words; None for any other value."""
    wanted = value.lower() if isinstance(value, str) else None
    return next((word for word in known if word.lower() == wanted), None)


def without_null_tags(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body in which no tag is null: a client says so that there is to be no such tag."""
    tags = body.get("tags")
    if not isinstance(tags, dict) or None not in tags.values():
        return dict(body)
    return {**body, "tags": {name: value for name, value in tags.items() if value is not None}}


def check_tags(body: Mapping[str, Any]) -> None:
    """Raises `HttpError` 400 unless `tags` is absent, null or a map of texts within ARM's bounds."""
    tags = body.get("tags")
    if tags is None:
        return
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise invalid("'tags' is an object whose values are texts.", "tags")
    if len(tags) > MAX_TAGS or any(len(name) > 512 or len(value) > 256 for name, value in tags.items()):
        raise http_error(
            400,
            "InvalidTags",
            f"A resource has at most {MAX_TAGS} tags, with names of at most 512 and values of at most 256 "
            "characters.",
            target="tags",
        )


def read_location(call: Call, existing: Resource | None) -> str:
    """The resource's location in ARM's form (`eastus`). Raises `HttpError` when missing, wrong or changed."""
    value = call.body.get("location")
    if value is None and existing is not None:
        return existing.location
    if not isinstance(value, str) or not value.strip():
        raise http_error(
            400,
            "LocationRequired",
            "The location property is required for this definition.",
            target="location",
        )
    location = value.replace(" ", "").lower()
    if not location.isalnum() or not location.isascii() or len(location) > 64:
        raise http_error(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{value[:64]}' is not a location: use a name like 'eastus' or 'local'.",
            target="location",
        )
    if existing is not None and location != existing.location:
        raise http_error(
            409,
            "InvalidResourceLocation",
            f"The resource '{existing.name}' already exists in location '{existing.location}' in resource "
            f"group '{call.target.group}'. A resource with the same name cannot be created in location "
            f"'{location}'. Please select a new resource name.",
            target="location",
        )
    return location


def system_data(item: Resource) -> dict[str, Any]:
    """ARM's systemData. Callers are applications."""
    return {
        "createdBy": item.created_by,
        "createdByType": "Application",
        "createdAt": iso(item.created),
        "lastModifiedBy": item.modified_by,
        "lastModifiedByType": "Application",
        "lastModifiedAt": iso(item.modified),
    }


def render(item: Resource, properties: Mapping[str, Any], *, location: bool = True) -> dict[str, Any]:
    """A tracked resource as it is answered: the document, the given properties, what the server adds."""
    document: dict[str, Any] = {"id": item.id, "name": item.name, "type": item.type}
    if location:
        document["location"] = item.location
    rest = {name: value for name, value in item.document.items() if name not in ("properties", "location")}
    document |= {name: value for name, value in rest.items() if value is not None}
    document["properties"] = dict(properties)
    document["etag"] = f'"{item.etag}"'
    document["systemData"] = system_data(item)
    return document


def answer(item: Resource, body: Mapping[str, Any], status: int = 200) -> Answer:
    """An answer that carries a resource and its etag."""
    return Answer(status, body, {"ETag": f'"{item.etag}"'})


# Lists


def list_resources(
    call: Call, type_name: str | None, shown: Callable[[Call, Resource], dict[str, Any]]
) -> Answer:
    """A page of the resources in the call's subscription or group, with `nextLink` when there are more."""
    target = call.target
    limit = page_size(call)
    items = store.select_page(
        call.connection,
        type_name,
        subscription=target.subscription,
        group_key=target.group_key,
        after=skip_token(call),
        limit=limit + 1,
    )
    page = items[:limit]
    body: dict[str, Any] = {"value": [shown(call, item) for item in page]}
    if len(items) > limit:
        body["nextLink"] = next_link(call, page[-1].key)
    return Answer(200, body)


def page_size(call: Call) -> int:
    """`$top`, within 1 and 1000. Raises `HttpError` 400."""
    text = call.query.get("$top")
    if text is None:
        return PAGE
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) == 0:
        raise http_error(400, "InvalidTopParameter", "$top is a number above 0.", target="$top")
    return min(int(text), PAGE)


def skip_token(call: Call) -> str:
    """The key behind which a page starts. Raises `HttpError` 400."""
    token = call.query.get("$skiptoken")
    if not token:
        return ""
    try:
        return base64.urlsafe_b64decode(token.encode("ascii") + b"==").decode("utf-8")
    except (UnicodeError, binascii.Error):
        raise http_error(
            400, "InvalidSkipToken", "$skiptoken is not one that this server gave.", target="$skiptoken"
        ) from None


def next_link(call: Call, after: str) -> str:
    """The absolute address of the page behind `after`."""
    token = base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")
    query = {**call.query, "api-version": call.version, "$skiptoken": token}
    return f"{call.base}{quote(call.target.id)}?{urlencode(query, safe='$')}"


def require_parent(call: Call, type_name: str) -> Resource:
    """The resource that a nested one belongs to. Raises `HttpError` 404."""
    require_scope(call)
    parent = store.get(call.connection, make_key(call.target.parent_id, type_name))
    if parent is None:
        name = call.target.parent_id.rpartition("/")[2]
        raise http_error(
            404,
            "ParentResourceNotFound",
            f"Failed to perform '{'read' if call.method == 'GET' else 'write'}' on resource(s) of type "
            f"'{call.target.type.partition('/')[2]}', because the parent resource '{name}' could not be found.",
        )
    return parent
