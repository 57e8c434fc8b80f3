"""`parse`: literal delimiters by splits, other patterns by one capture regex; the columns' types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import re2
from sqlglot import exp

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Column
from headrace.kql.sql.base import Generator
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed
from headrace.kql.sql.layers import Layer, column_sql
from headrace.kql.sql.quoting import cut
from headrace.kql.sql.splitting import Steps, Take, regex_of_takes, takes_of
from headrace.kql.types import KustoType

_T = KustoType


class ParsingGenerator(Generator):
    """Adds the parsing nodes."""

    def parse(self, plan: p.Parse) -> Layer:
        """The pattern's columns, beside those of the input."""
        layer = self.ready(plan.input, plan.subject)
        layer, (subject,) = self.with_layer(layer, plan.input, [plan.subject])
        kept = [column for column in plan.input.columns if column in layer.values]
        takes = takes_of(plan.parts) if plan.kind != "regex" else None
        if takes is None:
            return self.by_regex(plan, layer, subject, kept)
        return self.by_splits(plan, layer, subject, kept, takes)

    def by_splits(
        self, plan: p.Parse, layer: Layer, subject: exp.Expression, kept: list[Column], takes: Sequence[Take]
    ) -> Layer:
        """The text cut at its delimiters; what the cuts cannot decide is left to a regex."""
        wanted = _to_find(plan)
        takes = [take if take.column in wanted else replace(take, column=None) for take in takes]
        whole = self.fresh("r")
        layer = self._keep(layer, kept, [(whole, subject)])
        steps = Steps(self.fresh)
        cuts = cut(steps, whole, takes)
        found: dict[Column, exp.Expression] = {c: column_sql(name) for c, name in cuts.found.items()}
        matched = b.both(*cuts.tests) if cuts.tests else b.is_not_null(column_sql(whole))
        if cuts.unsure is not None:
            fits = steps.add("m", matched)
            pattern, names = regex_of_takes(takes)
            missed = b.both(
                b.negation(column_sql(fits)),
                cuts.unsure,
                b.call("regexp_matches", column_sql(whole), b.text(pattern)),
            )
            captured = b.true()
            if names:
                listed = b.array([b.text(name) for name in names.values()])
                captured = b.call("regexp_extract", column_sql(whole), b.text(pattern), listed)
            rescued = steps.add("m", b.when(missed, captured))
            for column, value in found.items():
                group = b.call("struct_extract", column_sql(rescued), b.text(names[column]))
                found[column] = column_sql(steps.add("v", b.when(column_sql(fits), value, group)))
            matched = b.either(column_sql(fits), b.is_not_null(column_sql(rescued)))
        return self._outcome(plan, layer, kept, steps, found, matched)

    def _keep(
        self,
        layer: Layer,
        kept: list[Column],
        made: Sequence[tuple[str, exp.Expression]],
    ) -> Layer:
        """A select above that carries everything and adds what was made."""
        return self.from_select(layer.extended(kept, made), kept, layer.depth)

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
        layer = self._keep(layer, kept, [(name, b.when(test, captured))])
        wanted = _to_find(plan)
        found = {
            column: b.call("struct_extract", column_sql(name), b.text(f"g{index - 1}"))
            for column, index in groups.items()
            if column in wanted
        }
        return self._outcome(plan, layer, kept, Steps(self.fresh), found, b.is_not_null(column_sql(name)))

    def _outcome(
        self,
        plan: p.Parse,
        layer: Layer,
        kept: list[Column],
        steps: Steps,
        found: dict[Column, exp.Expression],
        matched: exp.Expression,
    ) -> Layer:
        """The columns converted; without a match, and in the strict kinds without a fit, all are missing."""
        for column, value in found.items():
            if column.type is not _T.STRING:
                typed = self.convert(Typed(value, _T.STRING), column.type)
                found[column] = column_sql(steps.add("v", typed))
                if plan.kind != "relaxed":
                    matched = b.both(matched, b.is_not_null(found[column]))
        flag = steps.add("m", matched)
        for made in steps.layers:
            layer = self._keep(layer, kept, made)
        for column, value in found.items():
            if column in plan.columns:
                missing = b.text("") if column.type is _T.STRING else None
                layer.add(column, b.when(column_sql(flag), value.copy(), missing), cheap=False)
        if plan.matched is not None:
            layer.add(plan.matched, column_sql(flag), cheap=False)
        return self.wrap(layer, plan.columns)


def _to_find(plan: p.Parse) -> set[Column]:
    """The columns that are asked for, or whose types decide whether the pattern fits."""
    wanted = set(plan.columns)
    parts = (part.column for part in plan.parts if part.column is not None)
    return {c for c in parts if c in wanted or (plan.kind != "relaxed" and c.type is not _T.STRING)}


def regex_of(plan: p.Parse) -> tuple[str, dict[Column, int]]:
    """The whole pattern as a regex, and the group of each column."""
    pieces = [_part_pattern(part, plan.kind) for part in plan.parts]
    groups = _groups_of_columns(plan, pieces)
    flags = "".join(flag for flag in plan.flags if flag in "imsU")
    if plan.kind != "regex":
        flags = "s"
    prefix = f"(?{flags})" if flags else ""
    starts = "" if plan.parts and plan.parts[0].text is None and plan.parts[0].column is None else "^"
    ends = "$" if plan.parts and (plan.parts[-1].column is not None or plan.kind != "regex") else ""
    if plan.parts and plan.parts[-1].text is None and plan.parts[-1].column is None:
        pieces.pop()
        ends = ""
    return f"{prefix}{starts}{''.join(pieces)}{ends}", groups


def _groups_of_columns(plan: p.Parse, pieces: Sequence[str]) -> dict[Column, int]:
    """The group of each column, from 1: a regex has groups of its own, which are counted too."""
    columns = [part.column for part in plan.parts if part.column is not None]
    if plan.kind != "regex":
        return {column: place for place, column in enumerate(columns, 1)}
    named = [
        piece if part.column is None else piece.replace("(", f"(?P<{_group_name(part.column)}>", 1)
        for part, piece in zip(plan.parts, pieces, strict=True)
    ]
    places = re2.compile("".join(named)).groupindex
    return {column: places[_group_name(column)] for column in columns}


def _group_name(column: Column) -> str:
    return f"headrace_{column.sql_name}"


def _part_pattern(part: p.Pattern, kind: str) -> str:
    if part.text is not None:
        return part.text if kind == "regex" else re.escape(part.text)
    return ".*?" if part.column is None else _column_pattern(part.type, kind)


def _column_pattern(type: KustoType, kind: str) -> str:
    if type in (_T.LONG, _T.INT):
        return r"\s*([-+]?\d+)\s*"
    if type in (_T.REAL, _T.DECIMAL):
        return r"\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*"
    return "(.*)" if kind == "regex" else "(.*?)"
