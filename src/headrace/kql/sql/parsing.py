"""`parse`: literal delimiters as position arithmetic, other patterns as one capture regex; `parse-kv`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Column
from headrace.kql.sql.base import Generator
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed
from headrace.kql.sql.layers import Layer, column_sql
from headrace.kql.types import KustoType

_T = KustoType
_NUMBER_PREFIX = {
    _T.LONG: r"^\s*[-+]?\d+",
    _T.INT: r"^\s*[-+]?\d+",
    _T.REAL: r"^\s*[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?",
    _T.DECIMAL: r"^\s*[-+]?\d+(?:\.\d+)?",
    _T.BOOL: r"^(?i:true|false|0|1)",
    _T.GUID: r"^[0-9a-fA-F-]{36}",
    _T.TIMESPAN: r"^[-\d.:]+",
    _T.DATETIME: r"^[-\d./:TZ+ ]+",
}


class ParsingGenerator(Generator):
    """Adds the parsing nodes."""

    def parse(self, plan: p.Parse) -> Layer:
        """The pattern's columns, beside those of the input."""
        layer = self.ready(plan.input, plan.subject)
        layer, (subject,) = self.with_layer(layer, plan.input, [plan.subject])
        kept = [column for column in plan.input.columns if column in layer.values]
        if plan.kind == "regex" or not _alternates(plan.parts):
            return self.by_regex(plan, layer, subject, kept)
        return self.by_positions(plan, layer, subject, kept)

    def by_positions(self, plan: p.Parse, layer: Layer, subject: exp.Expression, kept: list[Column]) -> Layer:
        """One select a delimiter: what stands before it, and what is left after it.

        No step asks whether the one before found its delimiter: what it makes of nothing is never shown,
        since all the tests together decide at the end. So each position is computed once.
        """
        rest = self.fresh("r")
        tests: list[exp.Expression] = []
        layer = self.from_select(layer.extended(kept, [(rest, subject)]), kept, layer.depth)
        found: dict[Column, str] = {}
        parts = plan.parts
        place = 0
        while place < len(parts):
            part = parts[place]
            following = parts[place + 1] if place + 1 < len(parts) else None
            if part.text is None and part.column is None:
                # A star: it ends before the next delimiter, or is the end of the pattern.
                if following is None:
                    break
                place += 1
                if following.text is None:
                    continue
                last = place == len(parts) - 1
                layer, rest = self._after(layer, kept, rest, following.text, last, None, tests)
                place += 1
                continue
            if part.text is not None:
                layer, rest = self._at_start(layer, kept, rest, part.text, place == len(parts) - 1, tests)
                place += 1
                continue
            column = part.column
            assert column is not None
            name = self.fresh("v")
            found[column] = name
            if following is None:
                layer = self._keep(layer, kept, [(name, column_sql(rest))])
                place += 1
            elif following.text is not None:
                last = place + 1 == len(parts) - 1
                layer, rest = self._after(layer, kept, rest, following.text, last, name, tests)
                place += 2
            else:
                # A typed column before a star takes what looks like a value of its type.
                pattern = _NUMBER_PREFIX.get(part.type, "^")
                value = b.call("regexp_extract", column_sql(rest), b.text(pattern))
                tail = b.call("substr", column_sql(rest), b.add(b.call("length", value.copy()), 1))
                new = self.fresh("r")
                layer = self._keep(layer, kept, [(name, value), (new, tail)])
                rest = new
                place += 1
        matched = b.both(*tests) if tests else b.is_not_null(column_sql(rest))
        return self._outcome(plan, layer, kept, {c: column_sql(name) for c, name in found.items()}, matched)

    def _keep(
        self,
        layer: Layer,
        kept: list[Column],
        made: Sequence[tuple[str, exp.Expression]],
    ) -> Layer:
        """A select above that carries everything and adds what was made."""
        return self.from_select(layer.extended(kept, made), kept, layer.depth)

    def _after(
        self,
        layer: Layer,
        kept: list[Column],
        rest: str,
        text: str,
        last: bool,
        value_name: str | None,
        tests: list[exp.Expression],
    ) -> tuple[Layer, str]:
        """What is left after the next `text` (which must be the end of all if it is the pattern's last)."""
        if len(text) > 1 and not last:
            return self._after_split(layer, kept, rest, text, value_name, tests)
        new, place, head = self.fresh("r"), self.fresh("p"), value_name or self.fresh("v")
        here = column_sql(rest)
        if last:
            position: exp.Expression = b.when(
                b.call("ends_with", here, text),
                b.subtract(b.call("length", column_sql(rest)), len(text) - 1),
                b.number(0),
            )
        else:
            position = b.call("strpos", here, text)
        layer = self._keep(layer, kept, [(place, position)])
        found = exp.GT(this=column_sql(place), expression=b.number(0))
        tests.append(found)
        before = b.call("substr", column_sql(rest), b.number(1), b.subtract(column_sql(place), 1))
        layer = self._keep(layer, kept, [(head, before)])
        tail = b.when(found.copy(), _behind(column_sql(rest), _bytes(head, text)))
        return self._keep(layer, kept, [(new, tail)]), new

    def _after_split(
        self,
        layer: Layer,
        kept: list[Column],
        rest: str,
        text: str,
        value_name: str | None,
        tests: list[exp.Expression],
    ) -> tuple[Layer, str]:
        """As `_after`, by a split: it looks at bytes, where positions count every letter up to them.

        A delimiter that comes again makes more than two pieces, and then the rest is cut by its position.
        """
        new, pieces = self.fresh("r"), self.fresh("p")
        layer = self._keep(layer, kept, [(pieces, b.call("string_split", column_sql(rest), text))])
        tests.append(exp.GT(this=b.call("len", column_sql(pieces)), expression=b.number(1)))
        first, second = (b.call("list_extract", column_sql(pieces), b.number(i)) for i in (1, 2))
        size = b.add(b.call("strlen", first), len(text.encode()))
        alone = exp.LTE(this=b.call("len", column_sql(pieces)), expression=b.number(2))
        made = [(new, b.when(alone, second, _behind(column_sql(rest), size)))]
        if value_name is not None:
            made.append((value_name, b.call("list_extract", column_sql(pieces), b.number(1))))
        return self._keep(layer, kept, made), new

    def _at_start(
        self,
        layer: Layer,
        kept: list[Column],
        rest: str,
        text: str,
        last: bool,
        tests: list[exp.Expression],
    ) -> tuple[Layer, str]:
        """What is left after `text` at the very start."""
        new, flag = self.fresh("r"), self.fresh("p")
        here = column_sql(rest)
        test: exp.Expression = b.equals(here, text) if last else b.call("starts_with", here, text)
        tests.append(column_sql(flag))
        layer = self._keep(layer, kept, [(flag, test)])
        tail = b.when(column_sql(flag), _behind(column_sql(rest), b.number(len(text.encode()))))
        return self._keep(layer, kept, [(new, tail)]), new

    def by_regex(self, plan: p.Parse, layer: Layer, subject: exp.Expression, kept: list[Column]) -> Layer:
        """One capture regex for the whole pattern."""
        pattern, groups = regex_of(plan)
        names = [f"g{i}" for i in range(max(groups.values(), default=0))]
        name = self.fresh("m")
        listed = b.array([b.text(item) for item in names] or [b.text("g0")])
        if not names:
            pattern = f"({pattern})"
        test = b.call("regexp_matches", subject.copy(), b.text(pattern))
        captured = b.call("regexp_extract", subject, b.text(pattern), listed)
        layer = self.from_select(layer.extended(kept, [(name, b.when(test, captured))]), kept, layer.depth)
        found = {
            column: b.call("struct_extract", column_sql(name), b.text(f"g{index - 1}"))
            for column, index in groups.items()
        }
        return self._outcome(plan, layer, kept, found, b.is_not_null(column_sql(name)))

    def _outcome(
        self,
        plan: p.Parse,
        layer: Layer,
        kept: list[Column],
        found: dict[Column, exp.Expression],
        matched: exp.Expression,
    ) -> Layer:
        """The columns converted; without a match, and in the strict kinds without a fit, all are missing."""
        wanted = set(plan.columns)
        typed = {
            column: self.convert(Typed(value, _T.STRING), column.type)
            for column, value in found.items()
            if column.type is not _T.STRING
        }
        names = {column: self.fresh("v") for column in found}
        flag = self.fresh("m")
        made = [(names[column], typed.get(column, value)) for column, value in found.items()]
        layer = self._keep(layer, kept, [*made, (flag, matched)])
        if typed and plan.kind != "relaxed":
            fits = self.fresh("m")
            tests = [column_sql(flag), *(b.is_not_null(column_sql(names[column])) for column in typed)]
            layer = self._keep(layer, kept, [(fits, b.both(*tests))])
            flag = fits
        matched = column_sql(flag)
        for column, name in names.items():
            if column not in wanted:
                continue
            value = b.when(matched.copy(), column_sql(name))
            layer.add(column, b.coalesce(value, "") if column.type is _T.STRING else value, cheap=False)
        if plan.matched is not None:
            layer.add(plan.matched, matched.copy(), cheap=False)
        return self.wrap(layer, plan.columns)


