"""The migrations make exactly the schema that the code declares."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from broadcaster.errors import StoreError
from broadcaster.store import schema
from broadcaster.store.engine import Store, current_version, open_store
from broadcaster.store.upgrade import config, upgrade

of_a_file = pytest.mark.sqlite_only(reason="definitions as SQLite keeps them, permissions of the file")

WITHOUT_ROWID = {"receipt_fault", "subscriber", "opt_out", "reply_part", "port", "submission", "tally", "usage"}


def definitions(store: Store) -> dict[str, str]:
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    with store.read() as connection:
        return {row.name: " ".join(row.sql.split()) for row in connection.execute(query)}


@of_a_file
def test_migrated_is_what_the_schema_declares(store: Store, tmp_path: Path) -> None:
    made = Store(f"sqlite:///{tmp_path / 'made.db'}")
    with made.write() as connection:
        schema.metadata.create_all(connection)
    assert definitions(store) == definitions(made)
    made.close()


def test_alembic_finds_no_difference(store: Store) -> None:
    with store.read() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


@of_a_file
def test_tables_without_rowid(store: Store) -> None:
    assert {name for name, sql in definitions(store).items() if sql.endswith("WITHOUT ROWID")} == WITHOUT_ROWID


def test_head_is_alembics_head(store: Store) -> None:
    with store.read() as connection:
        assert ScriptDirectory.from_config(config(connection)).get_heads() == [schema.HEAD]


@of_a_file
def test_upgrade_makes_a_private_file_and_is_repeatable(tmp_path: Path) -> None:
    path = tmp_path / "state" / "new.db"
    store = Store(f"sqlite:///{path}")
    assert upgrade(store) == (None, schema.HEAD)
    assert upgrade(store) == (schema.HEAD, schema.HEAD)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    store.close()


def test_upgrade_of_a_newer_database_is_refused(store: Store) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="9999"):
        upgrade(store)
    with store.read() as connection:
        assert current_version(connection) == "9999"


@of_a_file
def test_a_failing_migration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"sqlite:///{tmp_path / 'new.db'}")
    monkeypatch.setattr("alembic.operations.Operations.create_index", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        upgrade(store)
    assert definitions(store) == {}
    store.close()
    with pytest.raises(StoreError, match="None"):
        open_store(f"sqlite:///{tmp_path / 'new.db'}")
