"""A table's plan and retention. Source: Azure Monitor, 'Manage data retention'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.arm.kinds.base import one_of
from headrace.arm.views import interactive_retention
from headrace.wire.problems import HttpError, http_error

PLANS = ("Analytics", "Basic", "Auxiliary")
RETENTION_FIELDS = ("retentionInDays", "totalRetentionInDays")
LONG_RETENTIONS = (1095, 1460, 1826, 2191, 2556, 2922, 3288, 3653, 4018, 4383)
_MIN, _MAX = 4, 730


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan and its retention in days; None follows the workspace."""

    name: str = "Analytics"
    retention: int | None = None
    total: int | None = None


def read_plan(
    properties: Mapping[str, Any], before: Plan | None, *, replace_all: bool, workspace_days: int
) -> Plan:
    """The plan that a request's properties ask for. With `replace_all` absent retention is the default's.

    `workspace_days` is the workspace's retention, which a table has that asks for none. Raises `HttpError` 400.
    """
    name = _name(properties.get("plan"), before)
    start = Plan() if replace_all or before is None else before
    retention = _days(properties, "retentionInDays", start.retention, longest=())
    total = _days(properties, "totalRetentionInDays", start.total, longest=LONG_RETENTIONS)
    if name != "Analytics":
        retention = None
    interactive = interactive_retention(name, retention, workspace_days)
    asked = any(properties.get(field) not in (None, -1) for field in RETENTION_FIELDS)
    if asked and total is not None and total < interactive:
        cure = "Set 'retentionInDays', too." if name == "Analytics" else f"The plan {name} fixes it."
        raise _invalid(
            f"'totalRetentionInDays' is {total}, less than the {interactive} days of 'retentionInDays', which it "
            f"includes. {cure}",
            "totalRetentionInDays",
        )
    return Plan(name, retention, total)


def _name(value: object, before: Plan | None) -> str:
    if value is None:
        return before.name if before is not None else "Analytics"
    name = one_of(value, PLANS)
    if name is None:
        raise _invalid(f"The plan is one of {', '.join(PLANS)}.", "plan")
    if before is not None and name != before.name and "Auxiliary" in (name, before.name):
        raise _invalid("A table cannot change to the Auxiliary plan or from it.", "plan")
    return name


def _days(
    properties: Mapping[str, Any], field: str, before: int | None, *, longest: tuple[int, ...]
) -> int | None:
    if field not in properties:
        return before
    value = properties[field]
    if value is None or value == -1:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or not (_MIN <= value <= _MAX or value in longest)
    ):
        more = f", or one of {', '.join(str(days) for days in longest)}" if longest else ""
        raise _invalid(f"'{field}' is {_MIN} to {_MAX} days{more}; -1 or null is the default.", field)
    return value


def _invalid(message: str, field: str) -> HttpError:
    return http_error(400, "InvalidParameter", message, target=f"properties.{field}")
