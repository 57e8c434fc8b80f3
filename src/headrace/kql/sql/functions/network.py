"""Lowerings over IP addresses: read by Python, save the plain tests of IPv4 text."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Context, Typed, lowers
from headrace.kql.sql.functions.convert import INT, LONG


def _by_python(name: str, result: str) -> None:
    def lowering(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
        made = b.python(name, *[argument.sql for argument in arguments])
        if result == "VARCHAR":
            return b.coalesce(made, "")
        return b.cast(made, result)

    lowers(name)(lowering)


for _name in ("parse_ipv4", "parse_ipv4_mask", "ipv4_compare", "ipv4_netmask_suffix", "ipv6_compare"):
    _by_python(_name, "BIGINT")
for _name in (
    "ipv4_is_match",
    "ipv4_is_in_range",
    "ipv4_is_in_any_range",
    "ipv4_is_private",
    "ipv6_is_match",
    "ipv6_is_in_range",
    "ipv6_is_in_any_range",
    "has_ipv4",
    "has_ipv4_prefix",
    "has_any_ipv4",
    "has_any_ipv4_prefix",
):
    _by_python(_name, "BOOLEAN")
for _name in ("parse_ipv6", "parse_ipv6_mask"):
    _by_python(_name, "VARCHAR")


@lowers("ipv4_range_to_cidr_list")
def range_to_cidr(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
    """An array of networks."""
    return b.python("ipv4_range_to_cidr_list", *[argument.sql for argument in arguments])


def _format(name: str) -> None:
    def lowering(context: Context, arguments: Sequence[Typed]) -> exp.Expression:
        kind = "number" if arguments[0].type in (INT, LONG) else "text"
        made = b.python(name, b.text(kind), *[argument.sql for argument in arguments])
        return b.coalesce(made, "")

    lowers(name)(lowering)


_format("format_ipv4")
_format("format_ipv4_mask")
