"""Custom roles and federated credentials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_role_definition",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("assignable_scopes", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity_role_definition")),
        sa.UniqueConstraint("name_key", name=op.f("uq_identity_role_definition_name_key")),
    )
    op.create_table(
        "identity_federated_credential",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["app_id"],
            ["identity_app.app_id"],
            name=op.f("fk_identity_federated_credential_app_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_identity_federated_credential")),
        sa.UniqueConstraint("app_id", "name", name=op.f("uq_identity_federated_credential_app_id_name")),
        sa.UniqueConstraint(
            "app_id", "issuer", "subject", name=op.f("uq_identity_federated_credential_app_id_issuer_subject")
        ),
    )
    op.create_index(
        op.f("ix_identity_federated_credential_app_id"), "identity_federated_credential", ["app_id"]
    )


def downgrade() -> None:
    for table in ("identity_federated_credential", "identity_role_definition"):
        op.drop_table(table)
