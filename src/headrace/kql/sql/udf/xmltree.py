"""XML text as a tree of elements; whatever could be hostile in a document is refused."""

from __future__ import annotations

import xml.parsers.expat

_MOST_DEPTH = 200
_MOST_NODES = 200_000


class Element:
    """An element: its name, attributes, children in order, and own text in pieces."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element] = []
        self.text: list[str] = []


def read_xml(text: str) -> Element | None:
    """The root of a document; None for what is no XML, defines entities, or is too large."""
    parser = xml.parsers.expat.ParserCreate()
    parser.buffer_text = True
    stack: list[Element] = []
    roots: list[Element] = []
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) >= _MOST_DEPTH or count > _MOST_NODES:
            raise ValueError("too large")
        element = Element(name, attributes)
        (stack[-1].children if stack else roots).append(element)
        stack.append(element)

    def end(name: str) -> None:
        stack.pop()

    def characters(data: str) -> None:
        if stack:
            stack[-1].text.append(data)

    def refuse(*_: object) -> None:
        raise ValueError("entities are not read")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except (xml.parsers.expat.ExpatError, ValueError):
        return None
    return roots[0] if roots else None
