"""IP addresses, version 4 and 6."""

from __future__ import annotations

from functools import partial

from headrace.kql.bind.functions.declare import BOOL, DYNAMIC, LONG, STRING, scalar

_extended = partial(scalar, family="network")

FUNCTIONS = (
    _extended("parse_ipv4", "An IPv4 address as a number; null if it is none.", "ip: string", LONG),
    _extended(
        "parse_ipv4_mask", "An IPv4 address, cut to a prefix, as a number.", "ip: string, prefix: long", LONG
    ),
    _extended("format_ipv4", "A number or text as an IPv4 address.", "ip: any, prefix?: long", STRING),
    _extended("format_ipv4_mask", "A number or text as an IPv4 network.", "ip: any, prefix?: long", STRING),
    _extended(
        "ipv4_compare",
        "-1, 0 or 1 as the first address is below, at or above the second.",
        "ip1: string, ip2: string, prefix?: long",
        LONG,
    ),
    _extended(
        "ipv4_is_match",
        "Whether two addresses or networks match.",
        "ip1: string, ip2: string, prefix?: long",
        BOOL,
    ),
    _extended("ipv4_is_in_range", "Whether an address lies in a network.", "ip: string, range: string", BOOL),
    _extended(
        "ipv4_is_in_any_range",
        "Whether an address lies in one of the networks.",
        "ip: string, range+: string|dynamic",
        BOOL,
    ),
    _extended("ipv4_is_private", "Whether an address is a private one.", "ip: string", BOOL),
    _extended("ipv4_netmask_suffix", "The length of a network's prefix.", "ip: string", LONG),
    _extended(
        "ipv4_range_to_cidr_list",
        "The networks that cover a range of addresses.",
        "start: string, end: string",
        DYNAMIC,
    ),
    _extended("has_ipv4", "Whether a text holds the address.", "text: string, ip: string", BOOL),
    _extended(
        "has_ipv4_prefix",
        "Whether a text holds an address with that prefix.",
        "text: string, prefix: string",
        BOOL,
    ),
    _extended(
        "has_any_ipv4",
        "Whether a text holds one of the addresses.",
        "text: string, ip+: string|dynamic",
        BOOL,
    ),
    _extended(
        "has_any_ipv4_prefix",
        "Whether a text holds an address with one of the prefixes.",
        "text: string, prefix+: string|dynamic",
        BOOL,
    ),
    _extended("parse_ipv6", "An IPv6 or IPv4 address in full form.", "ip: string", STRING),
    _extended(
        "parse_ipv6_mask",
        "An IPv6 or IPv4 address, cut to a prefix, in full form.",
        "ip: string, prefix: long",
        STRING,
    ),
    _extended(
        "ipv6_compare",
        "-1, 0 or 1 as the first address is below, at or above the second.",
        "ip1: string, ip2: string, prefix?: long",
        LONG,
    ),
    _extended(
        "ipv6_is_match",
        "Whether two addresses or networks match.",
        "ip1: string, ip2: string, prefix?: long",
        BOOL,
    ),
    _extended("ipv6_is_in_range", "Whether an address lies in a network.", "ip: string, range: string", BOOL),
    _extended(
        "ipv6_is_in_any_range",
        "Whether an address lies in one of the networks.",
        "ip: string, range+: string|dynamic",
        BOOL,
    ),
)
