"""Functions of ingestion-time transforms, hashes, encodings, identifiers."""

from __future__ import annotations

from functools import partial

from headrace.kql.bind.functions.declare import (
    DECIMAL,
    DOCUMENTED,
    DYNAMIC,
    GUID,
    LONG,
    NEVER,
    STRING,
    same,
    scalar,
)
from headrace.kql.bind.functions.registry import Naming
from headrace.kql.types import KustoType

_listed = partial(scalar, family="special", transform=DOCUMENTED)
_extended = partial(scalar, family="special")
_rewritten = partial(scalar, family="special", rewritten=True)
"""Calls that the binder says in other functions' words."""

FUNCTIONS = (
    _rewritten(
        "toscalar",
        "The first column's value in the first row of a query, which runs once.",
        "query: any",
        same(),
        transform=NEVER,
    ),
    _rewritten(
        "ingestion_time",
        "When the row was received; null where no table says it.",
        "",
        KustoType.DATETIME,
    ),
    _rewritten(
        "column_ifexists",
        "The column of that name, or the default where there is none.",
        "name: string!, default: any",
        same(1),
        aliases=("columnifexists",),
    ),
    _rewritten(
        "bin_auto",
        "The start of the bin, whose size `set query_bin_auto_size` says.",
        "value: any",
        same(),
        naming=Naming.FIRST,
    ),
    _rewritten("column_names_of", "The names of a table's columns.", "table: any", DYNAMIC),
    _rewritten(
        "pack_all",
        "An object of all columns by name; `true` leaves out what is null or empty.",
        "ignore_null_empty?: bool!",
        DYNAMIC,
    ),
    _rewritten("bag_pack_columns", "An object of the given columns by name.", "column+: any", DYNAMIC),
    _listed(
        "parse_cef_dictionary",
        "The header fields and the extension of a CEF message.",
        "text: string",
        DYNAMIC,
    ),
    _listed(
        "geo_location",
        "Where an IP address is thought to be, from the local database.",
        "ip: string",
        DYNAMIC,
    ),
    _extended(
        "geo_info_from_ip_address",
        "Where an IP address is thought to be, from the local database.",
        "ip: string",
        DYNAMIC,
    ),
    _listed("hash_sha256", "The SHA-256 hash in lower-case hexadecimal.", "value: ~string", STRING),
    _extended("hash_sha1", "The SHA-1 hash in lower-case hexadecimal.", "value: ~string", STRING),
    _extended("hash_md5", "The MD5 hash in lower-case hexadecimal.", "value: ~string", STRING),
    _extended("hash", "The xxHash64 of the value, or its remainder.", "value: any, mod?: long", LONG),
    _extended(
        "hash_xxhash64", "The xxHash64 of the value, or its remainder.", "value: any, mod?: long", LONG
    ),
    _extended("hash_combine", "Several hashes as one.", "value: long, more+: long", LONG),
    _extended("hash_many", "One hash of several values.", "value: any, more+: any", LONG),
    _listed("base64_encodestring", "The text in Base64.", "text: string", STRING),
    _listed("base64_decodestring", "The text that Base64 stands for.", "text: string", STRING),
    _extended("base64_encode_tostring", "The text in Base64.", "text: string", STRING),
    _extended(
        "base64_decode_tostring",
        "The text that Base64 stands for; empty if it is none.",
        "text: string",
        STRING,
    ),
    _extended(
        "base64_decode_toarray", "The bytes that Base64 stands for, as an array.", "text: string", DYNAMIC
    ),
    _extended("base64_encode_fromarray", "An array of bytes in Base64.", "bytes: dynamic", STRING),
    _extended("base64_decode_toguid", "The guid that Base64 stands for.", "text: string", GUID),
    _extended("base64_encode_fromguid", "A guid in Base64.", "guid: guid", STRING),
    _extended(
        "gzip_compress_to_base64_string", "The text, gzip-compressed, in Base64.", "text: string", STRING
    ),
    _extended(
        "gzip_decompress_from_base64_string", "The text of gzip-compressed Base64.", "text: string", STRING
    ),
    _extended(
        "zlib_compress_to_base64_string", "The text, zlib-compressed, in Base64.", "text: string", STRING
    ),
    _extended(
        "zlib_decompress_from_base64_string", "The text of zlib-compressed Base64.", "text: string", STRING
    ),
    _extended("url_encode", "The text encoded for a query string, spaces as `+`.", "text: string", STRING),
    _extended("url_encode_component", "The text encoded for a part of a URL.", "text: string", STRING),
    _extended("url_decode", "The text that a URL encoding stands for.", "text: string", STRING),
    _extended("parse_url", "The parts of a URL.", "url: string", DYNAMIC, aliases=("parseurl",)),
    _extended(
        "parse_urlquery",
        "The parameters of a query string.",
        "query: string",
        DYNAMIC,
        aliases=("parseurlquery",),
    ),
    _extended(
        "parse_user_agent",
        "The browser, system and device of a user agent.",
        "text: string, look_for?: string|dynamic",
        DYNAMIC,
    ),
    _extended("parse_version", "A version number as one comparable decimal.", "text: string", DECIMAL),
    _extended("new_guid", "A new random guid.", "", GUID, volatile=True),
    _extended("estimate_data_size", "About how many bytes the values take.", "value+: any", LONG),
)
