"""`GET /receipts/{x-ms-request-id}`: what became of one call, for those who may send to its rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.identity.model import INGESTION, TokenError
from headrace.ingest import errors
from headrace.ingest.intake import WRITE_ACTION
from headrace.ingest.model import Rights, Verifier
from headrace.observe.answers import Receipt
from headrace.wire.addresses import Addresses
from headrace.wire.problems import http_error, json_response


class Scopes(Protocol):
    """Where the rule of a receipt stands."""

    def __call__(self, rule: str, version: int) -> str | None:
        """The ARM id of a rule, also of a deleted one; None when it is not kept."""
        ...


def receipts_route(
    find: Callable[[str], Receipt | None],
    scope_of: Scopes,
    verifier: Verifier,
    rights: Callable[[], Rights],
    addresses: Addresses,
) -> Route:
    """The route. `find` may look at the disk; it is called in a thread."""

    async def receipt(request: Request) -> Response:
        try:
            caller = verifier.verify(request.headers.get("authorization"), INGESTION)
        except TokenError as error:
            authority = addresses.authority(request.headers.get("host"), rights().tenant)
            raise errors.token_refused(error, authority) from error
        found = await asyncio.to_thread(find, request.path_params["request_id"])
        if found is None:
            raise http_error(
                404,
                "ReceiptNotFound",
                "There is no receipt of this request id: of a call that was answered 204 it comes within "
                "seconds, and is kept for a day.",
                headers={"Retry-After": "1"},
            )
        scope = await asyncio.to_thread(scope_of, found.rule, found.rule_version)
        if scope is None or not rights().allows(
            caller.object_id, WRITE_ACTION, scope, data=True, groups=caller.groups
        ):
            raise errors.access_denied(found.rule, scope or "", rights().tenant, caller.object_id)
        return json_response(found.document, headers=_headers(found))

    return Route("/receipts/{request_id}", receipt, methods=["GET"])


def _headers(found: Receipt) -> Mapping[str, str]:
    return {"Retry-After": "1"} if found.document["status"] == "Processing" else {}
