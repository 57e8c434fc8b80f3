"""IP addresses and networks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial

from headrace.kql.sql.udf.values import as_bool, as_int, dump, parse

_FULL4, _FULL6 = 0xFFFF_FFFF, 2**128 - 1
_MAPPED = 0xFFFF << 32


@lru_cache(maxsize=65_536)
def read4(text: str) -> tuple[int, int] | None:
    """The address and the prefix length of `1.2.3.4` or `1.2.3.0/24`."""
    host, slash, suffix = text.strip().partition("/")
    parts = host.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
        return None
    numbers = [int(part) for part in parts]
    if max(numbers) > 255:
        return None
    prefix = 32
    if slash:
        if not (suffix.isascii() and suffix.isdigit()) or int(suffix) > 32:
            return None
        prefix = int(suffix)
    return int.from_bytes(bytes(numbers), "big"), prefix


@lru_cache(maxsize=65_536)
def read6(text: str) -> tuple[int, int] | None:
    """The address and the prefix length of IPv6 text; IPv4 is taken as mapped into IPv6."""
    four = read4(text)
    if four is not None:
        return _MAPPED | four[0], four[1] + 96
    host, slash, suffix = text.strip().partition("/")
    if host.startswith("::") and read4(host[2:]) is not None:
        # IPv4 in IPv6's clothes: a short prefix counts the IPv4 bits.
        return read6(f"{host[2:]}{slash}{suffix}")
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return None
    prefix = 128
    if slash:
        if not (suffix.isascii() and suffix.isdigit()) or int(suffix) > 128:
            return None
        prefix = int(suffix)
    return int(address), prefix


def _mask(width: int, prefix: int) -> int:
    return ((1 << prefix) - 1) << (width - prefix)


def _parse4(ip: str | None) -> str | None:
    found = read4(ip or "")
    return None if found is None else str(found[0] & _mask(32, found[1]))


def _parse4_mask(ip: str | None, prefix: str | None) -> str | None:
    found, length = read4(ip or ""), as_int(prefix)
    if found is None or length is None or not 0 <= length <= 32:
        return None
    return str(found[0] & _mask(32, min(found[1], length)))


def _dotted(number: int) -> str:
    return ".".join(str(part) for part in number.to_bytes(4, "big"))


def _format4(kind: str | None, ip: str | None, prefix: str | None = None) -> str | None:
    found = _formatted(kind, ip, prefix)
    return "" if found is None else _dotted(found[0])


def _format4_mask(kind: str | None, ip: str | None, prefix: str | None = None) -> str | None:
    found = _formatted(kind, ip, prefix)
    return "" if found is None else f"{_dotted(found[0])}/{found[1]}"


def _formatted(kind: str | None, ip: str | None, prefix: str | None) -> tuple[int, int] | None:
    number = as_int(ip) if kind == "number" else None
    found = (number, 32) if number is not None and 0 <= number <= _FULL4 else read4(ip or "")
    length = 32 if prefix is None else as_int(prefix)
    if found is None or length is None or not 0 <= length <= 32:
        return None
    length = min(found[1], length)
    return found[0] & _mask(32, length), length


Reader = Callable[[str], "tuple[int, int] | None"]


def _compared(
    reader: Reader, width: int, first: str | None, second: str | None, prefix: str | None
) -> int | None:
    left, right = reader(first or ""), reader(second or "")
    length = width if prefix is None else as_int(prefix)
    if left is None or right is None or length is None or not 0 <= length <= width:
        return None
    mask = _mask(width, min(left[1], right[1], length))
    one, two = left[0] & mask, right[0] & mask
    return (one > two) - (one < two)


def _compare(
    reader: Reader, width: int, first: str | None, second: str | None, prefix: str | None = None
) -> str | None:
    found = _compared(reader, width, first, second, prefix)
    return None if found is None else str(found)


def _match(
    reader: Reader, width: int, first: str | None, second: str | None, prefix: str | None = None
) -> str | None:
    found = _compared(reader, width, first, second, prefix)
    return None if found is None else as_bool(found == 0)


def _in_range(reader: Reader, width: int, ip: str | None, network: str | None) -> str | None:
    address, area = reader(ip or ""), reader(network or "")
    if address is None or area is None:
        return None
    mask = _mask(width, area[1])
    return as_bool(address[0] & mask == area[0] & mask)


def texts(values: Iterable[str | None]) -> list[str]:
    """The single texts of arguments that are texts or arrays of texts."""
    found: list[str] = []
    for value in values:
        parsed = parse(value) if value is not None and value.startswith(("[", '"')) else value
        for item in parsed if isinstance(parsed, list) else [parsed]:
            if isinstance(item, str):
                found.append(item)
    return found


def _in_any_range(reader: Reader, width: int, ip: str | None, *networks: str | None) -> str | None:
    answers = [_in_range(reader, width, ip, network) for network in texts(networks)]
    if reader(ip or "") is None:
        return None
    return as_bool("true" in answers)


_PRIVATE = tuple(read4(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))


def _is_private(ip: str | None) -> str | None:
    found = read4(ip or "")
    if found is None:
        return None
    for network in _PRIVATE:
        if network is not None and found[1] >= network[1]:
            mask = _mask(32, network[1])
            if found[0] & mask == network[0] & mask:
                return "true"
    return "false"


def _suffix(ip: str | None) -> str | None:
    found = read4(ip or "")
    return None if found is None else str(found[1])


def _cidr_list(start: str | None, end: str | None) -> str | None:
    first, last = read4(start or ""), read4(end or "")
    if first is None or last is None or first[0] > last[0]:
        return None
    networks = ipaddress.summarize_address_range(
        ipaddress.IPv4Address(first[0]), ipaddress.IPv4Address(last[0])
    )
    return dump([str(network) for network in networks])


_IN_TEXT = re.compile(r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z])(?!\.\d)")


def _found(source: str | None) -> list[str]:
    return [item for item in _IN_TEXT.findall(source or "") if read4(item) is not None]


def _has4(source: str | None, *addresses: str | None) -> str | None:
    wanted = {found[0] for found in (read4(text) for text in texts(addresses)) if found is not None}
    return as_bool(any((read4(item) or (None,))[0] in wanted for item in _found(source)))


def _has4_prefix(source: str | None, *prefixes: str | None) -> str | None:
    wanted = tuple(text for text in texts(prefixes) if text)
    return as_bool(
        any(
            item == prefix or (prefix.endswith(".") and item.startswith(prefix))
            for item in _found(source)
            for prefix in wanted
        )
    )


def _parse6(ip: str | None) -> str | None:
    return _parse6_mask(ip, "128")


def _parse6_mask(ip: str | None, prefix: str | None) -> str | None:
    found, length = read6(ip or ""), as_int(prefix)
    if found is None or length is None or not 0 <= length <= 128:
        return None
    length = min(found[1], length)
    return ipaddress.IPv6Address(found[0] & _mask(128, length)).exploded


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "parse_ipv4": _parse4,
    "parse_ipv4_mask": _parse4_mask,
    "format_ipv4": _format4,
    "format_ipv4_mask": _format4_mask,
    "ipv4_compare": partial(_compare, read4, 32),
    "ipv4_is_match": partial(_match, read4, 32),
    "ipv4_is_in_range": partial(_in_range, read4, 32),
    "ipv4_is_in_any_range": partial(_in_any_range, read4, 32),
    "ipv4_is_private": _is_private,
    "ipv4_netmask_suffix": _suffix,
    "ipv4_range_to_cidr_list": _cidr_list,
    "has_ipv4": _has4,
    "has_any_ipv4": _has4,
    "has_ipv4_prefix": _has4_prefix,
    "has_any_ipv4_prefix": _has4_prefix,
    "parse_ipv6": _parse6,
    "parse_ipv6_mask": _parse6_mask,
    "ipv6_compare": partial(_compare, read6, 128),
    "ipv6_is_match": partial(_match, read6, 128),
    "ipv6_is_in_range": partial(_in_range, read6, 128),
    "ipv6_is_in_any_range": partial(_in_any_range, read6, 128),
}
