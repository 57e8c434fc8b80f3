"""The editor's words are the language's: what the parser and the binder take is offered and explained."""

from __future__ import annotations

from headrace.kql.bind.plugins import PLUGINS
from headrace.kql.editor import words
from headrace.kql.syntax.parser import OPERATORS


def test_every_operator_but_for_old_spellings_has_its_words() -> None:
    assert set(OPERATORS) - set(words.OPERATORS) == {"mvapply", "mvexpand"}


def test_every_plugin_has_its_words() -> None:
    assert set(words.PLUGINS) == set(PLUGINS)
