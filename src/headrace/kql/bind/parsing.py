"""The operators that take columns out of a text: `parse`, `parse-where`, `parse-kv`."""

from __future__ import annotations

from typing import Any

from headrace.kql.bind.operators import OperatorBinder
from headrace.kql.bind.patterns import pattern_fault, spelled
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.expressions import Column, Literal, Poison, ref
from headrace.kql.plan.nodes import Parse, Pattern, Plan, SplitPairs
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType
_KV_OPTIONS = frozenset(["pair_delimiter", "kv_delimiter", "quote", "escape", "regex", "greedy"])


class ParsingBinder(OperatorBinder):
    """Binds what reads texts."""

    def parse(self, rows: Relation, operator: t.Parse) -> Relation:
        """`parse` and `parse-where`."""
        with self.row_scope(rows):
            subject = self.bind_as(operator.subject, _T.STRING)
        if isinstance(subject, Poison):
            subject = Literal(_T.STRING, "")
        made: list[Column] = []
        parts: list[Pattern] = []
        previous_star = False
        for part in operator.parts:
            if part.column is None:
                if part.text is None and previous_star:
                    continue
                previous_star = part.text is None
                text = spelled(part.text) if part.text and operator.kind == "regex" else part.text
                parts.append(Pattern(text, None, part.type))
                continue
            previous_star = False
            column = self.new_column(part.column, part.type)
            made.append(column)
            parts.append(Pattern(None, column, part.type))
        if operator.kind == "regex":
            self.check_pattern(operator)
        matched = self.new_column("", _T.BOOL) if operator.where else None
        outputs = (*made, matched) if matched is not None else tuple(made)
        plan: Plan = Parse(
            (*rows.plan.columns, *outputs),
            rows.plan,
            subject,
            operator.kind,
            operator.flags,
            tuple(parts),
            matched,
        )
        result = rows.adding(plan, made)
        return self.filtered(result, ref(matched)) if matched is not None else result

    def check_pattern(self, operator: t.Parse) -> None:
        """Report a pattern that no regular expression can hold."""
        whole = "".join("(.*)" if part.text is None else part.text for part in operator.parts)
        fault = pattern_fault(whole)
        if fault is not None:
            faulty = [part for part in operator.parts if part.text is not None and pattern_fault(part.text)]
            at: n.Node = faulty[0] if faulty else operator
            self.report("KQL0121", f"This is no regular expression (RE2): {fault}.", at)

    def parse_kv(self, rows: Relation, operator: t.ParseKv) -> Relation:
        """`parse-kv`."""
        with self.row_scope(rows):
            subject = self.bind_as(operator.subject, _T.STRING)
        if isinstance(subject, Poison):
            return rows
        options = self._kv_options(operator)
        fields = tuple(
            (self.new_column(declared.name, declared.type), declared.name) for declared in operator.columns
        )
        made = tuple(column for column, _ in fields)
        # Where no delimiter is named, whatever is no letter or digit is one.
        named = any(name in options for name in ("pair_delimiter", "kv_delimiter"))
        plan = SplitPairs(
            (*rows.plan.columns, *made),
            rows.plan,
            subject,
            fields,
            str(options.get("pair_delimiter", " " if named else "")),
            str(options.get("kv_delimiter", "=" if named else "")),
            str(options.get("quote", "")),
            str(options.get("escape", "")),
            options.get("regex"),
            bool(options.get("greedy", False)),
        )
        kept = tuple(column for column in rows.columns if column.name not in {made_.name for made_ in made})
        return rows.with_columns(plan, (*kept, *made))

    def _kv_options(self, operator: t.ParseKv) -> dict[str, Any]:
        """The values of `with (...)` by name."""
        options: dict[str, Any] = {}
        for name, node in operator.options.items():
            value = self.bind(node).constant
            if value is None or name not in _KV_OPTIONS:
                self.report("KQL0122", f"`parse-kv` takes no such option as `{name}`.", node)
                continue
            options[name] = value.value
            if name == "regex":
                options[name] = spelled(str(value.value))
                fault = pattern_fault(str(value.value), 2)
                if fault is not None:
                    self.report("KQL0121", f"This is no regular expression (RE2): {fault}.", node)
        return options
