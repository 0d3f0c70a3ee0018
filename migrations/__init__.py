"""Alembic migrations of the ledger; applied by `expunge migrate` and `expunge up`."""
