"""What a text may use, by surface: a transform works row by row, a query may do more. Says why it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.kql.bind.functions.registry import Function, Kind, Surface
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t

Verdict = tuple[Literal["allow", "warn", "refuse"], str]
ALLOW: Verdict = ("allow", "")


@dataclass(frozen=True, slots=True)
class Profile:
    """A query's profile: everything that Headrace supports in queries."""

    name: str = "query"

    def operator(self, operator: n.Operator) -> Verdict:
        """Whether the operator may stand here, and why not."""
        return ALLOW

    def function(self, function: Function, name: str) -> Verdict:
        """Whether the function may be called here, and why not."""
        if not function.query:
            return "refuse", f"`{name}` works in transforms only."
        return ALLOW

    @property
    def sub_queries(self) -> bool:
        """Whether values may come from sub-queries."""
        return True

    @property
    def repeated_columns(self) -> bool:
        """Whether a `project` may give the same column twice by the same expression."""
        return False


_SEVERAL_ROWS: dict[type[n.Operator], str] = {
    t.Summarize: "summarize",
    t.Sort: "sort",
    t.Top: "top",
    t.Take: "take",
    t.SampleDistinct: "sample-distinct",
    t.Count: "count",
    t.Distinct: "distinct",
    t.Join: "join",
    t.Union: "union",
    t.MakeSeries: "make-series",
    t.TopNested: "top-nested",
    t.TopHitters: "top-hitters",
    t.Partition: "partition",
    t.ScanOperator: "scan",
    t.Reduce: "reduce",
    t.Serialize: "serialize",
    t.Facet: "facet",
}
_MORE_ROWS: dict[type[n.Operator], str] = {
    t.MvExpand: "mv-expand",
    t.MvApply: "mv-apply",
    t.RangeSource: "range",
    t.Fork: "fork",
}
_OTHER: dict[type[n.Operator], tuple[str, str]] = {
    t.Search: ("search", "reads other tables; a transform sees only `source`"),
    t.Find: ("find", "reads other tables; a transform sees only `source`"),
    t.RenderOperator: ("render", "draws a result; a transform has none to draw"),
    t.Invoke: ("invoke", "calls functions on whole tables; a transform works row by row"),
    t.Evaluate: ("evaluate", "runs plugins on whole tables; a transform works row by row"),
    t.GetSchema: ("getschema", "yields a row for each column; a transform works row by row"),
    t.As: ("as", "names a table for other parts of a query; a transform has only one"),
    t.Consume: ("consume", "drops every row"),
}
_UNLISTED: dict[type[n.Operator], str] = {
    t.ParseKv: "parse-kv",
    t.ProjectByNames: "project-by-names",
    t.ProjectReorder: "project-reorder",
}


@dataclass(frozen=True, slots=True)
class TransformProfile(Profile):
    """A transform's profile; `documented` refuses whatever Azure's list does not name, else it warns."""

    name: str = "transform"
    documented: bool = False

    def operator(self, operator: n.Operator) -> Verdict:
        """Whether the operator keeps to one row in, at most one row out."""
        kind = type(operator)
        if kind in _SEVERAL_ROWS:
            name = _operator_name(operator, _SEVERAL_ROWS[kind])
            return "refuse", f"`{name}` sees more than one row; a transform works row by row."
        if kind in _MORE_ROWS:
            name = _MORE_ROWS[kind]
            return (
                "refuse",
                f"`{name}` makes several rows of one; a transform gives at most one row for each.",
            )
        if kind in _OTHER:
            name, reason = _OTHER[kind]
            return "refuse", f"`{name}` {reason}."
        unlisted = _UNLISTED.get(kind)
        if isinstance(operator, t.ProjectAway) and operator.keep:
            unlisted = "project-keep"
        if isinstance(operator, t.Parse) and operator.where:
            unlisted = "parse-where"
        if unlisted is not None:
            return self._unlisted(f"`{unlisted}`")
        if isinstance(operator, t.Parse):
            columns = sum(part.column is not None for part in operator.parts)
            if columns > 10:
                return self._unlisted(f"A `parse` of {columns} columns (Azure takes 10)")
        return ALLOW

    def _unlisted(self, what: str) -> Verdict:
        message = f"{what} is not on Azure's list for transforms."
        return ("refuse", message) if self.documented else ("warn", message)

    def function(self, function: Function, name: str) -> Verdict:
        """Whether the function works on one row, and whether Azure lists it."""
        if function.kind is not Kind.SCALAR:
            return "refuse", f"`{name}` sees more than one row; a transform works row by row."
        if function.transform is Surface.NEVER:
            return "refuse", f"`{name}` is not available in transforms."
        if function.transform is Surface.EXTENDED:
            return self._unlisted(f"`{function.name.strip('_') if name.startswith('__') else name}`")
        return ALLOW

    @property
    def sub_queries(self) -> bool:
        """A transform has no other rows to ask."""
        return False

    @property
    def repeated_columns(self) -> bool:
        """Rules made by tools have it; what Azure documents does not."""
        return not self.documented


def _operator_name(operator: n.Operator, name: str) -> str:
    if isinstance(operator, t.Join) and operator.lookup:
        return "lookup"
    if isinstance(operator, t.Take) and operator.sample:
        return "sample"
    return name
