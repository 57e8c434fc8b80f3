"""The change number and the tables of identity."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    change = op.create_table(
        "store_change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_store_change_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store_change")),
    )
    op.bulk_insert(change, [{"id": 1, "number": 0}])
    op.create_table(
        "identity_tenant",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("home_subscription", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_identity_tenant_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_tenant")),
    )
    op.create_table(
        "identity_signing_key",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("private_pem", sa.Text(), nullable=False),
        sa.Column("certificate_pem", sa.Text(), nullable=False),
        sa.Column("signs", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_identity_signing_key")),
    )
    op.create_table(
        "identity_principal",
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("object_id", name=op.f("pk_identity_principal")),
    )
    op.create_table(
        "identity_app",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("principal_id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["identity_principal.object_id"], name=op.f("fk_identity_app_principal_id")
        ),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_identity_app")),
        sa.UniqueConstraint("object_id", name=op.f("uq_identity_app_object_id")),
        sa.UniqueConstraint("principal_id", name=op.f("uq_identity_app_principal_id")),
    )
    op.create_table(
        "identity_secret",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["app_id"], ["identity_app.app_id"], name=op.f("fk_identity_secret_app_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_identity_secret")),
    )
    op.create_index(op.f("ix_identity_secret_app_id"), "identity_secret", ["app_id"])
    op.create_table(
        "identity_certificate",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("sha1", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("starts", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["app_id"],
            ["identity_app.app_id"],
            name=op.f("fk_identity_certificate_app_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_identity_certificate")),
        sa.UniqueConstraint("app_id", "sha256", name=op.f("uq_identity_certificate_app_id_sha256")),
    )
    op.create_index(op.f("ix_identity_certificate_app_id"), "identity_certificate", ["app_id"])
    op.create_table(
        "identity_role_assignment",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_key", sa.Text(), nullable=False),
        sa.Column("role_id", sa.Text(), nullable=False),
        sa.Column("principal_id", sa.Text(), nullable=False),
        sa.Column("principal_type", sa.Text(), nullable=False),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_identity_role_assignment")),
        sa.UniqueConstraint(
            "scope_key",
            "role_id",
            "principal_id",
            name=op.f("uq_identity_role_assignment_scope_key_role_id_principal_id"),
        ),
    )
    op.create_index(
        op.f("ix_identity_role_assignment_principal_id"), "identity_role_assignment", ["principal_id"]
    )


def downgrade() -> None:
    for table in (
        "identity_role_assignment",
        "identity_certificate",
        "identity_secret",
        "identity_app",
        "identity_principal",
        "identity_signing_key",
        "identity_tenant",
        "store_change",
    ):
        op.drop_table(table)
