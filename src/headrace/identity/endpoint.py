"""The token endpoint, without HTTP: a form in, an access token or a documented error out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from sqlalchemy import Connection, select

from headrace.clock import SECOND, Clock
from headrace.identity import assertions, keys
from headrace.identity.apps import Registration, load_registrations
from headrace.identity.assertions import UseCounter, check_assertion, read_assertion
from headrace.identity.errors import SignInError, missing_parameter, quoted
from headrace.identity.federation import check_federated, is_federated
from headrace.identity.issuers import IssuerKeys
from headrace.identity.limits import SignInLimits
from headrace.identity.model import is_known_resource, own_path
from headrace.identity.passwords import SecretChecker, StoredSecret
from headrace.identity.store import tenant as tenant_table
from headrace.identity.tokens import LIFETIME_SECONDS, SKEW_SECONDS, Grant, UnverifiedToken, issue
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses

MOST_FIELDS = 64
LONGEST_SCOPE = 2048
ADFS = "adfs"
SHARED_TENANTS = frozenset({"common", "organizations", "consumers"})
_DEFAULT = "/.default"
_HASHING, _FETCHING = 2, 8
"""Secrets that are hashed at once, and issuers that are asked for keys at once."""
_MOST_WAITING = 64
"""Sign-ins that wait for their hash; more are refused."""

Version = Literal["v1", "v2"]


@dataclass(frozen=True, slots=True)
class Authority:
    """The tenant, its keys and its apps: all that signing in needs."""

    tenant: str
    signing: keys.SigningKey | None
    public: Sequence[keys.PublicKey]
    registrations: Mapping[str, Registration]


def load_authority(connection: Connection, _change: int) -> Authority:
    """The `load` of a `LiveView[Authority]`. It holds the private key: for the engine only."""
    tenant = connection.execute(select(tenant_table.c.tenant_id)).scalar_one_or_none()
    return Authority(
        tenant or "",
        keys.load_signing(connection),
        keys.load_public(connection),
        load_registrations(connection),
    )


@dataclass(slots=True)
class Attempt:
    """What a token request turned out to be, as far as it got: for the audit log and the limits."""

    address: str = ""
    client_id: str = ""
    principal_id: str = ""
    audience: str = ""
    proof: str = ""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to a token endpoint: the tenant as the path names it, the body, HTTP Basic credentials."""

    tenant: str
    version: Version
    body: bytes
    basic: tuple[str, str] | None = None


def require_tenant(authority: Authority, named: str, *, shared: bool = False) -> str:
    """The tenant id that a path's segment means, any case, `adfs` too. Raises `SignInError` 90002.

    With `shared`, `common` and its like stand for the tenant as well.
    """
    lowered = named.lower()
    if authority.tenant and (lowered in (authority.tenant, ADFS) or (shared and lowered in SHARED_TENANTS)):
        return authority.tenant
    raise SignInError(
        90002,
        f"Tenant '{quoted(named)}' not found. Check that the tenant id is this server's:"
        " it stands in AZURE_TENANT_ID of the environment that 'headrace env' prints.",
    )


def read_form(body: bytes) -> dict[str, str]:
    """The fields of an `application/x-www-form-urlencoded` body; unescaped `:` and `/` are fine.

    Raises `SignInError`: 90121 when it is empty, 90100 when it cannot be read or names a field twice.
    """
    if not body.strip():
        raise SignInError(90121, "The request is empty.")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS, separator="&"
        )
    except ValueError as error:
        raise SignInError(90100, "The request body is not a form of at most 64 fields in UTF-8.") from error
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            raise SignInError(90100, f"The parameter '{quoted(name)}' is given more than once.")
        form[name] = value
    return form


