"""Lowerings over IP addresses: read by Python, save the plain tests of IPv4 text."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.sql.functions.convert import INT, LONG
from headrace.kql.sql.functions.direct import by_python

by_python(
    "parse_ipv4",
    "parse_ipv4_mask",
    "ipv4_compare",
    "ipv4_is_match",
    "ipv4_is_in_range",
    "ipv4_is_in_any_range",
    "ipv4_is_private",
    "ipv4_netmask_suffix",
    "ipv4_range_to_cidr_list",
    "has_ipv4",
    "has_ipv4_prefix",
    "has_any_ipv4",
    "has_any_ipv4_prefix",
    "parse_ipv6",
    "parse_ipv6_mask",
    "ipv6_compare",
    "ipv6_is_match",
    "ipv6_is_in_range",
    "ipv6_is_in_any_range",
)


def _format(name: str) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        kind = "number" if arguments[0].type in (INT, LONG) else "text"
        made = b.python(name, b.text(kind), *[argument.sql for argument in arguments])
        return b.coalesce(made, "")

    lowers(name)(lowering)


_format("format_ipv4")
_format("format_ipv4_mask")
