"""The control plane's tables. Ids are looked up by lower-case keys; times are UTC microseconds.

A resource's document is ARM JSON as it was last sent, without what the server itself adds; `state` holds what
the server keeps about it beside that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    RowMapping,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from headrace.arm.ids import DELETED_WORKSPACE_TYPE, WORKSPACE_TYPE
from headrace.store.metadata import metadata

resource = Table(
    "arm_resource",
    metadata,
    Column("key", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("subscription", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("parent_key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("unique_id", Text, unique=True),
    Column("document", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("modified_by", Text, nullable=False),
    Index("ix_arm_resource_type_scope", "type", "subscription", "group_key", "key"),
    Index("ix_arm_resource_parent", "parent_key", "type"),
)
"""`unique_id` is a rule's or endpoint's immutable id, a workspace's customerId."""

rule = Table(
    "arm_rule",
    metadata,
    Column("immutable_id", Text, primary_key=True),
    Column("resource_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("deleted", BigInteger),
)
"""Every rule that ever was; `deleted` is when it went, if it did."""

rule_version = Table(
    "arm_rule_version",
    metadata,
    Column("immutable_id", Text, ForeignKey(rule.c.immutable_id, ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
)

table = Table(
    "arm_table",
    metadata,
    Column("incarnation", Text, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("retention_days", Integer),
    Column("total_retention_days", Integer),
    Column("created", BigInteger, nullable=False),
    Column("deleted", BigInteger),
    Index("ix_arm_table_workspace", "customer_id", "name"),
)
"""Every incarnation of a table that something is stored about. Null retention is the workspace's."""

table_schema = Table(
    "arm_table_schema",
    metadata,
    Column("incarnation", Text, ForeignKey(table.c.incarnation, ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("columns", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
)

workspace_key = Table(
    "arm_workspace_key",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("primary_key", Text, nullable=False),
    Column("secondary_key", Text, nullable=False),
    Column("changed", BigInteger, nullable=False),
)
"""A workspace's shared keys, base64 of 64 random bytes each, in the clear: who checks a signature needs them."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A row of `arm_resource`. `id` is in Azure's casing; `group_key` and `parent_key` are lower-case ids."""

    key: str
    id: str
    type: str
    subscription: str
    group_key: str
    parent_key: str
    name: str
    location: str
    document: Mapping[str, Any]
    etag: str
    created: int
    created_by: str
    modified: int
    modified_by: str
    unique_id: str | None = None
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> Mapping[str, Any]:
        """The document's `properties`."""
        found = self.document.get("properties")
        return found if isinstance(found, dict) else {}


def _row(item: Resource) -> dict[str, Any]:
    row = packed(item)
    row["document"] = msgspec.json.encode(item.document).decode()
    row["state"] = msgspec.json.encode(item.state).decode()
    return row


def _resource(row: RowMapping) -> Resource:
    values = dict(row)
    values["document"] = msgspec.json.decode(values["document"])
    values["state"] = msgspec.json.decode(values["state"])
    return Resource(**values)


def packed(item: Resource) -> dict[str, Any]:
    """A resource as JSON, to be kept within another's `state`."""
    return {name: getattr(item, name) for name in Resource.__slots__}


def unpacked(row: Mapping[str, Any]) -> Resource:
    """The reverse of `packed`."""
    return Resource(**row)


def get(connection: Connection, key: str) -> Resource | None:
    """The resource with this key, or None."""
    row = connection.execute(select(resource).where(resource.c.key == key)).mappings().first()
    return _resource(row) if row is not None else None


def exists(connection: Connection, key: str) -> bool:
    """Whether there is a resource with this key."""
    return connection.execute(select(resource.c.key).where(resource.c.key == key)).first() is not None


def save(connection: Connection, item: Resource) -> None:
    """Write a resource, new or changed."""
    row = _row(item)
    statement = upsert(resource).values(row)
    changes = {name: value for name, value in row.items() if name != "key"}
    connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=changes))


def remove(connection: Connection, key: str) -> None:
    """Take a resource away."""
    connection.execute(delete(resource).where(resource.c.key == key))


def select_page(
    connection: Connection,
    type_name: str | None,
    *,
    subscription: str | None = None,
    group_key: str | None = None,
    parent_key: str | None = None,
    after: str = "",
    limit: int | None = None,
) -> list[Resource]:
    """Resources of a type (of all types when None) in a scope, in the order of their keys after `after`."""
    query = select(resource).where(resource.c.key > after).order_by(resource.c.key)
    for column, value in (
        (resource.c.type, type_name),
        (resource.c.subscription, subscription),
        (resource.c.group_key, group_key),
        (resource.c.parent_key, parent_key),
    ):
        if value is not None:
            query = query.where(column == value)
    if limit is not None:
        query = query.limit(limit)
    return [_resource(row) for row in connection.execute(query).mappings()]


def keep_newest(connection: Connection, type_name: str, parent_key: str, count: int) -> None:
    """Take away a parent's resources of a type but for the `count` that were changed last."""
    those = (resource.c.type == type_name) & (resource.c.parent_key == parent_key)
    newest = select(resource.c.key).where(those).order_by(resource.c.modified.desc()).limit(count)
    connection.execute(delete(resource).where(those, resource.c.key.not_in(newest)))


def locations(connection: Connection) -> set[str]:
    """The locations of all resources that have one."""
    query = select(resource.c.location).where(resource.c.location != "").distinct()
    return set(connection.execute(query).scalars())


def below(connection: Connection, key: str) -> list[Resource]:
    """Every resource whose id starts with this one's and a slash, in the order of their keys."""
    query = (
        select(resource)
        .where(resource.c.key > f"{key}/", resource.c.key < f"{key}0")
        .order_by(resource.c.key)
    )
    return [_resource(row) for row in connection.execute(query).mappings()]


# Rules


@dataclass(frozen=True, slots=True)
class RuleHeadRow:
    """A live rule and the version that new requests are accepted under."""

    immutable_id: str
    resource_id: str
    version: int


def add_rule_version(
    connection: Connection, immutable_id: str, resource_id: str, document: Mapping[str, Any], now: int
) -> int:
    """Make a version of a rule current and answer its number, counted from 1."""
    row = connection.execute(select(rule.c.version).where(rule.c.immutable_id == immutable_id)).first()
    version = 1 if row is None else int(row.version) + 1
    statement = upsert(rule).values(immutable_id=immutable_id, resource_id=resource_id, version=version)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["immutable_id"],
            set_={"version": version, "resource_id": resource_id, "deleted": None},
        )
    )
    connection.execute(
        insert(rule_version).values(
            immutable_id=immutable_id,
            version=version,
            document=msgspec.json.encode(document).decode(),
            created=now,
        )
    )
    return version


def mark_rule_deleted(connection: Connection, immutable_id: str, now: int) -> None:
    """No request is accepted under the rule any more; its versions stay for what was accepted before."""
    connection.execute(update(rule).where(rule.c.immutable_id == immutable_id).values(deleted=now))


def live_rules(connection: Connection) -> list[RuleHeadRow]:
    """Every rule that is not deleted, with its current version."""
    query = select(rule.c.immutable_id, rule.c.resource_id, rule.c.version).where(rule.c.deleted.is_(None))
    return [RuleHeadRow(row[0], row[1], row[2]) for row in connection.execute(query)]


def rule_document(
    connection: Connection, immutable_id: str, version: int
) -> tuple[str, Mapping[str, Any]] | None:
    """The resource id and document of any kept version, also of a deleted rule's; None when not kept."""
    query = (
        select(rule.c.resource_id, rule_version.c.document)
        .join(rule_version, rule.c.immutable_id == rule_version.c.immutable_id)
        .where(rule_version.c.immutable_id == immutable_id, rule_version.c.version == version)
    )
    row = connection.execute(query).first()
    return (row.resource_id, msgspec.json.decode(row.document)) if row is not None else None


def superseded_rule_versions(connection: Connection, before: int) -> list[tuple[str, int]]:
    """Rules with versions that another replaced before that time, and the version that did it last."""
    kept = func.max(rule_version.c.version)
    query = (
        select(rule_version.c.immutable_id, kept)
        .where(rule_version.c.created < before)
        .group_by(rule_version.c.immutable_id)
        .having(func.min(rule_version.c.version) < kept)
    )
    return [(row[0], int(row[1])) for row in connection.execute(query)]


def prune_rule_versions(connection: Connection, immutable_id: str, below_version: int) -> int:
    """Forget a rule's versions below one that no journal record needs any more; answers how many."""
    current = select(rule.c.version).where(rule.c.immutable_id == immutable_id).scalar_subquery()
    statement = delete(rule_version).where(
        rule_version.c.immutable_id == immutable_id,
        rule_version.c.version < below_version,
        rule_version.c.version != current,
    )
    return int(connection.execute(statement).rowcount)


# Tables


@dataclass(frozen=True, slots=True)
class TableRow:
    """One incarnation of a table, as it is stored. `schemas` are (version, columns JSON), oldest first."""

    incarnation: str
    customer_id: str
    name: str
    plan: str
    retention_days: int | None
    total_retention_days: int | None
    created: int
    deleted: int | None = None
    schemas: tuple[tuple[int, str], ...] = ()


def live_tables(
    connection: Connection, customer_ids: Sequence[str] | None = None, name: str | None = None
) -> Iterator[TableRow]:
    """The stored tables that are not deleted, of these workspaces or of all, with all their schemas."""
    query = (
        select(table, table_schema.c.version, table_schema.c.columns)
        .join(table_schema, table.c.incarnation == table_schema.c.incarnation)
        .where(table.c.deleted.is_(None))
        .order_by(table.c.incarnation, table_schema.c.version)
    )
    if customer_ids is not None:
        query = query.where(table.c.customer_id.in_(customer_ids))
    if name is not None:
        query = query.where(table.c.name == name)
    current: TableRow | None = None
    for row in connection.execute(query).mappings():
        version = (int(row["version"]), str(row["columns"]))
        if current is not None and current.incarnation == row["incarnation"]:
            current = replace(current, schemas=(*current.schemas, version))
            continue
        if current is not None:
            yield current
        current = TableRow(
            row["incarnation"],
            row["customer_id"],
            row["name"],
            row["plan"],
            row["retention_days"],
            row["total_retention_days"],
            row["created"],
            row["deleted"],
            (version,),
        )
    if current is not None:
        yield current


def add_table(connection: Connection, row: TableRow) -> None:
    """Store a new incarnation with its schemas."""
    connection.execute(
        insert(table).values(
            incarnation=row.incarnation,
            customer_id=row.customer_id,
            name=row.name,
            plan=row.plan,
            retention_days=row.retention_days,
            total_retention_days=row.total_retention_days,
            created=row.created,
        )
    )
    for version, columns in row.schemas:
        add_table_schema(connection, row.incarnation, version, columns, row.created)


def add_table_schema(connection: Connection, incarnation: str, version: int, columns: str, now: int) -> None:
    """Store a further version of a table's columns."""
    values = {"incarnation": incarnation, "version": version, "columns": columns, "created": now}
    connection.execute(insert(table_schema).values(values))


def set_table_plan(
    connection: Connection, incarnation: str, plan: str, retention: int | None, total: int | None
) -> None:
    """Change a table's plan and retention (days; None follows the workspace)."""
    values = {"plan": plan, "retention_days": retention, "total_retention_days": total}
    connection.execute(update(table).where(table.c.incarnation == incarnation).values(values))


def mark_tables_deleted(connection: Connection, customer_id: str, now: int, name: str | None = None) -> None:
    """The workspace's tables, or the one of this name, take no rows from now on."""
    statement = update(table).where(table.c.customer_id == customer_id, table.c.deleted.is_(None))
    if name is not None:
        statement = statement.where(table.c.name == name)
    connection.execute(statement.values(deleted=now))


def restore_tables(connection: Connection, customer_id: str, deleted: int) -> None:
    """The workspace's tables that were deleted at this time take rows again."""
    went = (table.c.customer_id == customer_id) & (table.c.deleted == deleted)
    connection.execute(update(table).where(went).values(deleted=None))


def deleted_tables(connection: Connection) -> list[tuple[str, str, str]]:
    """(customerId, name, incarnation) of every table that is deleted for good, for the removal of its files.

    One that went with its workspace stays as long as the workspace's record does.
    """
    kept = (resource.c.unique_id == table.c.customer_id) & (resource.c.modified == table.c.deleted)
    recoverable = select(resource.c.key).where(resource.c.type == DELETED_WORKSPACE_TYPE, kept).exists()
    query = select(table.c.customer_id, table.c.name, table.c.incarnation)
    query = query.where(table.c.deleted.is_not(None), ~recoverable)
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


# Shared keys


@dataclass(frozen=True, slots=True)
class SharedKeys:
    """A workspace's two keys, base64. A sender signs with either."""

    primary: str = field(repr=False)
    secondary: str = field(repr=False)


def shared_keys(connection: Connection) -> dict[str, SharedKeys]:
    """The keys of every workspace that has some, by customerId; those of deleted ones count for nothing."""
    there = (resource.c.unique_id == workspace_key.c.customer_id) & (resource.c.type == WORKSPACE_TYPE)
    rows = connection.execute(select(workspace_key).join(resource, there))
    return {row.customer_id: SharedKeys(row.primary_key, row.secondary_key) for row in rows}


def find_shared_keys(connection: Connection, customer_id: str) -> SharedKeys | None:
    """A workspace's keys; None when nobody has asked for them yet."""
    query = select(workspace_key).where(workspace_key.c.customer_id == customer_id)
    row = connection.execute(query).first()
    return SharedKeys(row.primary_key, row.secondary_key) if row is not None else None


def save_shared_keys(connection: Connection, customer_id: str, keys: SharedKeys, now: int) -> None:
    """Set a workspace's keys."""
    changes = {"primary_key": keys.primary, "secondary_key": keys.secondary, "changed": now}
    statement = upsert(workspace_key).values(customer_id=customer_id, **changes)
    connection.execute(statement.on_conflict_do_update(index_elements=["customer_id"], set_=changes))


def remove_shared_keys(connection: Connection, customer_id: str) -> None:
    """Forget a workspace's keys."""
    connection.execute(delete(workspace_key).where(workspace_key.c.customer_id == customer_id))


# Deleted workspaces


def recoverable_workspaces(connection: Connection) -> frozenset[str]:
    """The customerIds of the deleted workspaces that can be recovered."""
    query = select(resource.c.unique_id).where(resource.c.type == DELETED_WORKSPACE_TYPE)
    return frozenset(row[0] for row in connection.execute(query))


def purge_workspaces(connection: Connection, before: int) -> int:
    """Forget the workspaces that were deleted before this time; answers how many. Their tables' files may go."""
    old = (resource.c.type == DELETED_WORKSPACE_TYPE) & (resource.c.modified < before)
    gone = select(resource.c.unique_id).where(old)
    connection.execute(delete(workspace_key).where(workspace_key.c.customer_id.in_(gone)))
    return int(connection.execute(delete(resource).where(old)).rowcount)
