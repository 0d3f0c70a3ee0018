"""Migrations keep to the zero-downtime rule, and the rule finds what it refuses."""

from pathlib import Path

import pytest

from tests.migration_rule import violations

VERSIONS = Path(__file__).parents[1] / "migrations" / "versions"
MIGRATION = """
revision: str = "209901010000"
{contracts}

def upgrade() -> None:
    {statement}

def downgrade() -> None:
    op.drop_table("samples")
"""

REFUSED = [
    'op.drop_table("samples")',
    'op.drop_column("jobs", "error")',
    'op.rename_table("jobs", "tasks")',
    'op.alter_column("jobs", "error", new_column_name="fault")',
    'op.alter_column("jobs", "error", nullable=False)',
    'op.alter_column("jobs", "error", type_=sa.Text())',
    'op.add_column("jobs", sa.Column("x", sa.Integer(), nullable=False))',
    'op.create_index("ix", "samples", ["uri"])',
    'op.create_index("ix", "samples", ["uri"], postgresql_concurrently=False)',
    'op.create_unique_constraint("uq", "jobs", ["kind"])',
    'op.create_foreign_key("fk", "jobs", "runs", ["run_id"], ["id"])',
    'op.execute("TRUNCATE jobs")',
    'op.execute("ALTER TABLE jobs ALTER COLUMN error SET NOT NULL")',
    'op.execute(sa.text("ALTER TABLE jobs RENAME COLUMN error TO fault"))',
    'op.execute("LOCK TABLE jobs")',
]
ALLOWED = [
    'op.add_column("jobs", sa.Column("x", sa.Integer(), nullable=True))',
    'op.add_column("jobs", sa.Column("x", sa.Integer(), nullable=False, server_default="0"))',
    'op.create_table("new"); op.create_index("ix", "new", ["x"])',
    'op.create_table("new"); op.create_unique_constraint("uq", "new", ["x"])',
    'op.create_index("ix", "samples", ["uri"], postgresql_concurrently=True)',
    'op.execute("CREATE TRIGGER t BEFORE UPDATE OR TRUNCATE ON jobs EXECUTE FUNCTION f()")',
    'op.execute("UPDATE jobs SET x = 0 WHERE x IS NULL")',
]


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("2*.py")), ids=lambda path: path.stem)
def test_a_migration_keeps_the_release_before_working(path: Path) -> None:
    assert violations(path) == []


@pytest.mark.parametrize("statement", REFUSED)
def test_what_would_break_or_block_it_is_refused(tmp_path: Path, statement: str) -> None:
    assert violations(_written(tmp_path, statement))


@pytest.mark.parametrize("statement", ALLOWED)
def test_what_only_adds_is_allowed(tmp_path: Path, statement: str) -> None:
    assert violations(_written(tmp_path, statement)) == []


def test_a_contraction_says_which_release_stopped_using_it(tmp_path: Path) -> None:
    contracts = 'contracts: str = "unused since 1.3"'
    dropping = 'op.drop_column("jobs", "error")'
    assert violations(_written(tmp_path, dropping, contracts)) == []
    renaming = 'op.alter_column("jobs", "error", new_column_name="fault")'
    assert violations(_written(tmp_path, renaming, contracts))


def test_a_lock_that_does_no_harm_says_why(tmp_path: Path) -> None:
    indexing = 'op.create_index("ix", "samples", ["uri"])'
    assert violations(_written(tmp_path, indexing, 'locks: str = "empty until 1.3"')) == []


def test_a_helper_of_upgrade_is_read_too(tmp_path: Path) -> None:
    helper = 'def _grow():\n    op.drop_table("jobs")\n'
    assert violations(_written(tmp_path, "_grow()", helper))


def _written(folder: Path, statement: str, contracts: str = "") -> Path:
    path = folder / "20990101_0000_made_up.py"
    path.write_text(MIGRATION.format(statement=statement, contracts=contracts))
    return path
