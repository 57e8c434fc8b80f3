"""The one collection of tables that every room defines its own on, and the store's own table."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Table

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMES)

store_change = Table(
    "store_change",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False),
    CheckConstraint("id = 1", name="single"),
)
