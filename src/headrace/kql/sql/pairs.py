"""`parse-kv`: keys and values by one regex, looked up by name."""

from __future__ import annotations

import re

from sqlglot import exp

from headrace.kql.plan import nodes as p
from headrace.kql.sql.base import Generator
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed
from headrace.kql.sql.layers import Layer, column_sql
from headrace.kql.types import KustoType

_T = KustoType


class PairsGenerator(Generator):
    """Adds the node of `parse-kv`."""

    def split_pairs(self, plan: p.SplitPairs) -> Layer:
        """The wanted columns, beside those of the input; the first pair of a name counts."""
        layer = self.ready(plan.input, plan.subject)
        layer, (subject,) = self.with_layer(layer, plan.input, [plan.subject])
        kept = [column for column in plan.input.columns if column in layer.values]
        keys, values = self.fresh("k"), self.fresh("v")
        if plan.greedy and plan.regex is None and plan.pair_delimiters:
            found_keys, found_values = self._greedy(subject, plan)
        else:
            pattern = b.text(plan.regex if plan.regex is not None else pair_pattern(plan))
            found_keys = b.call("regexp_extract_all", subject, pattern, b.number(1))
            found_values = b.call("regexp_extract_all", subject.copy(), pattern.copy(), b.number(2))
        if plan.quotes:
            found_keys = self._each(found_keys, plan)
            found_values = self._each(found_values, plan)
        layer = self.from_select(
            layer.extended(kept, [(keys, found_keys), (values, found_values)]), kept, layer.depth
        )
        for column, name in plan.fields:
            place = b.call("list_position", column_sql(keys), b.text(name))
            value = b.call("list_extract", column_sql(values), place)
            text = b.coalesce(value, "")
            layer.add(column, self.convert(Typed(text, _T.STRING), column.type), cheap=False)
        return self.wrap(layer, plan.columns)

    def _greedy(self, subject: exp.Expression, plan: p.SplitPairs) -> tuple[exp.Expression, exp.Expression]:
        """Keys and values where a value goes on until the last delimiter before the next key."""
        parts = b.call("string_split", subject, b.text(plan.kv_delimiters))
        name = self.fresh("x")
        item = b.name_(name)
        key = b.call("split_part", item, b.text(plan.pair_delimiters), b.number(-1))
        keys = b.call("list_transform", parts, b.lambda_(name, b.call("trim", key)))
        # The text after the last key has no key behind it: an empty one is put there, to be cut off again.
        closed = b.call("concat", subject.copy(), b.text(plan.pair_delimiters))
        parts = b.call("string_split", closed, b.text(plan.kv_delimiters))
        width = b.add(b.call("length", key.copy()), len(plan.pair_delimiters))
        value = b.call("left", item.copy(), b.subtract(b.call("length", item.copy()), width))
        values = b.call("list_transform", parts, b.lambda_(name, b.call("trim", value)))
        return keys, b.call("list_slice", values, b.number(2), b.number(-1))

    def _each(self, items: exp.Expression, plan: p.SplitPairs) -> exp.Expression:
        """The items without their quotes, escapes undone."""
        name = self.fresh("x")
        item = b.name_(name)
        opening, closing = plan.quotes[0], plan.quotes[-1]
        inner: exp.Expression = b.call(
            "substr", item, b.number(2), b.subtract(b.call("length", item.copy()), 2)
        )
        if plan.escape:
            undone = re.escape(plan.escape) + "(.)"
            inner = b.call("regexp_replace", inner, b.text(undone), b.text("\\1"), b.text("gs"))
        quoted = b.both(
            b.call("starts_with", item.copy(), b.text(opening)),
            b.call("ends_with", item.copy(), b.text(closing)),
        )
        return b.call("list_transform", items, b.lambda_(name, b.when(quoted, inner, item.copy())))


def _quoted_pattern(plan: p.SplitPairs) -> str:
    """The regex of a text in quotes."""
    opening, closing = re.escape(plan.quotes[0]), re.escape(plan.quotes[-1])
    escape = re.escape(plan.escape) if plan.escape else ""
    body = f"(?:{escape}.|[^{closing}{escape}])*" if escape else f"[^{closing}]*"
    return f"{opening}{body}{closing}"


def _free_pattern(plan: p.SplitPairs) -> str:
    """The regex of a wanted key and its value where whatever is no letter or digit delimits."""
    names = "|".join(re.escape(name) for _, name in plan.fields)
    opening = re.escape(plan.quotes[0]) if plan.quotes else ""
    value = r"[\pL\pN]+"
    if plan.quotes:
        value = f"{_quoted_pattern(plan)}|{value}"
    return rf"(?s)(?:^|[^\pL\pN])({names})[^\pL\pN{opening}]+({value})"


def pair_pattern(plan: p.SplitPairs) -> str:
    """The regex of one key and value with its delimiters; group 1 is the key, group 2 the value."""
    if not plan.pair_delimiters or not plan.kv_delimiters:
        return _free_pattern(plan)
    pair, middle = re.escape(plan.pair_delimiters), re.escape(plan.kv_delimiters)
    excluded = "".join(
        re.escape(text) for text in (plan.pair_delimiters, plan.kv_delimiters) if len(text) == 1
    )
    bare = f"[^{excluded}]" if excluded else "."
    key, value = f"{bare}*?", ".*?"
    if plan.quotes:
        quoted = _quoted_pattern(plan)
        key, value = f"{quoted}|{key}", f"{quoted}|{value}"
    return rf"(?s)\s*({key})\s*{middle}\s*({value})\s*(?:{pair}|$)"
