"""The steps by which Alembic brings older databases to the tables of `store.schema`."""
