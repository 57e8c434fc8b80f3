"""Who reads what: callers by their tokens, and the workspaces and tables that each of them may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request

from headrace.catalog.model import Catalog, Workspace
from headrace.identity.access import Access
from headrace.identity.model import QUERY, Caller, TokenError
from headrace.identity.verify import TokenVerifier
from headrace.query import errors
from headrace.query.database import WorkspaceView, find_workspace

QUERY_ACTION = "Microsoft.OperationalInsights/workspaces/query/read"
"""What a caller needs on a workspace to ask it anything."""

TABLE_ACTION = "Microsoft.OperationalInsights/workspaces/tables/query/read"
"""What lets a caller read the one table that it is given on; on the workspace, `.../query/{table}/read`."""


@dataclass(frozen=True, slots=True)
class Readers:
    """Views of who may do what and of what there is; every surface that queries asks here."""

    verifier: TokenVerifier
    access: Callable[[], Access]
    catalog: Callable[[], Catalog]

    def authenticate(self, request: Request) -> Caller:
        """Who asks. Raises `HttpError` 401 or 403."""
        try:
            return self.verifier.verify(request.headers.get("authorization"), QUERY)
        except TokenError as error:
            raise errors.token_refused(error) from None

    def view(self, caller: Caller, names: Iterable[str]) -> WorkspaceView:
        """The workspaces of these names as one. Raises `HttpError` 404, and 403 for one that is not his."""
        catalog = self.catalog()
        workspaces: dict[str, Workspace] = {}
        for name in names:
            found = find_workspace(catalog, name)
            if found is None:
                raise errors.workspace_not_found(name)
            if not self._may_query(caller, found):
                raise errors.forbidden(caller.object_id)
            workspaces[found.customer_id] = found
        return WorkspaceView(catalog, tuple(workspaces.values()), partial(self._may_read, caller))

    def workspaces(self, caller: Caller) -> tuple[Workspace, ...]:
        """The workspaces that the caller may query, by name."""
        found = (one for one in self.catalog().workspaces.values() if self._may_query(caller, one))
        return tuple(sorted(found, key=lambda workspace: workspace.name.lower()))

    def _may_query(self, caller: Caller, workspace: Workspace) -> bool:
        return self._allows(caller, QUERY_ACTION, workspace.resource_id)

    def _may_read(self, caller: Caller, workspace: Workspace, table: str) -> bool:
        # A text may name a workspace that its request did not: asking that one anything takes the right as well.
        if not self._may_query(caller, workspace):
            return False
        action = f"Microsoft.OperationalInsights/workspaces/query/{table}/read"
        return self._allows(caller, action, workspace.resource_id) or self._allows(
            caller, TABLE_ACTION, f"{workspace.resource_id}/tables/{table}"
        )

    def _allows(self, caller: Caller, action: str, scope: str) -> bool:
        return self.access().allows(caller.object_id, action, scope, groups=caller.groups)
