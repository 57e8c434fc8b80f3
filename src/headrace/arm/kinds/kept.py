"""Resources around a workspace that templates bring along, and that do nothing here: their documents are kept.

What Microsoft Sentinel's solutions are made of (Microsoft.SecurityInsights), Microsoft.OperationsManagement/solutions,
and what connects a workspace with agents, other accounts and clusters.
"""

from __future__ import annotations

from typing import Any

from headrace.arm import store
from headrace.arm.filters import parse_filter
from headrace.arm.ids import KEPT_IN_WORKSPACES, SENTINEL_TYPES, SOLUTION_TYPE, WORKSPACE_TYPE
from headrace.arm.kinds.base import (
    Kind,
    answer,
    check_tags,
    clean,
    find_for_put,
    render,
    require_parent,
    save_put,
)
from headrace.arm.kinds.scopes import ProxyKind
from headrace.arm.kinds.tracked import TrackedKind
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource

_FILTERED = frozenset({"kind"})


class KeptDocuments(ProxyKind):
    """A kind of resource below a workspace, or in any scope, that is shown as it was put and does nothing."""

    def __init__(self, name: str) -> None:
        self.type = name
        self._below = name.startswith(f"{WORKSPACE_TYPE}/")

    def check_scope(self, call: Call) -> None:
        """See `ProxyKind.check_scope`: the workspace, or the scope."""
        if self._below:
            require_parent(call, WORKSPACE_TYPE)
        else:
            super().check_scope(call)

    def shown(self, item: Resource) -> dict[str, Any]:
        """See `ProxyKind.shown`."""
        return render(item, item.properties, location=False)

    def list(self, call: Call) -> Answer:
        """GET of those in a workspace or scope; `$filter=kind eq 'x'` lets one kind through."""
        self.check_scope(call)
        terms = parse_filter(call.query.get("$filter"), _FILTERED)
        items = store.select_page(call.connection, self.type, parent_key=call.target.parent_id.lower())
        wanted = [item for item in items if all(term.holds(_kind(item)) for term in terms)]
        return Answer(200, {"value": [self.shown(item) for item in wanted]})

    def put(self, call: Call) -> Answer:
        """PUT: 200, whether it is new or replaces another, which every client of these takes."""
        self.check_scope(call)
        existing = find_for_put(call)
        check_tags(call.body)
        document = clean(call.body)
        item = save_put(call, existing, document)
        return answer(item, self.shown(item))


class Solutions(TrackedKind):
    """Microsoft.OperationsManagement/solutions: `plan` and `properties.workspaceResourceId` are kept."""

    type = SOLUTION_TYPE


def kept_kinds() -> tuple[Kind, ...]:
    """Every kind whose documents are kept and nothing else."""
    return (*(KeptDocuments(name) for name in (*KEPT_IN_WORKSPACES, *SENTINEL_TYPES)), Solutions())


def _kind(item: Resource) -> str:
    kind = item.document.get("kind")
    return kind if isinstance(kind, str) else ""
