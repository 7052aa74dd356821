"""Bring a database to the version this program needs (`broadcaster db upgrade`)."""

from __future__ import annotations

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from broadcaster.store.engine import Store, current_version


def config(connection: Connection) -> Config:
    """Return alembic's configuration bound to one open connection."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    settings.attributes["connection"] = connection
    return settings


def upgrade(store: Store) -> tuple[str | None, str | None]:
    """Run all outstanding migrations in one transaction; return the version before and after."""
    if store.path is not None and not store.path.exists():
        store.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(store.path, os.O_CREAT | os.O_EXCL, 0o600))
    with store.write() as connection:
        before = current_version(connection)
        command.upgrade(config(connection), "head")
        return before, current_version(connection)
