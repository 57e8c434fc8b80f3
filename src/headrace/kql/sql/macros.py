"""SQL macros that the lowerings use; fixed text, no part of it comes from a user.

Each is a temporary macro of a connection, made by `session.prepare`. A macro's argument is evaluated once for
each place where it stands unless the engine shares it, so they keep those places few.
"""

from __future__ import annotations

MACROS = (
    # What follows the first n bytes of a text, and what stands before the last n; a cut inside a character fails.
    # In bytes, because `substr` finds the end of a text by walking through every character up to it.
    """kql_rest(s, n) AS decode(array_slice(encode(s), n + 1, strlen(s)))""",
    """kql_front(s, n) AS decode(array_slice(encode(s), 1, strlen(s) - n))""",
    # Text to numbers. The engine's own casts round "1.7" and take "1_000" and "1e3"; Kusto's do not. What a number
    # is written like again needs no look at its letters, which takes longer than both casts.
    """kql_long(s) AS CASE WHEN CAST(try_cast(s AS BIGINT) AS VARCHAR) = s THEN try_cast(s AS BIGINT)
       WHEN contains(s, '.') OR contains(s, '_')
       OR (contains(lower(s), 'e') AND NOT contains(lower(s), '0x')) THEN NULL ELSE try_cast(s AS BIGINT) END""",
    """kql_real(s) AS CASE WHEN contains(s, '_') THEN NULL ELSE try_cast(s AS DOUBLE) END""",
    """kql_bool(s) AS CASE lower(trim(s)) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE
       ELSE kql_long(s) <> 0 END""",
    """kql_guid(s) AS CASE WHEN regexp_matches(s,
       '^\\s*[{(]?(-?[0-9A-Fa-f]){32}') THEN
       regexp_replace(lower(left(regexp_replace(s, '[^0-9A-Fa-f]', '', 'g'), 32)),
       '^(.{8})(.{4})(.{4})(.{4})(.{12})$', '\\1-\\2-\\3-\\4-\\5') END""",
    # Text to ticks. A text that starts like 2026-01-31 goes the engine's way; its microseconds gain the
    # seventh digit of the fraction. All else, and what the engine refuses, is read by Python.
    """kql_tick_digit(s) AS CASE WHEN substr(s, 20, 1) = '.'
       THEN greatest(strpos('0123456789', substr(s, 27, 1)) - 1, 0) WHEN contains(s, '.') THEN
       coalesce(try_cast(regexp_extract(s, '\\.\\d{6}(\\d)', 1) AS BIGINT), 0) ELSE 0 END""",
    """kql_iso_ticks(s) AS CASE
       WHEN substr(s, 5, 1) = '-' AND substr(s, 8, 1) = '-' AND substr(s, 11, 1) IN ('', 'T', ' ')
       THEN epoch_us(try_cast(s AS TIMESTAMPTZ)) * 10 + kql_tick_digit(s) END""",
    """kql_ticks(s) AS CASE WHEN s = '' THEN NULL
       ELSE coalesce(kql_iso_ticks(s), try_cast(kql_call('todatetime', s) AS BIGINT)) END""",
    """kql_ticks_of_number(n) AS CASE WHEN n BETWEEN 0 AND 3155378975999999999
       THEN n - 621355968000000000 END""",
    """kql_ticks_in_range(t) AS CASE WHEN t BETWEEN -621355968000000000 AND 2534023007999999999
       THEN t END""",
    """kql_span(s) AS CASE WHEN s = '' THEN NULL
       ELSE try_cast(kql_call('totimespan', s) AS BIGINT) END""",
    # Letters that are no capitals of themselves alone: the engine makes a capital sharp s of one, and I of a dotless i.
    """kql_upper_dotless(s) AS CASE WHEN contains(s, 'ı')
       THEN array_to_string(list_transform(string_split(s, 'ı'), lambda p: upper(p)), 'ı') ELSE upper(s) END""",
    """kql_upper(s) AS CASE WHEN contains(s, 'ß')
       THEN array_to_string(list_transform(string_split(s, 'ß'), lambda p: kql_upper_dotless(p)), 'ß')
       ELSE kql_upper_dotless(s) END""",
    # Values to text.
    # From 1e15 on numbers are written with an exponent; the engine does so from 1e16 on.
    """kql_real_text(x) AS CASE WHEN isnan(x) THEN 'NaN' WHEN isinf(x) THEN if(x > 0, 'Infinity', '-Infinity')
       WHEN abs(x) < 1e15 OR abs(x) >= 1e16 THEN upper(CAST(x AS VARCHAR)) ELSE replace(regexp_replace(
       CAST(x AS VARCHAR), '^(-?\\d)(?:0+|(\\d*?[1-9])0*)\\.\\d$', '\\1.\\2E+15'), '.E', 'E') END""",
    """kql_real_json(x) AS CASE WHEN isfinite(x) THEN kql_real_text(x)
       ELSE '"' || kql_real_text(x) || '"' END""",
    """kql_decimal_text(x) AS regexp_replace(regexp_replace(CAST(x AS VARCHAR), '0+$', ''), '\\.$', '')""",
    """kql_stamp(t) AS make_timestamp((t - (t % 10 + 10) % 10) // 10)""",
    """kql_datetime_text(t) AS strftime(kql_stamp(t), '%Y-%m-%dT%H:%M:%S.%f') || ((t % 10 + 10) % 10) || 'Z'""",
    """kql_clock(t) AS lpad(CAST(t // 36000000000 % 24 AS VARCHAR), 2, '0') || ':'
       || lpad(CAST(t // 600000000 % 60 AS VARCHAR), 2, '0') || ':'
       || lpad(CAST(t // 10000000 % 60 AS VARCHAR), 2, '0')
       || CASE WHEN t % 10000000 = 0 THEN '' ELSE '.' || lpad(CAST(t % 10000000 AS VARCHAR), 7, '0') END""",
    """kql_timespan_text(t) AS CASE WHEN t < 0 THEN '-' ELSE '' END
       || CASE WHEN abs(t) >= 864000000000 THEN (abs(t) // 864000000000) || '.' ELSE '' END
       || kql_clock(abs(t))""",
    # Dynamic. `json_valid` takes NaN and Infinity: a text must start as a JSON value does.
    """kql_json_start(s) AS starts_with(s, '{') OR starts_with(s, '[') OR ascii(ltrim(s)) IN (123, 91, 34, 45, 116, 102)
       OR ascii(ltrim(s)) BETWEEN 48 AND 57 OR starts_with(ltrim(s), 'null')""",
    """kql_json(s) AS CASE WHEN s = '' THEN NULL
       WHEN kql_json_start(s) AND json_valid(s) THEN nullif(CAST(json(s) AS VARCHAR), 'null')
       ELSE CAST(to_json(s) AS VARCHAR) END""",
    """kql_json_text(v) AS CASE WHEN starts_with(v, '"') THEN json_extract_string(v, '$') ELSE v END""",
    """kql_json_again(v) AS CASE WHEN starts_with(v, '"') THEN kql_json(json_extract_string(v, '$'))
       ELSE v END""",
    """kql_json_long(v) AS CASE WHEN starts_with(v, '"') THEN kql_long(json_extract_string(v, '$'))
       WHEN v = 'true' THEN 1 WHEN v = 'false' THEN 0
       ELSE coalesce(kql_long(v), try_cast(trunc(try_cast(v AS DOUBLE)) AS BIGINT)) END""",
    """kql_json_real(v) AS CASE WHEN starts_with(v, '"') THEN kql_real(json_extract_string(v, '$'))
       WHEN v = 'true' THEN 1 WHEN v = 'false' THEN 0 ELSE try_cast(v AS DOUBLE) END""",
    """kql_json_ticks(v) AS CASE WHEN starts_with(v, '"') THEN kql_ticks(json_extract_string(v, '$'))
       ELSE kql_ticks_of_number(kql_long(v)) END""",
    """kql_json_type(v) AS CASE json_type(v) WHEN 'OBJECT' THEN 'dictionary' WHEN 'ARRAY' THEN 'array'
       WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'bool' WHEN 'DOUBLE' THEN 'double'
       WHEN 'BIGINT' THEN 'long' WHEN 'UBIGINT' THEN 'long' ELSE 'null' END""",
    """kql_json_list(v) AS CASE WHEN starts_with(v, '[')
       THEN list_transform(CAST(CAST(v AS JSON) AS JSON[]), lambda e: CAST(e AS VARCHAR)) END""",
    """kql_flat_list(l) AS flatten(list_transform(l,
       lambda e: CASE WHEN starts_with(e, '[') THEN kql_json_list(e) ELSE [e] END))""",
    """kql_list_json(l) AS '[' || coalesce(array_to_string(list_transform(l, lambda e: coalesce(e, 'null')), ','),
       '') || ']'""",
)
