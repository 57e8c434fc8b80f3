"""The tables of identity. Times are UTC microseconds; GUIDs are lower-case with dashes."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from headrace.store.metadata import metadata

tenant = Table(
    "identity_tenant",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("home_subscription", Text),
    Column("created", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)

signing_key = Table(
    "identity_signing_key",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("private_pem", Text, nullable=False),
    Column("certificate_pem", Text, nullable=False),
    Column("signs", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
)

principal = Table(
    "identity_principal",
    metadata,
    Column("object_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
)

app = Table(
    "identity_app",
    metadata,
    Column("app_id", Text, primary_key=True),
    Column("object_id", Text, nullable=False, unique=True),
    Column("principal_id", Text, ForeignKey(principal.c.object_id), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
)

secret = Table(
    "identity_secret",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("app_id", Text, ForeignKey(app.c.app_id, ondelete="CASCADE"), nullable=False, index=True),
    Column("display_name", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("starts", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
)

certificate = Table(
    "identity_certificate",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("app_id", Text, ForeignKey(app.c.app_id, ondelete="CASCADE"), nullable=False, index=True),
    Column("display_name", Text, nullable=False),
    Column("sha1", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("pem", Text, nullable=False),
    Column("starts", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
    UniqueConstraint("app_id", "sha256"),
)

role_assignment = Table(
    "identity_role_assignment",
    metadata,
    Column("name", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("scope_key", Text, nullable=False),
    Column("role_id", Text, nullable=False),
    Column("principal_id", Text, nullable=False, index=True),
    Column("principal_type", Text, nullable=False),
    Column("properties", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_by", Text, nullable=False),
    UniqueConstraint("scope_key", "role_id", "principal_id"),
)

role_definition = Table(
    "identity_role_definition",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("permissions", Text, nullable=False),
    Column("assignable_scopes", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_by", Text, nullable=False),
)

federated_credential = Table(
    "identity_federated_credential",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("app_id", Text, ForeignKey(app.c.app_id, ondelete="CASCADE"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("app_id", "name"),
    UniqueConstraint("app_id", "issuer", "subject"),
)