class TokenEndpoint:
    """Answers token requests. Hashing runs in worker threads, few at once, and the wait for it is bounded."""

    def __init__(
        self,
        view: LiveView[Authority],
        addresses: Addresses,
        clock: Clock,
        *,
        issuers: IssuerKeys | None = None,
        limits: SignInLimits | None = None,
    ) -> None:
        self._view = view
        self._addresses = addresses
        self._clock = clock
        self._checker = SecretChecker()
        self._uses = UseCounter()
        self._hashing = asyncio.Semaphore(_HASHING)
        self._limits = limits
        self._issuers = issuers or IssuerKeys(clock)
        self._fetching = asyncio.Semaphore(_FETCHING)
        self._waiting = 0

    async def authority(self) -> Authority:
        """The newest state of the store."""
        await asyncio.to_thread(self._view.refresh)
        return self._view.current

    async def token(self, request: TokenRequest, attempt: Attempt | None = None) -> dict[str, Any]:
        """The success document. Raises `SignInError`. `attempt` is filled in on the way."""
        attempt = attempt or Attempt()
        if self._limits is not None:
            self._limits.enter(attempt.address)
        authority = await self.authority()
        require_tenant(authority, request.tenant, shared=True)
        form = read_form(request.body)
        attempt.client_id = (form.get("client_id") or (request.basic[0] if request.basic else ""))[:100]
        app = self._app(authority, request, form)
        attempt.client_id, attempt.principal_id = app.app_id, app.principal_id
        audience_wanted = _asked_for(request, form)
        attempt.audience = audience_wanted[0]
        proof = attempt.proof = await self._prove(app, request, form, attempt)
        audience = self._audience(authority, *audience_wanted)
        now = self._clock.now() // SECOND
        return _success(request, await self._issue(authority, app, audience, proof), audience, now)

    async def grant(
        self, authority: Authority, app: Registration, audience: str, proof: str
    ) -> dict[str, Any]:
        """A token for an app that has proved itself by other means, as a success document.

        Raises `SignInError`: 500011 for an audience that no surface takes.
        """
        known = self._audience(authority, audience, True)
        token = await self._issue(authority, app, known, proof)
        return {"token_type": "Bearer", "expires_in": LIFETIME_SECONDS, "access_token": token}

    async def _issue(self, authority: Authority, app: Registration, audience: str, proof: str) -> str:
        if authority.signing is None:
            raise SignInError(90002, "The tenant has no signing key yet.")
        grant = Grant(authority.tenant, app.app_id, app.principal_id, audience, proof)
        return await asyncio.to_thread(issue, authority.signing, grant, self._clock.now() // SECOND)

    def _app(self, authority: Authority, request: TokenRequest, form: Mapping[str, str]) -> Registration:
        grant_type = form.get("grant_type")
        if not grant_type:
            raise missing_parameter("grant_type")
        if grant_type != "client_credentials":
            raise SignInError(
                70003, f"The grant type '{quoted(grant_type)}' is not supported: use client_credentials."
            )
        if request.tenant.lower() in SHARED_TENANTS:
            raise SignInError(
                9001023,
                f"The grant type is not supported over the /{request.tenant.lower()} endpoint:"
                " use the tenant's own.",
            )
        client_id = form.get("client_id") or (request.basic[0] if request.basic else "")
        if not client_id:
            raise missing_parameter("client_id")
        if request.basic and request.basic[0].lower() != client_id.lower():
            raise SignInError(90100, "The body and the Authorization header name different clients.")
        app = authority.registrations.get(client_id.lower())
        if app is None:
            raise SignInError(
                700016,
                f"Application with identifier '{quoted(client_id)}' was not found in the directory"
                f" '{authority.tenant}'. Check the client id and the tenant.",
            )
        if not app.enabled:
            raise SignInError(7000112, f"Application '{app.app_id}' is disabled.")
        return app

    async def _prove(
        self, app: Registration, request: TokenRequest, form: Mapping[str, str], attempt: Attempt
    ) -> str:
        """How the client proved itself: "1" by a secret, "2" by a certificate or another's token."""
        secret, assertion = form.get("client_secret"), form.get("client_assertion")
        if request.basic:
            if secret or assertion:
                raise SignInError(90100, "The client proves itself in more than one way: use one.")
            secret = request.basic[1]
        if secret and assertion:
            raise SignInError(90100, "Give either 'client_secret' or 'client_assertion', not both.")
        if assertion:
            _require_assertion_type(form)
            with self._counted(attempt, app):
                await self._check_assertion(read_assertion(assertion), app)
            return "2"
        if not secret:
            raise SignInError(
                7000218,
                "The request body must contain the following parameter: 'client_assertion' or"
                " 'client_secret'.",
            )
        # A secret that has proved right before passes even while others at the same address are held off.
        known = self._checker.quick(secret, app.secrets)
        if known is not None:
            self._check_lifetime(app, known)
        else:
            with self._counted(attempt, app):
                self._check_lifetime(app, await self._find(secret, app))
        return "1"

    @contextlib.contextmanager
    def _counted(self, attempt: Attempt, app: Registration) -> Iterator[None]:
        """Bounds failures of one app from one address. Raises `SignInError` 90055 when there were too many."""
        if self._limits is None:
            yield
            return
        self._limits.check(attempt.address, app.app_id)
        try:
            yield
        except SignInError as error:
            if error.status == 401:
                self._limits.failed(attempt.address, app.app_id)
            raise

    async def _check_assertion(self, token: UnverifiedToken, app: Registration) -> None:
        now = self._clock.now()
        if not is_federated(token):
            await asyncio.to_thread(check_assertion, token, app, self._is_own_endpoint, self._uses, now)
            return
        if self._fetching.locked():
            raise SignInError(90055, "Too many clients are signing in at once: try again in a second.")
        async with self._fetching:
            await asyncio.to_thread(check_federated, token, app.app_id, app.federated, self._issuers, now)

    async def _find(self, secret: str, app: Registration) -> StoredSecret | None:
        if self._waiting >= _MOST_WAITING:
            raise SignInError(90055, "Too many clients are signing in at once: try again in a second.")
        self._waiting += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(self._checker.slow, secret, app.secrets)
        finally:
            self._waiting -= 1

    def _check_lifetime(self, app: Registration, found: StoredSecret | None) -> None:
        if found is None:
            raise SignInError(
                7000215,
                "Invalid client secret provided. Send the secret's value, not the secret's ID, of a secret"
                f" of app '{app.app_id}'.",
            )
        if not found.starts <= self._clock.now() < found.ends:
            raise SignInError(
                7000222,
                f"The provided client secret keys for app '{app.app_id}' are expired: make a new one with"
                " 'headrace app reset-secret'.",
            )

    def _is_own_endpoint(self, url: str) -> bool:
        path = own_path(url.lower(), self._addresses)
        if path is None:
            return False
        tenant, _, rest = path.lstrip("/").partition("/")
        names = {self._view.current.tenant, ADFS}
        return tenant in names and rest in {"oauth2/v2.0/token", "oauth2/token", "v2.0", ""}

    def _audience(self, authority: Authority, audience: str, by_scope: bool) -> str:
        if is_known_resource(audience, self._addresses):
            return audience
        raise SignInError(
            500011 if by_scope else 50001,
            f"The resource principal named {quoted(audience)} was not found in the tenant named"
            f" {authority.tenant}.",
        )


def _asked_for(request: TokenRequest, form: Mapping[str, str]) -> tuple[str, bool]:
    """The audience asked for, and whether by `scope` (else by `resource`)."""
    scope, resource = form.get("scope"), form.get("resource")
    takes_resource = request.version == "v1"
    if resource and not takes_resource:
        raise SignInError(901002, "The 'resource' request parameter is not supported: use 'scope'.")
    if resource and not scope:
        if len(resource) > LONGEST_SCOPE:
            raise SignInError(90100, "The parameter 'resource' is too long.")
        return resource, False
    if not scope:
        adfs = request.tenant.lower() == ADFS
        raise missing_parameter("resource" if takes_resource and not adfs else "scope")
    return _resource_of(scope), True


def _resource_of(scope: str) -> str:
    if len(scope) > LONGEST_SCOPE:
        raise SignInError(70011, "The provided value for the input parameter 'scope' is too long.")
    wanted = scope.split()
    resources = [item[: -len(_DEFAULT)] for item in wanted if item.lower().endswith(_DEFAULT)]
    if len(set(resources)) > 1:
        raise SignInError(700022, "The 'scope' parameter names more than one resource: ask for one.")
    if len(wanted) != 1 or not resources or not resources[0]:
        raise SignInError(
            70011,
            "The provided value for the input parameter 'scope' is not valid: the scope"
            f" '{quoted(scope)}' must be one resource followed by /.default.",
        )
    return resources[0]


def _require_assertion_type(form: Mapping[str, str]) -> None:
    given = form.get("client_assertion_type")
    if not given:
        raise missing_parameter("client_assertion_type")
    if given != assertions.TYPE:
        raise SignInError(90100, f"The parameter 'client_assertion_type' must be '{assertions.TYPE}'.")


def _success(request: TokenRequest, token: str, audience: str, now: int) -> dict[str, Any]:
    if request.version != "v1":
        lifetime = LIFETIME_SECONDS
        return {
            "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token
        }  # fmt: skip
    # The older form has every number as a text.
    return {
        "token_type": "Bearer",
        "expires_in": str(LIFETIME_SECONDS),
        "ext_expires_in": str(LIFETIME_SECONDS),
        "expires_on": str(now + LIFETIME_SECONDS),
        "not_before": str(now - SKEW_SECONDS),
        "resource": audience,
        "access_token": token,
    }
