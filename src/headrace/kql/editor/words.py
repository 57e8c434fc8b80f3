"""The words of KQL that the function registry does not hold: operators, clauses and their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t


@dataclass(frozen=True, slots=True)
class OperatorWord:
    """A tabular operator: its syntax and a sentence on it; `clauses` are the words that may follow inside it.

    `node` is the syntax node's class, so that a profile can judge it; `source` tells whether it may start a text.
    """

    name: str
    syntax: str
    doc: str
    node: type[n.Operator]
    clauses: tuple[str, ...] = ()
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: bool = False
    piped: bool = True


_JOIN_KINDS = (
    "inner",
    "innerunique",
    "leftouter",
    "rightouter",
    "fullouter",
    "leftsemi",
    "leftanti",
    "rightsemi",
    "rightanti",
)
_BOOLEANS = ("true", "false")
_ORDER = ("asc", "desc", "nulls first", "nulls last")
PLUGINS: Mapping[str, str] = MappingProxyType(
    {
        "bag_unpack": "Makes a column of each property of a dynamic column.",
        "ipv4_lookup": "Puts rows beside those of a table whose network holds their address.",
        "narrow": "Turns a row into rows of row number, column and value.",
        "pivot": "Turns the values of a column into columns.",
    }
)


def _word(
    name: str,
    syntax: str,
    doc: str,
    node: type[n.Operator],
    *clauses: str,
    settings: dict[str, tuple[str, ...]] | None = None,
    source: bool = False,
    piped: bool = True,
) -> OperatorWord:
    return OperatorWord(name, syntax, doc, node, clauses, MappingProxyType(settings or {}), source, piped)


OPERATORS: Mapping[str, OperatorWord] = MappingProxyType(
    {
        word.name: word
        for word in (
            _word("as", "as Name", "Names the rows up to here for the rest of the text.", t.As),
            _word("consume", "consume", "Reads all rows and gives none.", t.Consume),
            _word("count", "count", "Gives the number of rows.", t.Count),
            _word(
                "datatable",
                "datatable(Column: type, ...) [Value, ...]",
                "A table of constant values.",
                t.DataTable,
                source=True,
                piped=False,
            ),
            _word("distinct", "distinct Column, ...", "Gives each combination of values once.", t.Distinct),
            _word("evaluate", "evaluate plugin(arguments)", "Runs a plugin over the rows.", t.Evaluate),
            _word("extend", "extend Name = expression, ...", "Adds or replaces columns.", t.Extend),
            _word(
                "facet",
                "facet by Column, ... [with (operators)]",
                "Gives a table of counts for each column.",
                t.Facet,
                "by",
                "with",
            ),
            _word("filter", "filter condition", "Another name for `where`.", t.Where),
            _word(
                "find",
                "find [in (Tables)] where condition [project Columns]",
                "Finds the rows of several tables that meet a condition.",
                t.Find,
                "in",
                "where",
                "project",
                "project-smart",
                settings={"withsource": ()},
                source=True,
                piped=False,
            ),
            _word("fork", "fork Name=(operators) ...", "Runs several operators over the same rows.", t.Fork),
            _word("getschema", "getschema", "Gives a row for each column: name, place, type.", t.GetSchema),
            _word("invoke", "invoke function(arguments)", "Calls a function on the rows.", t.Invoke),
            _word(
                "join",
                "join kind=Kind (Table) on Column, ...",
                "Brings together rows of two tables that agree; `innerunique` unless a kind is given.",
                t.Join,
                "on",
                settings={"kind": _JOIN_KINDS},
            ),
            _word("limit", "limit Count", "Another name for `take`.", t.Take),
            _word(
                "lookup",
                "lookup kind=Kind (Table) on Column, ...",
                "Adds the columns of a small table to the rows.",
                t.Join,
                "on",
                settings={"kind": ("leftouter", "inner")},
            ),
            _word(
                "make-series",
                "make-series Aggregate [default=Value] on Axis from Start to End step Step [by Columns]",
                "Gives arrays of an aggregate over equal steps of an axis.",
                t.MakeSeries,
                "default",
                "on",
                "from",
                "to",
                "step",
                "by",
            ),
            _word(
                "mv-apply",
                "mv-apply Item = Array on (operators)",
                "Runs operators over the elements of an array, row by row.",
                t.MvApply,
                "to typeof()",
                "limit",
                "on",
                settings={"with_itemindex": ()},
            ),
            _word(
                "mv-expand",
                "mv-expand Column [to typeof(type)] [limit Count]",
                "Makes a row of each element of an array or property of a bag.",
                t.MvExpand,
                "to typeof()",
                "limit",
                settings={"kind": ("bag", "array"), "with_itemindex": ()},
            ),
            _word(
                "order", "order by Column asc|desc, ...", "Another name for `sort`.", t.Sort, "by", *_ORDER
            ),
            _word(
                "parse",
                'parse kind=Kind Text with "literal" Column: type * ...',
                "Takes columns out of a text by the literal parts between them.",
                t.Parse,
                "with",
                settings={"kind": ("simple", "relaxed", "regex"), "flags": ()},
            ),
            _word(
                "parse-kv",
                "parse-kv Text as (Key: type, ...) with (pair_delimiter=..., kv_delimiter=...)",
                "Takes columns out of a text of keys and values.",
                t.ParseKv,
                "as",
                "with",
            ),
            _word(
                "parse-where",
                'parse-where kind=Kind Text with "literal" Column: type * ...',
                "Like `parse`, and drops the rows that do not fit.",
                t.Parse,
                "with",
                settings={"kind": ("simple", "relaxed", "regex"), "flags": ()},
            ),
            _word(
                "partition",
                "partition by Column (operators)",
                "Runs operators over the rows of each value of a column.",
                t.Partition,
                "by",
            ),
            _word(
                "print",
                "print Name = expression, ...",
                "One row of the given values.",
                t.Print,
                source=True,
                piped=False,
            ),
            _word(
                "project",
                "project Column, Name = expression, ...",
                "Chooses and computes the columns.",
                t.Project,
            ),
            _word("project-away", "project-away Pattern, ...", "Leaves out columns.", t.ProjectAway),
            _word(
                "project-keep", "project-keep Pattern, ...", "Keeps only the named columns.", t.ProjectAway
            ),
            _word(
                "project-rename", "project-rename New = Old, ...", "Gives columns new names.", t.ProjectRename
            ),
            _word(
                "project-by-names",
                "project-by-names Name, ...",
                "Keeps the columns whose names the values give, in their order.",
                t.ProjectByNames,
            ),
            _word(
                "project-reorder",
                "project-reorder Pattern asc|desc, ...",
                "Puts columns first, the others after them.",
                t.ProjectReorder,
                "asc",
                "desc",
                "granny-asc",
                "granny-desc",
            ),
            _word(
                "range",
                "range Name from Start to End step Step",
                "A table of one column of evenly spaced values.",
                t.RangeSource,
                "from",
                "to",
                "step",
                source=True,
                piped=False,
            ),
            _word("reduce", "reduce by Column", "Groups texts that are alike.", t.Reduce, "by", "with"),
            _word(
                "render",
                "render Chart [with (properties)]",
                "Asks for a drawing of the result.",
                t.RenderOperator,
                "with",
            ),
            _word("sample", "sample Count", "Gives some rows, any of them.", t.Take),
            _word(
                "sample-distinct",
                "sample-distinct Count of Column",
                "Gives some distinct values of a column.",
                t.SampleDistinct,
                "of",
            ),
            _word(
                "scan",
                "scan [with_match_id=Name] declare (Name: type) with (step Name: condition => Name = value;)",
                "Matches steps over rows in order.",
                t.ScanOperator,
                "declare",
                "with",
                "step",
                settings={"with_match_id": ()},
            ),
            _word(
                "search",
                "search [in (Tables)] condition",
                "Finds the rows of any column, or of several tables, that hold a term.",
                t.Search,
                "in",
                settings={"kind": ("case_sensitive", "default")},
                source=True,
            ),
            _word("serialize", "serialize [Name = expression, ...]", "Fixes the order of rows.", t.Serialize),
            _word(
                "sort",
                "sort by Column asc|desc, ...",
                "Orders the rows, descending if not told.",
                t.Sort,
                "by",
                *_ORDER,
            ),
            _word(
                "summarize",
                "summarize Name = aggregate, ... by Column, ...",
                "Gives one row for each group, with aggregates over its rows.",
                t.Summarize,
                "by",
            ),
            _word("take", "take Count", "Gives up to that many rows, any of them.", t.Take),
            _word(
                "top",
                "top Count by Column asc|desc",
                "Gives the first rows of an order.",
                t.Top,
                "by",
                *_ORDER,
            ),
            _word(
                "top-hitters",
                "top-hitters Count of Column [by Weight]",
                "Gives the values that occur most.",
                t.TopHitters,
                "of",
                "by",
            ),
            _word(
                "top-nested",
                "top-nested Count of Column by Aggregate, ...",
                "Gives the top values, and within each the top of the next.",
                t.TopNested,
                "of",
                "by",
                "with others =",
                *_ORDER[:2],
            ),
            _word(
                "union",
                "union [kind=Kind] [withsource=Name] Table, ...",
                "Gives the rows of several tables.",
                t.Union,
                settings={"kind": ("outer", "inner"), "isfuzzy": _BOOLEANS, "withsource": ()},
                source=True,
            ),
            _word("where", "where condition", "Keeps the rows for which a condition holds.", t.Where),
        )
    }
)
"""Every tabular operator by its name."""

STATEMENTS: Mapping[str, str] = MappingProxyType(
    {
        "let": "Gives a name to a value, a table or a function.",
        "declare query_parameters": "Declares the values that are given with the query.",
        "set": "Sets an option: `query_bin_auto_size` and `query_bin_auto_at`, which `bin_auto` reads.",
    }
)

BINARY_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "==": "Equal; texts by letter case.",
        "!=": "Not equal.",
        "=~": "Equal texts in any letter case.",
        "!~": "Not equal texts in any letter case.",
        "and": "Both conditions hold.",
        "between": "Within a range, its ends included: `between (low .. high)`.",
        "contains": "Holds the text anywhere, in any letter case.",
        "contains_cs": "Holds the text anywhere, by letter case.",
        "endswith": "Ends with the text, in any letter case.",
        "has": "Holds the text as a whole term, in any letter case; faster than `contains`.",
        "has_all": "Holds all of the terms.",
        "has_any": "Holds any of the terms.",
        "has_cs": "Holds the text as a whole term, by letter case.",
        "hasprefix": "Holds a term that starts with the text.",
        "hassuffix": "Holds a term that ends with the text.",
        "in": "Is one of the values: `in (a, b)`.",
        "in~": "Is one of the texts in any letter case.",
        "!in": "Is none of the values.",
        "!contains": "Does not hold the text.",
        "!has": "Does not hold the term.",
        "matches regex": "Holds a match of the regular expression (RE2).",
        "or": "At least one condition holds.",
        "startswith": "Starts with the text, in any letter case.",
    }
)
"""The operators between two values."""

CLAUSE_WORDS = frozenset(
    [
        "and",
        "or",
        "by",
        "on",
        "with",
        "in",
        "in~",
        "between",
        "has_any",
        "has_all",
        "where",
        "as",
        "of",
        "from",
        "to",
        "step",
        "asc",
        "desc",
        "nulls",
        "first",
        "last",
        "kind",
        "has",
        "contains",
        "startswith",
        "endswith",
        "default",
        "limit",
        "declare",
        "typeof",
        "matches",
        "regex",
        "hasprefix",
        "hassuffix",
        "has_cs",
        "contains_cs",
        "startswith_cs",
        "endswith_cs",
        "hasprefix_cs",
        "hassuffix_cs",
        "let",
        "set",
        "granny",
        "others",
        "optional",
        "output",
    ]
)
"""Words after which an expression begins, or which stand between clauses."""

JOIN_SIDES: Mapping[str, str] = MappingProxyType({"$left": "The left rows.", "$right": "The right rows."})
