"""Bring a database to the version this program needs (`broadcaster db upgrade`)."""

from __future__ import annotations

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from broadcaster.errors import StoreError
from broadcaster.lang import Said
from broadcaster.store.engine import Store, current_version


def config(connection: Connection) -> Config:
    """Return alembic's configuration bound to one open connection."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    settings.attributes["connection"] = connection
    return settings


def upgrade(store: Store) -> tuple[str | None, str | None]:
    """Run all outstanding migrations in one transaction; return the version before and after.

    Raises `StoreError` when the database comes from a newer program.
    """
    if store.path is not None and not store.path.exists():
        store.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(store.path, os.O_CREAT | os.O_EXCL, 0o600))
    with store.write() as connection:
        before = current_version(connection)
        try:
            command.upgrade(config(connection), "head")
        except CommandError as error:
            raise StoreError(
                Said(
                    f"Cơ sở dữ liệu ở phiên bản {before} mà chương trình này chưa biết.",
                    f"The database is at version {before}, which this program does not know.",
                ),
                Said("Dùng bản chương trình mới hơn.", "Use a newer program."),
            ) from error
        return before, current_version(connection)
