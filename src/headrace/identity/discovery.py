"""The documents by which clients find the sign-in endpoints. All addresses come from the request's base."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from headrace.identity.endpoint import ADFS, Authority, Version
from headrace.identity.errors import SignInError, quoted
from headrace.identity.model import own_path
from headrace.identity.tokens import issuer_of
from headrace.wire.addresses import Addresses


def openid_configuration(base: str, named: str, tenant: str, version: Version) -> dict[str, Any]:
    """The OpenID configuration of a tenant at `base`.

    `named` is the tenant as the client's path has it, kept in the addresses that it goes on with; `tenant` is
    the tenant's id.
    """
    root = f"{base}/{named}"
    oauth, keys, issuer = f"{root}/oauth2", f"{root}/discovery/keys", issuer_of(tenant)
    if named == ADFS:
        issuer = root
    elif version == "v2":
        oauth, keys = f"{root}/oauth2/v2.0", f"{root}/discovery/v2.0/keys"
        issuer = f"{base}/{tenant}/v2.0"
    return {
        "token_endpoint": f"{oauth}/token",
        "token_endpoint_auth_methods_supported": [
            "client_secret_post",
            "private_key_jwt",
            "client_secret_basic",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256"],
        "jwks_uri": keys,
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": f"{root}/openid/userinfo",
        "authorization_endpoint": f"{oauth}/authorize",
        "device_authorization_endpoint": f"{oauth}/devicecode",
        "http_logout_supported": False,
        "frontchannel_logout_supported": False,
        "end_session_endpoint": f"{oauth}/logout",
        "claims_supported": [
            *("sub", "iss", "aud", "exp", "iat", "nbf", "tid", "oid", "appid", "appidacr", "idtyp", "ver")
        ],
        "grant_types_supported": ["client_credentials"],
        "kerberos_endpoint": f"{root}/kerberos",
        "tenant_region_scope": None,
        "cloud_instance_name": urlsplit(base).netloc,
        "cloud_graph_host_name": urlsplit(base).netloc,
        "msgraph_host": urlsplit(base).netloc,
        "rbac_url": base,
    }


def key_set(authority: Authority, issuer: str) -> dict[str, Any]:
    """The JSON web key set: every key that a token may be signed with, newest first."""
    return {"keys": [key.jwk(issuer) for key in authority.public]}


def instance_discovery(
    base: str, authorization_endpoint: str, tenant: str, addresses: Addresses
) -> dict[str, Any]:
    """What a client that validates the authority is told about one of this server's names.

    Raises `SignInError` 50049 for another server's address.
    """
    path = own_path(authorization_endpoint, addresses)
    named = (path or "").lstrip("/").partition("/")[0].lower()
    if path is None:
        raise SignInError(50049, f"Unknown or invalid instance: {quoted(authorization_endpoint)}")
    segment = named if named in (tenant, ADFS) else tenant
    version = "" if segment == ADFS else "/v2.0"
    host = urlsplit(base).netloc
    return {
        "tenant_discovery_endpoint": f"{base}/{segment}{version}/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }
