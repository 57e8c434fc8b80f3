"""The formatter's layout: words to lines. It depends on nothing but the words, so it settles at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from headrace.kql.editor.tokens import Word
from headrace.kql.syntax.lexer import NAME, OP

WIDTH = 100
INDENT = 4
_TOO_WIDE = 1 << 30
_PARTNERS = {"(": ")", "[": "]", "{": "}"}
_LISTING = frozenset(
    [
        "summarize",
        "extend",
        "project",
        "project-away",
        "project-keep",
        "project-rename",
        "project-reorder",
        "distinct",
        "print",
        "union",
        "serialize",
        "make-series",
    ]
)
"""Operators whose long lists begin on a line of their own."""


Item: TypeAlias = "Word | Group"


@dataclass(slots=True)
class Group:
    """What stands in a pair of brackets. `row`: how many values make a row of a `datatable`, 0 elsewhere."""

    open: Word
    items: list[Item] = field(default_factory=list)
    close: Word | None = None
    row: int = 0
    width: int | None = None


def lay_out(words: Sequence[Word]) -> str:
    """The text of a token sequence in canonical layout; the last word is the end."""
    writer = _Writer()
    _statements(writer, _grouped(words[:-1]), 0)
    writer.finish(words[-1])
    return writer.text()


def _grouped(words: Iterable[Word]) -> list[Item]:
    root: list[Item] = []
    stack: list[Group] = []
    level = root
    for word in words:
        if word.kind == OP and word.text in _PARTNERS:
            group = Group(word, row=_row(level) if word.text == "[" else 0)
            level.append(group)
            stack.append(group)
            level = group.items
        elif stack and word.kind == OP and word.text == _PARTNERS[stack[-1].open.text]:
            stack.pop().close = word
            level = stack[-1].items if stack else root
        else:
            level.append(word)
    return root


def _row(level: Sequence[Item]) -> int:
    if len(level) < 2 or not isinstance(level[-1], Group) or not _is(level[-2], "datatable"):
        return 0
    return 1 + sum(_is(item, ",") for item in level[-1].items)


def _is(item: Item, *texts: str) -> bool:
    return isinstance(item, Word) and item.text in texts and item.kind in (OP, NAME)


def _split(items: Sequence[Item], mark: str) -> Iterator[tuple[list[Item], Word | None]]:
    """The runs between marks, each with the mark that ends it."""
    run: list[Item] = []
    for item in items:
        if isinstance(item, Word) and item.kind == OP and item.text == mark:
            yield run, item
            run = []
        else:
            run.append(item)
    if run:
        yield run, None


def _first(items: Sequence[Item]) -> Word | None:
    if not items:
        return None
    return items[0].open if isinstance(items[0], Group) else items[0]


def _width(items: Sequence[Item]) -> int:
    """How wide items are on one line; too wide where they cannot stand on one."""
    total = 0
    for place, item in enumerate(items):
        if isinstance(item, Group):
            total += _group_width(item) + item.open.space
            word = item.open
        else:
            total += _word_width(item)
            word = item
        if place and word.comments:
            return _TOO_WIDE
    return min(total, _TOO_WIDE)


def _word_width(word: Word) -> int:
    return _TOO_WIDE if "\n" in word.text else len(word.text) + word.space


def _group_width(group: Group) -> int:
    if group.width is None:
        group.width = _measured(group)
    return group.width


def _measured(group: Group) -> int:
    bars = sum(_is(item, "|") for item in group.items)
    first = _first(group.items)
    if bars > 1 or any(_is(item, ";") for item in group.items):
        return _TOO_WIDE
    if (group.close is not None and group.close.comments) or (first is not None and first.comments):
        return _TOO_WIDE
    close = group.close.space if group.close is not None else 0
    return min(2 + close + _width(group.items), _TOO_WIDE)


class _Writer:
    """Lines as they grow; a line break is only made when something follows it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.line = ""
        self.pending: int | None = 0
        self.blank = False

    @property
    def column(self) -> int:
        """Where the next word would stand."""
        if self.pending is not None:
            return self.pending
        return len(self.line) - self.line.rfind("\n") - 1

    def newline(self, indent: int) -> None:
        """Let the next word begin a line."""
        self.pending = indent

    def word(self, word: Word, indent: int) -> None:
        """Write a word after its comments; lines that its comments end go on at `indent`."""
        self._comments(word, indent)
        if self.pending is None and word.space:
            self.line += " "
        self._flush()
        self.line += word.text

    def _comments(self, word: Word, indent: int) -> None:
        for comment in word.comments:
            at = self.pending if self.pending is not None else indent
            if comment.own_line or (not self.line and not self.lines):
                self.pending = at
                self._flush()
                self.line += comment.text
            else:
                self.line += " " + comment.text
            self.pending = at

    def _flush(self) -> None:
        if self.pending is None:
            return
        if self.line or self.lines:
            self.lines.append(self.line)
            if self.blank:
                self.lines.append("")
        self.blank = False
        self.line = " " * self.pending
        self.pending = None

    def finish(self, end: Word) -> None:
        """What stands after the last word."""
        if end.comments:
            self.blank = end.blank and not (not end.comments[0].own_line and len(end.comments) == 1)
            if not end.comments[0].own_line:
                self._comments(Word("", OP, end.comments[:1]), 0)
            self._comments(Word("", OP, tuple(c for c in end.comments if c.own_line)), 0)

    def text(self) -> str:
        """All lines."""
        return "\n".join([*self.lines, self.line]).rstrip(" ") + "\n" if self.line or self.lines else ""


def _statements(writer: _Writer, items: Sequence[Item], indent: int) -> None:
    for place, (run, mark) in enumerate(_split(items, ";")):
        first = _first(run) or mark
        if place:
            writer.newline(indent)
            writer.blank = first is not None and first.blank
        _statement(writer, run, indent)
        if mark is not None:
            writer.word(mark, indent)


def _statement(writer: _Writer, items: Sequence[Item], indent: int) -> None:
    bars = any(_is(item, "|") for item in items)
    head = 0
    if items and _is(items[0], "let") and bars:
        head = next((place + 1 for place, item in enumerate(items) if _is(item, "=")), 0)
    if head:
        _run(writer, items[:head], indent)
        indent += INDENT
        writer.newline(indent)
    _pipeline(writer, items[head:], indent)


def _pipeline(writer: _Writer, items: Sequence[Item], indent: int) -> None:
    bar: Word | None = None
    for run, mark in _split(items, "|"):
        if bar is not None:
            writer.newline(indent)
            writer.word(bar, indent)
        _segment(writer, run, indent)
        bar = mark
    if bar is not None:  # pragma: no cover - a text without problems never ends in a bar
        writer.word(bar, indent)


def _segment(writer: _Writer, items: Sequence[Item], indent: int) -> None:
    """One operator, or a pipeline's source."""
    if writer.column + _width(items) <= WIDTH:
        _flat(writer, items, indent)
        return
    head = _head(items)
    name = "".join(item.text for item in items[:head] if isinstance(item, Word))
    if name not in _LISTING or not any(_is(item, ",") for item in items):
        _run(writer, items, indent + INDENT)
        return
    _flat(writer, items[:head], indent)
    deeper = indent + INDENT
    rest = items[head:]
    place = next((place for place, item in enumerate(rest) if _is(item, "by")), len(rest))
    for part in (rest[:place], rest[place:]):
        if part:
            writer.newline(deeper)
            _listing(writer, part, deeper)


def _head(items: Sequence[Item]) -> int:
    """How many words the operator's name takes."""
    head = 1
    while head < len(items):
        item = items[head]
        if not isinstance(item, Word) or item.space or item.kind not in (NAME, OP):
            break
        head += 1
    return head


def _listing(writer: _Writer, items: Sequence[Item], indent: int) -> None:
    """Items parted by commas, a line for each; those of a `by` stay on its line if they fit."""
    if _is(items[0], "by"):
        if writer.column + _width(items) <= WIDTH:
            _flat(writer, items, indent)
            return
        _flat(writer, items[:1], indent)
        items, indent = items[1:], indent + INDENT
        writer.newline(indent)
    for run, mark in _split(items, ","):
        _fitted(writer, run, indent)
        if mark is not None:
            writer.word(mark, indent)
            writer.newline(indent)


def _fitted(writer: _Writer, items: Sequence[Item], indent: int) -> None:
    if writer.column + _width(items) < WIDTH:
        _flat(writer, items, indent)
    else:
        _run(writer, items, indent + INDENT)


def _flat(writer: _Writer, items: Sequence[Item], indent: int) -> None:
    for item in items:
        if isinstance(item, Word):
            writer.word(item, indent)
            continue
        writer.word(item.open, indent)
        _flat(writer, item.items, indent)
        if item.close is not None:
            writer.word(item.close, indent)


def _run(writer: _Writer, items: Sequence[Item], indent: int) -> None:
    """Words that do not fit on the line: broken at commas, else before `and` and `or`, else where they end."""
    commas = any(_is(item, ",") for item in items)
    for place, item in enumerate(items):
        if isinstance(item, Group):
            if item.open.space and not item.open.comments and writer.column + 1 >= WIDTH:
                writer.newline(indent)
            if writer.column + item.open.space + _group_width(item) < WIDTH:
                _flat(writer, [item], indent)
            else:
                _broken(writer, item, indent - INDENT if indent else 0, indent)
            continue
        logical = not commas and _is(item, "and", "or")
        if place and (logical or (item.space and writer.column + _word_width(item) > WIDTH)):
            writer.newline(indent)
        writer.word(item, indent)
        if item.kind == OP and item.text == ",":
            writer.newline(indent)


def _broken(writer: _Writer, group: Group, indent: int, outer: int) -> None:
    """A group over several lines; its content is indented from `indent`."""
    writer.word(group.open, outer)
    deeper = indent + INDENT
    if group.items:
        writer.newline(deeper)
        _content(writer, group, deeper)
    writer.newline(indent)
    if group.close is not None:
        writer.word(group.close, deeper)


def _content(writer: _Writer, group: Group, indent: int) -> None:
    items = group.items
    if any(_is(item, ";") for item in items):
        _statements(writer, items, indent)
    elif any(_is(item, "|") for item in items):
        _pipeline(writer, items, indent)
    elif any(_is(item, ",") for item in items):
        _arguments(writer, group, indent)
    else:
        _fitted(writer, items, indent)


def _arguments(writer: _Writer, group: Group, indent: int) -> None:
    runs = list(_split(group.items, ","))
    fill = all(len(run) == 1 and isinstance(run[0], Word) for run, _ in runs)
    for place, (run, mark) in enumerate(runs):
        if place:
            full = not fill or writer.column + _width(run) >= WIDTH
            if place % group.row == 0 if group.row else full:
                writer.newline(indent)
        _fitted(writer, run, indent)
        if mark is not None:
            writer.word(mark, indent)
