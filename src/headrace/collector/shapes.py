"""What kinds of values the properties of a batch have, found in one pass of the SQL engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlglot import exp, parse_one

from headrace.collector.mapping import DATE_TEXT, GUID_TEXT, Shape
from headrace.transform.compile import BATCH

MAX_SHAPES: Final = 5000
"""Beyond so many properties the rest of a batch is not looked at: no table has columns for them."""

_SHAPES: Final = f"""
SELECT name, suffix, is_text, as_number, as_bool
FROM (
  SELECT p.key AS name, p.type = 'VARCHAR' AS is_text,
    CASE p.type
      WHEN 'BOOLEAN' THEN 'b'
      WHEN 'VARCHAR' THEN CASE
        WHEN regexp_matches(p.atom ->> '$', '{GUID_TEXT}') THEN 'g'
        WHEN regexp_matches(p.atom ->> '$', '{DATE_TEXT}') THEN 't'
        ELSE 's' END
      WHEN 'OBJECT' THEN 's'
      WHEN 'ARRAY' THEN 's'
      ELSE 'd'
    END AS suffix,
    p.type = 'VARCHAR' AND try_cast(p.atom ->> '$' AS DOUBLE) IS NOT NULL AS as_number,
    p.type = 'VARCHAR' AND lower(p.atom ->> '$') IN ('true', 'false') AS as_bool
  FROM (SELECT unnest(json_transform(h_body, '["JSON"]')) AS record FROM {BATCH}) AS o, json_each(o.record) AS p
  WHERE json_type(o.record) = 'OBJECT' AND p.type <> 'NULL'
)
GROUP BY ALL
ORDER BY name
LIMIT {MAX_SHAPES}
"""


def shapes_query() -> exp.Expr:
    """The select over a batch table whose rows `read_shapes` takes."""
    return parse_one(_SHAPES, dialect="duckdb")


def read_shapes(rows: Iterable[Sequence[Any]]) -> list[Shape]:
    """The shapes in the query's rows."""
    return [Shape(*row) for row in rows]