def _behind(text: exp.Expression, size: exp.Expression) -> exp.Expression:
    """What follows the first `size` bytes of `text`, which must end with a whole character.

    In bytes, because `substr` finds the end of the text by walking through every character up to it.
    """
    rest = b.call("array_slice", b.call("encode", text), b.add(size, 1), b.call("strlen", text.copy()))
    return b.call("decode", rest)


def _bytes(head: str, text: str) -> exp.Expression:
    """The bytes of the column `head` and of the delimiter `text` after it."""
    return b.add(b.call("strlen", column_sql(head)), len(text.encode()))


def _alternates(parts: Sequence[p.Pattern]) -> bool:
    """Whether positions alone decide: two columns in a row, or a text column before a star, need a regex."""
    for part, following in itertools.pairwise(parts):
        if part.column is not None and following.column is not None:
            return False
        if part.text == "" or following.text == "":
            return False
    return not (parts and parts[0].text == "")


def regex_of(plan: p.Parse) -> tuple[str, dict[Column, int]]:
    """The whole pattern as a regex, and the group of each column."""
    groups: dict[Column, int] = {}
    count = 0
    pieces: list[str] = []
    for part in plan.parts:
        if part.text is not None:
            text = part.text if plan.kind == "regex" else re.escape(part.text)
            pieces.append(text)
            count += capture_groups(text) if plan.kind == "regex" else 0
        elif part.column is None:
            pieces.append(".*?")
        else:
            count += 1
            groups[part.column] = count
            pieces.append(_column_pattern(part.type, plan.kind))
    flags = "".join(flag for flag in plan.flags if flag in "imsU")
    if plan.kind != "regex":
        flags = "s"
    prefix = f"(?{flags})" if flags else ""
    starts = "" if plan.parts and plan.parts[0].text is None and plan.parts[0].column is None else "^"
    ends = "$" if plan.parts and (plan.parts[-1].column is not None or plan.kind != "regex") else ""
    if plan.parts and plan.parts[-1].text is None and plan.parts[-1].column is None:
        pieces.pop()
        ends = ""
    body = "".join(pieces)
    return f"{prefix}{starts}{body}{ends}", groups


def _column_pattern(type: KustoType, kind: str) -> str:
    if type in (_T.LONG, _T.INT):
        return r"\s*([-+]?\d+)\s*"
    if type in (_T.REAL, _T.DECIMAL):
        return r"\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*"
    return "(.*)" if kind == "regex" else "(.*?)"


def capture_groups(pattern: str) -> int:
    """How many capture groups a regex has."""
    count, place, in_class = 0, 0, False
    while place < len(pattern):
        character = pattern[place]
        if character == "\\":
            place += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            if pattern[place + 1 : place + 2] in ("]", "^"):
                place += 1
        elif character == "(":
            tail = pattern[place + 1 : place + 4]
            count += not tail.startswith("?") or tail.startswith(("?P<", "?<"))
        place += 1
    return count
