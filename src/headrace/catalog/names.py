"""Names of tables and columns: what Azure allows, what is reserved, and the physical names in files."""

from __future__ import annotations

import re
from collections.abc import Container, MutableSet

from headrace.catalog.system import STORED

SYSTEM_COLUMNS = frozenset(
    {
        "TenantId", "Type", "_BilledSize", "_IsBillable", "_ItemId", "_ResourceGroup", "_ResourceId",
        "_RuleVersion", "_SubscriptionId", "_TimeReceived",
    }
)  # fmt: skip
"""Columns that every table has by itself: nobody declares them, and nothing that is sent sets them."""

RESERVED_COLUMNS = frozenset(
    {
        "id", "BilledSize", "IsBillable", "InvalidTimeGenerated", "TenantId", "Title", "Type", "UniqueId",
        "_ItemId", "_ResourceGroup", "_ResourceId", "_SubscriptionId", "_TimeReceived",
    }
)  # fmt: skip
"""Names that a custom column may not have. Source: Azure Monitor, 'Create a custom table'."""

MAX_COLUMNS = 500
MAX_CUSTOM_TABLES = 500
MAX_TABLE_NAME = 103
MIN_COLUMN_NAME = 2
MAX_COLUMN_NAME = 45

_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_CUSTOM_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*_CL", re.ASCII)
_CLASSIC_SUFFIX = re.compile(r"_[sdbgt]")
_PHYSICAL_TAKEN = frozenset({column.physical.lower() for column in STORED} | {"_day"})


def custom_table_fault(name: str) -> str | None:
    """Why a custom table cannot have this name, or None when it can."""
    if not name.endswith("_CL"):
        return "The name of a custom table ends in '_CL'."
    if len(name) > MAX_TABLE_NAME:
        return f"The name of a custom table has at most {MAX_TABLE_NAME} characters."
    if not _CUSTOM_TABLE.fullmatch(name):
        return "The name of a custom table starts with a letter and has only ASCII letters, digits and '_'."
    return None


def column_fault(name: str) -> str | None:
    """Why a custom column cannot have this name, or None when it can.

    A classic table's columns carry a type suffix (`_s`, `_d`, ...) beyond the 45 characters.
    """
    if name in RESERVED_COLUMNS:
        return "The name is reserved."
    bare = name[:-2] if _CLASSIC_SUFFIX.fullmatch(name[-2:]) else name
    if len(name) < MIN_COLUMN_NAME or len(bare) > MAX_COLUMN_NAME:
        return f"A column name has {MIN_COLUMN_NAME} to {MAX_COLUMN_NAME} characters."
    if not _COLUMN.fullmatch(name):
        return "A column name starts with a letter and has only ASCII letters, digits and '_'."
    return None


def assign_physical(name: str, taken: MutableSet[str]) -> str:
    """A column's name in files: its own unless taken in any letter case; adds it to `taken` (lower-case)."""
    physical, number = name, 1
    while _is_taken(physical.lower(), taken):
        number += 1
        physical = f"{name}__{number}"
    taken.add(physical.lower())
    return physical


def _is_taken(lowered: str, taken: Container[str]) -> bool:
    return lowered in taken or lowered in _PHYSICAL_TAKEN
