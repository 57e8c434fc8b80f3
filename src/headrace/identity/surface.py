"""What the addresses under `/headrace/` share: who may call, bounded JSON bodies, the transaction, the errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.clock import Clock
from headrace.errors import ProblemError
from headrace.identity.access import Access
from headrace.identity.challenge import arm_forbidden, arm_unauthenticated
from headrace.identity.model import ARM, Caller, TokenError
from headrace.identity.verify import TokenVerifier
from headrace.ids import new_guid
from headrace.store.database import Database, StoreError
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses
from headrace.wire.bodies import BodyTooLargeError, read_bounded
from headrace.wire.problems import HttpError, error_response, http_error
from headrace.wire.routing import AnyCaseRoute

MOST_BODY_BYTES = 64 * 1024
_STATUS = {"ResourceNotFound": 404, "CredentialExists": 409}


@dataclass(frozen=True, slots=True)
class Admin:
    """What these addresses need. `published` waits until the gateways have a change."""

    database: Database
    view: LiveView[Access]
    verifier: TokenVerifier
    addresses: Addresses
    clock: Clock
    published: Callable[[int], Awaitable[None]]

    @property
    def home(self) -> str:
        """The scope of the installation itself: the subscription that it began with."""
        subscription = self.view.current.home_subscription
        return f"/subscriptions/{subscription}" if subscription else "/"

    def authenticate(self, request: Request) -> Caller:
        """The caller. Raises `HttpError` 401."""
        access = self.view.current
        try:
            return self.verifier.verify(request.headers.get("authorization"), ARM)
        except TokenError as error:
            authority = self.addresses.authority(request.headers.get("host"), access.tenant)
            raise arm_unauthenticated(error, authority) from error

    def authorize(self, caller: Caller, action: str, scope: str) -> None:
        """Raises `HttpError` 403 unless the caller may do `action` at `scope`."""
        if not self.view.current.allows(caller.object_id, action, scope, groups=caller.groups):
            raise arm_forbidden(caller, action, scope)

    async def read(self, action: Callable[[Connection], Response]) -> Response:
        """Run `action` on one state of the store."""

        def run() -> Response:
            with self.database.read() as connection:
                return action(connection)

        return await asyncio.to_thread(run)

    async def write(self, action: Callable[[Connection], Response]) -> Response:
        """Run `action` as one change and answer once the gateways have it."""

        def run() -> tuple[Response, int]:
            with self.database.write() as connection:
                response = action(connection)
            self.view.refresh()
            return response, self.view.change

        response, change = await asyncio.to_thread(run)
        await self.published(change)
        return response

    def route(self, path: str, method: str, handler: Handler, action: str | None) -> Route:
        """The route of one address.

        `action` is the right that the caller needs on the installation's scope; None leaves the check to the
        handler.
        """

        async def guarded(request: Request) -> Response:
            try:
                response = await self._answer(request, handler, action)
            except HttpError as error:
                response = error_response(error)
            except (SQLAlchemyError, StoreError):
                busy = "The resource store cannot be used at the moment: try again."
                response = error_response(
                    http_error(503, "ServiceUnavailable", busy, headers={"Retry-After": "1"})
                )
            response.headers["x-ms-request-id"] = new_guid()
            return response

        return AnyCaseRoute(path, guarded, methods=[method])

    async def _answer(self, request: Request, handler: Handler, action: str | None) -> Response:
        try:
            await asyncio.to_thread(self.view.refresh)
            caller = self.authenticate(request)
            if action is not None:
                self.authorize(caller, action, self.home)
            return await handler(self, request, await _body(request))
        except ProblemError as error:
            problem = error.problems[0]
            raise HttpError(_STATUS.get(problem.code, 400), problem) from error


Handler = Callable[[Admin, Request, Mapping[str, Any]], Awaitable[Response]]
"""Answers one address: the parts, the request, its JSON body."""


def read_text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A member of the body that must be a text. Raises `HttpError` 400."""
    value = body.get(name, default)
    if not isinstance(value, str):
        raise invalid(name, f"{name} must be a text.")
    return value


def invalid(target: str, message: str) -> HttpError:
    """400 for a body that cannot be understood."""
    return http_error(400, "InvalidRequestContent", message, target=target)


async def _body(request: Request) -> Mapping[str, Any]:
    try:
        content = await read_bounded(request, MOST_BODY_BYTES)
    except BodyTooLargeError:
        message = f"The body exceeds {MOST_BODY_BYTES} bytes."
        raise http_error(413, "RequestContentTooLarge", message) from None
    if not content:
        return {}
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid("body", "The request content is not valid JSON.") from error
    if not isinstance(value, dict):
        raise invalid("body", "The request content must be a JSON object.")
    return value
