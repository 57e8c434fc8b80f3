"""The function registry: `FUNCTIONS` holds every declared function and operator, one module a family."""

from __future__ import annotations

from headrace.kql.bind.functions.registry import Registry

FUNCTIONS = Registry(())
"""All functions and operators of KQL that are declared."""
