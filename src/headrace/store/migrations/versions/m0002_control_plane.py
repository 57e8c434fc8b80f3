"""The tables of the control plane."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "arm_resource",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subscription", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("parent_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("unique_id", sa.Text(), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("modified_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_arm_resource")),
        sa.UniqueConstraint("unique_id", name=op.f("uq_arm_resource_unique_id")),
    )
    op.create_index(
        "ix_arm_resource_type_scope", "arm_resource", ["type", "subscription", "group_key", "key"]
    )
    op.create_index("ix_arm_resource_parent", "arm_resource", ["parent_key", "type"])
    op.create_table(
        "arm_rule",
        sa.Column("immutable_id", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("immutable_id", name=op.f("pk_arm_rule")),
    )
    op.create_table(
        "arm_rule_version",
        sa.Column("immutable_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["immutable_id"],
            ["arm_rule.immutable_id"],
            name=op.f("fk_arm_rule_version_immutable_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("immutable_id", "version", name=op.f("pk_arm_rule_version")),
    )
    op.create_table(
        "arm_table",
        sa.Column("incarnation", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("total_retention_days", sa.Integer(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("incarnation", name=op.f("pk_arm_table")),
    )
    op.create_index("ix_arm_table_workspace", "arm_table", ["customer_id", "name"])
    op.create_table(
        "arm_table_schema",
        sa.Column("incarnation", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["incarnation"],
            ["arm_table.incarnation"],
            name=op.f("fk_arm_table_schema_incarnation"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("incarnation", "version", name=op.f("pk_arm_table_schema")),
    )


def downgrade() -> None:
    for table in ("arm_table_schema", "arm_table", "arm_rule_version", "arm_rule", "arm_resource"):
        op.drop_table(table)
