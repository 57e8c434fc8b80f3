"""Variables that look like Headrace's and are none: a misspelt one would be ignored without a word."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping

from rich.markup import escape

from headrace.cli.output import error_console, visible
from headrace.env_file import OWN_NAMES
from headrace.errors import Problem
from headrace.settings import setting_fields, variable_name

_PREFIX = "HEADRACE_"
_TESTS_PREFIX = "HEADRACE_TEST_"
_MOST_GUESSES = 3
# What Kubernetes sets for services whose names begin with headrace.
_SERVICE_NAME = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def unknown_variables(environment: Mapping[str, str]) -> Iterator[Problem]:
    """A problem for each variable that begins with HEADRACE_ and means nothing, with what may be meant.

    Known are the settings' variables, those of the env file and the tests'. No value is ever told.
    """
    known = [variable_name(setting) for setting in setting_fields()]
    for name in sorted(name for name in environment if name.startswith(_PREFIX)):
        if name in known or name in OWN_NAMES or name.startswith(_TESTS_PREFIX):
            continue
        if _SERVICE_NAME.fullmatch(name) or _SERVICE_ADDRESS.match(environment[name]):
            continue
        guesses = _guesses(name, known)
        meant = (
            f"Did you mean {' or '.join(guesses)}?" if guesses else "`headrace settings` lists all settings."
        )
        yield Problem(
            "UnknownVariable",
            f"{name} is no variable of Headrace: it changes nothing.",
            target=name,
            hint=meant,
        )


def warn_of_unknown_variables() -> None:
    """Print a warning to standard error for each of them in this process's environment."""
    for problem in unknown_variables(os.environ):
        line = escape(visible(problem.told))
        error_console().print(f"[bold yellow]warning:[/bold yellow] {line}")


def _guesses(name: str, known: list[str]) -> list[str]:
    """The settings' variables that may be meant: those with another section before them, else the most alike."""
    endings = {one.removeprefix(_PREFIX): one for one in known}
    ending = name.removeprefix(_PREFIX)
    same_ending = [one for one in known if ending and one.endswith(f"_{ending}")][:_MOST_GUESSES]
    return same_ending or [endings[one] for one in difflib.get_close_matches(ending, endings, 1, 0.7)]
