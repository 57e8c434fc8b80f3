"""Who reads what: callers by their tokens, and the workspaces and tables that each of them may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request

from headrace.catalog.model import Catalog, Workspace
from headrace.identity.access import Access
from headrace.identity.model import QUERY, Caller, Surface, TokenError
from headrace.identity.verify import TokenVerifier
from headrace.query import errors
from headrace.query.database import WorkspaceView, find_workspace, is_group, lies_in, read_resource
from headrace.wire.addresses import Addresses

QUERY_ACTION = "Microsoft.OperationalInsights/workspaces/query/read"
"""What a caller needs on a workspace to ask it anything."""

TABLE_ACTION = "Microsoft.OperationalInsights/workspaces/tables/query/read"
"""What lets a caller read the one table that it is given on; on the workspace, `.../query/{table}/read`."""


@dataclass(frozen=True, slots=True)
class Readers:
    """Views of who may do what and of what there is; every surface that queries asks here."""

    verifier: TokenVerifier
    addresses: Addresses
    access: Callable[[], Access]
    catalog: Callable[[], Catalog]

    def authenticate(self, request: Request, surface: Surface = QUERY) -> Caller:
        """Who asks, with a token for `surface`. Raises `HttpError` 401 or 403."""
        try:
            return self.verifier.verify(request.headers.get("authorization"), surface)
        except TokenError as error:
            authority = self.addresses.authority(request.headers.get("host"), self.access().tenant)
            raise errors.token_refused(error, authority) from None

    def view(self, caller: Caller, names: Iterable[str]) -> WorkspaceView:
        """The workspaces and resources of these names as one.

        A group or a subscription has all rows of the workspaces in it; it and any other resource have the rows of
        the caller's other workspaces that say they are about it. Raises `HttpError` 404 for a name of nothing, and
        403 for what is not his.
        """
        catalog = self.catalog()
        whole: dict[str, Workspace] = {}
        limited: dict[str, tuple[str, ...]] = {}
        for name in names:
            found = find_workspace(catalog, name)
            if found is not None:
                if not self._may_query(caller, found):
                    raise errors.forbidden(caller.object_id)
                whole[found.customer_id] = found
                continue
            resource = read_resource(name)
            if resource is None:
                raise errors.workspace_not_found(name)
            for workspace in self._workspaces_about(caller, resource):
                if lies_in(workspace, resource):
                    whole[workspace.customer_id] = workspace
                else:
                    limited[workspace.customer_id] = (*limited.get(workspace.customer_id, ()), resource)
        for customer_id in whole:
            limited.pop(customer_id, None)
        workspaces = (*whole.values(), *(catalog.workspaces[customer_id] for customer_id in limited))
        return WorkspaceView(catalog, workspaces, partial(self._may_read, caller), limited)

    def workspace(self, caller: Caller, name: str) -> WorkspaceView:
        """The one workspace of this name. Raises `HttpError` 404, and 403 for one that is not his."""
        if find_workspace(self.catalog(), name) is None:
            raise errors.workspace_not_found(name)
        return self.view(caller, (name,))

    def _workspaces_about(self, caller: Caller, resource: str) -> tuple[Workspace, ...]:
        """The caller's workspaces, any of which may have rows about the resource."""
        there = [one for one in self.catalog().workspaces.values() if lies_in(one, resource)]
        if is_group(resource) and not there:
            raise errors.resource_not_found(resource)
        found = self.workspaces(caller)
        if not found or (there and not any(lies_in(one, resource) for one in found)):
            raise errors.forbidden(caller.object_id)
        return found

    def workspaces(self, caller: Caller) -> tuple[Workspace, ...]:
        """The workspaces that the caller may query, by name."""
        found = (one for one in self.catalog().workspaces.values() if self._may_query(caller, one))
        return tuple(sorted(found, key=lambda workspace: workspace.name.lower()))

    def _may_query(self, caller: Caller, workspace: Workspace) -> bool:
        return self.may(caller, QUERY_ACTION, workspace.resource_id)

    def _may_read(self, caller: Caller, workspace: Workspace, table: str) -> bool:
        # A text may name a workspace that its request did not: asking that one anything takes the right as well.
        if not self._may_query(caller, workspace):
            return False
        action = f"Microsoft.OperationalInsights/workspaces/query/{table}/read"
        return self.may(caller, action, workspace.resource_id) or self.may(
            caller, TABLE_ACTION, f"{workspace.resource_id}/tables/{table}"
        )

    def may(self, caller: Caller, action: str, scope: str) -> bool:
        """Whether the caller may perform an action at a scope."""
        return self.access().allows(caller.object_id, action, scope, groups=caller.groups)
