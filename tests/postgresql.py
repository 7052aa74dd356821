"""A PostgreSQL server for one run of the tests, whichever of its processes needs it first; every test gets an empty database."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from broadcaster.store.engine import Store
from broadcaster.store.schema import HEAD
from broadcaster.store.upgrade import upgrade

FOLDER = "BROADCASTER_TEST_POSTGRESQL"
"""Where the server of this run lives, in the environment of all its processes."""

SETTINGS = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB", "max_connections": 200}
TEMPLATE = "migrated"

EMPTY = f"""
DO $$
DECLARE used text;
BEGIN
  SELECT string_agg(relname, ', ') INTO used FROM pg_class
  WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0;
  IF used IS NOT NULL THEN
    EXECUTE 'TRUNCATE ' || used || ' CASCADE';
  END IF;
  PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S';
  UPDATE alembic_version SET version_num = '{HEAD}';
END $$
"""
"""Empty every table that has a page, set every sequence and the version back."""


def programs() -> Path | None:
    """Return the folder of the server's programs, None where there are none."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


class PostgreSQL:
    """The run's own cluster: on a Unix socket only, without fsync."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        # A server refuses to run as root, and another user cannot reach pytest's own folders.
        self._user = "postgres" if os.getuid() == 0 else None
        self._worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        self._databases = 0
        self._empty: list[str] = []

    def start(self) -> None:
        """Start the server unless another process of this run has."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (self._folder / "ready").exists():
                return
            if self._user:
                os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
            self._run("initdb", "--username=test", "--auth=trust", "--encoding=UTF8", "--no-sync", "--pgdata", "data")
            settings = {"unix_socket_directories": self._folder, **SETTINGS}
            options = " ".join(f"-c {name}={value}" for name, value in settings.items())
            self._run("pg_ctl", "start", "--wait", "--silent", "--pgdata=data", f"--options={options}", "--log=log")
            self._sql("postgres", f"CREATE DATABASE {TEMPLATE}")
            store = Store(self.url(TEMPLATE))
            upgrade(store)
            store.close()
            # SQLite's name for what tests write over signatures and tokens.
            zeros = "SELECT decode(repeat('00', size), 'hex')"
            self._sql(TEMPLATE, f"CREATE FUNCTION zeroblob(size integer) RETURNS bytea LANGUAGE sql AS $${zeros}$$")
            (self._folder / "ready").touch()

    def stop(self) -> None:
        if (self._folder / "ready").exists():
            self._run("pg_ctl", "stop", "--mode=immediate", "--silent", "--pgdata=data")

    def take(self) -> str:
        """Return the name of an empty database of the newest version, one that was given back if there is one."""
        return self._empty.pop() if self._empty else self.copy(TEMPLATE)

    def copy(self, template: str) -> str:
        """Copy a database that nobody is connected to; return the new one's name."""
        self._databases += 1
        name = f"{self._worker}_{self._databases}"
        # Copying through the write-ahead log, the default, takes four times as long.
        self._sql("postgres", f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def give_back(self, name: str) -> None:
        """Empty a database for the next test, all sequences from 1 again."""
        self._sql(name, EMPTY)
        self._empty.append(name)

    def drop(self, name: str) -> None:
        self._sql("postgres", f"DROP DATABASE {name}")

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://test@/{name}?host={self._folder}"

    def _sql(self, name: str, statement: str) -> None:
        with closing(psycopg.connect(host=str(self._folder), user="test", dbname=name, autocommit=True)) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(command, cwd=self._folder, user=self._user, env=environment, check=True, capture_output=True)


def server() -> PostgreSQL:
    """Return this run's server, started. Skips the test where PostgreSQL is not installed, except in CI."""
    found = programs()
    if found is None:
        assert "CI" not in os.environ, "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    made = PostgreSQL(found, Path(os.environ[FOLDER]))
    made.start()
    return made


def reserve() -> None:
    """Choose the folder of this run's server; its processes inherit the choice."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="broadcaster-pg-")


def remove() -> None:
    """Stop this run's server, if there is one, and remove its folder."""
    folder = Path(os.environ.pop(FOLDER))
    found = programs()
    if found is not None:
        PostgreSQL(found, folder).stop()
    shutil.rmtree(folder)
