"""The editor service: pure functions from a text, a cursor and a schema to what an editor shows.

Offsets are counted in characters from 0; a target says what a text is compiled against.
"""

from __future__ import annotations

from headrace.kql.editor.completion import complete
from headrace.kql.editor.diagnostics import diagnose
from headrace.kql.editor.formatter import format_text
from headrace.kql.editor.hover import hover
from headrace.kql.editor.lints import lint
from headrace.kql.editor.model import (
    CompletionItem,
    Hover,
    ItemKind,
    Severity,
    SignatureHelp,
    SignatureLine,
    Target,
)
from headrace.kql.editor.signatures import signature_help

__all__ = [
    "CompletionItem",
    "Hover",
    "ItemKind",
    "Severity",
    "SignatureHelp",
    "SignatureLine",
    "Target",
    "complete",
    "diagnose",
    "format_text",
    "hover",
    "lint",
    "signature_help",
]
