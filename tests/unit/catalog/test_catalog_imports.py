"""Each module of the catalog can be the first that a program imports: commands import what they need, and no more."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import headrace.catalog

_PROGRAM = """
import importlib, sys
for name in sys.argv[1:]:
    for known in [one for one in sys.modules if one.startswith("headrace")]:
        del sys.modules[known]
    importlib.import_module(name)
"""


def test_any_module_may_come_first() -> None:
    names = [f"headrace.catalog.{found.name}" for found in pkgutil.iter_modules(headrace.catalog.__path__)]
    assert len(names) > 5
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
