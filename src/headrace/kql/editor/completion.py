"""Completion: what may be typed at a cursor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.functions.registry import Function, Kind
from headrace.kql.bind.scope import FunctionBinding, Relation, ScalarBinding
from headrace.kql.editor.context import Context, Place, context_at
from headrace.kql.editor.model import CompletionItem, ItemKind, Target
from headrace.kql.editor.scope import Scope, function_text, scope_at
from headrace.kql.editor.signatures import signature_text
from headrace.kql.editor.words import (
    BINARY_WORDS,
    JOIN_SIDES,
    OPERATORS,
    PLUGINS,
    STATEMENTS,
    OperatorWord,
)
from headrace.kql.model import CHARTS
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.lexer import MAX_TEXT
from headrace.kql.types import KustoType

MAX_ITEMS = 2000
_IDENTIFIER = re.compile(r"[^\W\d]\w*\Z")
_AGGREGATING = frozenset(["summarize", "make-series", "top-nested"])
_BY_FIRST = frozenset(["sort", "order", "reduce", "facet", "partition"])
_NAMES_ONLY = frozenset(["project-away", "project-keep", "project-reorder", "project-rename"])
_TABLES = frozenset(["join", "lookup", "union"])
_NAMING = frozenset(["as", "count", "getschema", "consume"])


def complete(text: str, offset: int, target: Target) -> tuple[CompletionItem, ...]:
    """What may be typed at `offset`, the best first; nothing inside literals and comments.

    What is typed already narrows the list: items that begin with it come first, then those that hold it.
    """
    if len(text) > MAX_TEXT:
        return ()
    context = context_at(text, offset)
    found = _items(context, target)
    prefix = context.prefix.lower()
    begin: list[CompletionItem] = []
    within: list[CompletionItem] = []
    seen: set[tuple[str, ItemKind]] = set()
    for item in found:
        label = item.label.lower()
        if prefix not in label or (item.label, item.kind) in seen:
            continue
        seen.add((item.label, item.kind))
        (begin if label.startswith(prefix) else within).append(item)
        if len(seen) >= MAX_ITEMS:
            break
    return (*begin, *within)


def _items(context: Context, target: Target) -> Iterator[CompletionItem]:
    if context.place is Place.NOTHING:
        return
    if context.place is Place.OPERATOR:
        yield from _operators(context, target)
    elif context.place is Place.SETTING:
        word = OPERATORS[context.operator or ""]
        for value in word.settings.get(context.setting, ()):
            yield _item(context, value, ItemKind.VALUE, context.setting, "")
    elif context.place is Place.MEMBER:
        yield from _members(context, target)
    elif context.place in (Place.STATEMENT, Place.SOURCE):
        yield from _sources(context, target, scope_at(target, context.marked))
    else:
        yield from _expressions(context, target)


def _item(
    context: Context, label: str, kind: ItemKind, detail: str, documentation: str, insert: str | None = None
) -> CompletionItem:
    return CompletionItem(
        label, kind, detail, documentation, label if insert is None else insert, context.start, context.end
    )


def _operators(context: Context, target: Target) -> Iterator[CompletionItem]:
    for name, word in OPERATORS.items():
        if word.piped and _allowed(word, target):
            yield _item(context, name, ItemKind.OPERATOR, word.syntax, word.doc)


def _allowed(word: OperatorWord, target: Target) -> bool:
    if target.source is None:
        return True
    return target.profile.operator(_bare(word))[0] != "refuse"


def _bare(word: OperatorWord) -> n.Operator:
    """A syntax node of the operator that is enough for a profile to judge."""
    nothing = n.Literal(0, 0, None, KustoType.DYNAMIC)
    if word.node is t.ProjectAway:
        return t.ProjectAway(0, 0, (), word.name == "project-keep")
    if word.node is t.Parse:
        return t.Parse(0, 0, "simple", "", nothing, (), word.name == "parse-where")
    if word.node is t.Join:
        return t.Join(0, 0, None, nothing, None, (), word.name == "lookup")
    if word.node is t.Take:
        return t.Take(0, 0, nothing, word.name == "sample")
    bare = object.__new__(word.node)
    object.__setattr__(bare, "start", 0)
    object.__setattr__(bare, "end", 0)
    return bare


def _members(context: Context, target: Target) -> Iterator[CompletionItem]:
    if context.operator not in ("join", "lookup") or context.clause != "on":
        return
    if context.owner == "$left":
        yield from _columns(context, scope_at(target, context.marked).rows)
    elif context.owner == "$right" and context.right:
        yield from _columns(context, scope_at(target, context.right).rows)


def _columns(context: Context, rows: Relation | None, *, hidden: bool = False) -> Iterator[CompletionItem]:
    for column in rows.columns if rows is not None else ():
        if not column.name or column.name.startswith("__") or (column.hidden and not hidden):
            continue
        plain = _IDENTIFIER.match(column.name)
        escaped = column.name.replace("\\", "\\\\").replace("'", "\\'")
        insert = column.name if plain else f"['{escaped}']"
        yield _item(context, column.name, ItemKind.COLUMN, column.type.value, "", insert)


def _sources(context: Context, target: Target, scope: Scope) -> Iterator[CompletionItem]:
    yield from _names(context, scope, tables=True, scalars=context.place is Place.SOURCE)
    yield from _tables(context, target)
    if target.source is None:
        for name in target.options.functions:
            yield _item(context, name, ItemKind.FUNCTION, "saved function", "")
    for name, word in OPERATORS.items():
        if word.source and _allowed(word, target):
            yield _item(context, name, ItemKind.OPERATOR, word.syntax, word.doc)
    if context.place is Place.STATEMENT:
        for name, doc in STATEMENTS.items():
            yield _item(context, name, ItemKind.KEYWORD, "statement", doc)
    elif context.previous is not None and context.previous.text == "=":
        yield from _functions(context, target, aggregates=False)


def _tables(context: Context, target: Target) -> Iterator[CompletionItem]:
    for name in target.table_names():
        insert = name if _IDENTIFIER.match(name) else f"['{name}']"
        yield _item(context, name, ItemKind.TABLE, "table", "", insert)


def _names(context: Context, scope: Scope, *, tables: bool, scalars: bool = True) -> Iterator[CompletionItem]:
    for name in dict.fromkeys(scope.environment.all_names()):
        binding = scope.environment.find(name)
        if isinstance(binding, FunctionBinding):
            yield _item(context, name, ItemKind.FUNCTION, function_text(binding), "", f"{name}(")
        elif isinstance(binding, ScalarBinding):
            if scalars:
                yield _item(context, name, ItemKind.VARIABLE, binding.value.type.value, "")
        elif tables:
            yield _item(context, name, ItemKind.VARIABLE, "table", "")


def _expressions(context: Context, target: Target) -> Iterator[CompletionItem]:
    operator = context.operator or ""
    word = OPERATORS.get(operator)
    if context.fresh and word is not None:
        for name in word.settings:
            yield _item(context, name, ItemKind.KEYWORD, "setting", "", f"{name}=")
    if operator == "render" and context.fresh:
        for chart in CHARTS:
            yield _item(context, chart, ItemKind.VALUE, "chart", "")
        return
    if operator == "evaluate" and context.fresh:
        for plugin, doc in PLUGINS.items():
            yield _item(context, plugin, ItemKind.FUNCTION, "plugin", doc, f"{plugin}(")
        return
    if operator in _NAMING:
        return
    if operator in _BY_FIRST and context.clause is None and not context.calls:
        yield from _keywords(context, ("by",))
        return
    if context.after_operand:
        yield from _after_operand(context, word)
        return
    scope = scope_at(target, context.marked)
    if operator in _TABLES and context.clause is None and not context.calls:
        yield from _sources(context, target, scope)
        return
    if _takes_aggregates(context) and not context.calls:
        yield from _functions(context, target, only=Kind.AGGREGATE)
    yield from _columns(context, scope.rows, hidden=context.prefix.startswith("_"))
    if operator in _NAMES_ONLY:
        return
    if context.right:
        yield from (_item(context, side, ItemKind.KEYWORD, "rows", doc) for side, doc in JOIN_SIDES.items())
    listed = context.previous is not None and context.previous.text == "("
    yield from _names(context, scope, tables=listed)
    yield from _functions(context, target, aggregates=_takes_aggregates(context))
    if listed and not context.calls and target.source is None:
        yield from _tables(context, target)
    if word is not None and operator == "summarize" and context.fresh:
        yield from _keywords(context, ("by",))


def _takes_aggregates(context: Context) -> bool:
    if context.operator not in _AGGREGATING:
        return False
    if any(_is_aggregate(name) for name in context.calls):
        return False
    clause = context.clause
    return clause == "by" if context.operator == "top-nested" else clause is None


def _is_aggregate(name: str) -> bool:
    function = FUNCTIONS.find(name)
    return function is not None and function.kind is Kind.AGGREGATE


def _after_operand(context: Context, word: OperatorWord | None) -> Iterator[CompletionItem]:
    if word is not None and not context.calls:
        yield from _keywords(context, (clause for clause in word.clauses if clause != context.clause))
    if context.operator not in _NAMES_ONLY:
        for name, doc in BINARY_WORDS.items():
            yield _item(context, name, ItemKind.KEYWORD, "operator", doc)


def _keywords(context: Context, names: Iterable[str]) -> Iterator[CompletionItem]:
    for name in names:
        yield _item(context, name, ItemKind.KEYWORD, "keyword", "")


def _functions(
    context: Context, target: Target, *, aggregates: bool = True, only: Kind | None = None
) -> Iterator[CompletionItem]:
    profile = target.profile
    found: dict[Kind, list[CompletionItem]] = {kind: [] for kind in Kind}
    for name in FUNCTIONS.names():
        function = FUNCTIONS.find(name)
        assert function is not None
        if (function.kind is Kind.AGGREGATE and not aggregates) or only not in (None, function.kind):
            continue
        verdict, message = profile.function(function, name)
        if verdict != "refuse":
            found[function.kind].append(_function_item(context, function, name, message))
    yield from (item for kind in (Kind.AGGREGATE, Kind.SCALAR, Kind.WINDOW) for item in found[kind])


def _function_item(context: Context, function: Function, name: str, note: str) -> CompletionItem:
    kind = ItemKind.AGGREGATE if function.kind is Kind.AGGREGATE else ItemKind.FUNCTION
    detail = signature_text(function, name).split("\n")[0]
    empty = all(signature.most == 0 for signature in function.signatures)
    documentation = f"{function.doc} {note}".strip()
    return _item(context, name, kind, detail, documentation, f"{name}()" if empty else f"{name}(")
