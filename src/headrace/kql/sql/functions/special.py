"""Lowerings of hashes, encodings, and the functions that exist in transforms only."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.sql.functions.convert import GUID, STRING, to_string
from headrace.kql.sql.functions.direct import by_engine, by_python

by_engine(hash_sha256="sha256", hash_sha1="sha1", hash_md5="md5")


@lowers("hash", "hash_xxhash64")
def hash_(arguments: Sequence[Typed]) -> exp.Expression:
    """xxHash64 of the value's bytes, as a signed long."""
    value = arguments[0]
    rest = [argument.sql for argument in arguments[1:]]
    return b.cast(b.python("hash", b.text(value.type.value), _hashed(value), *rest), "BIGINT")


def _hashed(argument: Typed) -> exp.Expression:
    return argument.sql if argument.type in (STRING, GUID) else b.as_text(argument.sql)


@lowers("hash_many")
def hash_many(arguments: Sequence[Typed]) -> exp.Expression:
    """The hashes of the values, combined."""
    hashes = [b.python("hash", b.text(member.type.value), _hashed(member)) for member in arguments]
    return b.cast(b.python("hash_combine", *hashes), "BIGINT")


@lowers("base64_encodestring", "base64_encode_tostring")
def base64_encode(arguments: Sequence[Typed]) -> exp.Expression:
    """Of the UTF-8 bytes."""
    return b.call("to_base64", b.call("encode", arguments[0].sql))


@lowers("base64_decodestring", "base64_decode_tostring")
def base64_decode(arguments: Sequence[Typed]) -> exp.Expression:
    """Empty where the text is no Base64 or its bytes no UTF-8."""
    return b.coalesce(b.attempt(b.call("decode", b.call("from_base64", arguments[0].sql))), "")


@lowers("new_guid")
def new_guid(arguments: Sequence[Typed]) -> exp.Expression:
    """A new one for each row."""
    return b.cast(b.call("uuid"), "VARCHAR")


@lowers("estimate_data_size")
def estimate_data_size(arguments: Sequence[Typed]) -> exp.Expression:
    """Text by its bytes, everything else by the width of its type."""
    sizes: list[exp.Expression] = []
    for argument in arguments:
        wide = argument.type.value in ("string", "dynamic")
        sizes.append(b.call("strlen", to_string(argument)) if wide else b.number(8))
    total = sizes[0]
    for size in sizes[1:]:
        total = b.add(total, size)
    return b.cast(total, "BIGINT")


by_python(
    "hash_combine",
    "base64_encode_fromarray",
    "base64_encode_fromguid",
    "base64_decode_toarray",
    "base64_decode_toguid",
    "gzip_compress_to_base64_string",
    "gzip_decompress_from_base64_string",
    "zlib_compress_to_base64_string",
    "zlib_decompress_from_base64_string",
    "url_encode",
    "url_encode_component",
    "url_decode",
    "parse_url",
    "parse_urlquery",
    "parse_user_agent",
    "parse_version",
    "parse_cef_dictionary",
    "geo_location",
    "geo_info_from_ip_address",
)
