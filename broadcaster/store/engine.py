"""Open a database and keep its promises: the only module that knows which engine is underneath.

SQLite comes from the pysqlite3 wheel, in WAL mode with ``synchronous=FULL``; every write transaction begins IMMEDIATE, so it never
fails half-way for a lock it could have asked for at the start.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Engine, Table, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool, QueuePool

from broadcaster.errors import ConfigurationError, LockedError, StoreError
from broadcaster.lang import Said
from broadcaster.store import schema

try:
    import pysqlite3 as sqlite_driver
except ImportError:
    import sqlite3 as sqlite_driver

BUSY_TIMEOUT_MS = 30_000
ROWS_AT_ONCE = (200, 20, 1)
LEAST_AS_JSON = 20
"""So many rows and more go into SQLite as one JSON text."""
LOCK_TRIES = 20
LOCK_PAUSE_S = 0.01
_UNSOUND = ((3, 7, 0), (3, 51, 3))
_UNREACHABLE = ("unable to open database", "readonly database", "disk I/O error", "database or disk is full")
_MENDED = {(3, 44, 6), (3, 50, 7)}


def sound_sqlite(version: tuple[int, ...]) -> bool:
    """Tell whether this SQLite is free of the WAL-reset corruption (3.7.0 to 3.51.2, mended in 3.44.6 and 3.50.7)."""
    return not _UNSOUND[0] <= version < _UNSOUND[1] or version in _MENDED


class Store:
    """One database, reached through `read()` and `write()` transactions.

    `service` marks the connections of the one service process, which alone checkpoints while it runs.
    """

    def __init__(self, url: str, *, service: bool = False) -> None:
        self.url = make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.path = Path(self.url.database or "") if self.sqlite else None
        if self.sqlite:
            _check_sqlite(self.path)
        self.engine = self._create(service=service)

    def _create(self, *, service: bool) -> Engine:
        if not self.sqlite:
            engine = create_engine(self.url, pool_pre_ping=True, hide_parameters=True)

            @event.listens_for(engine, "connect")
            def _scratch(connection: Any, _record: Any) -> None:
                with connection.cursor() as cursor:
                    for table in schema.SCRATCH:
                        cursor.execute(table.format(id="BIGINT", bytes="BYTEA"))
                connection.commit()

            return engine
        engine = create_engine(self.url, module=sqlite_driver, poolclass=QueuePool if service else NullPool, hide_parameters=True)
        path = self.path

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            cursor = connection.cursor()
            for pragma in (
                f"busy_timeout={BUSY_TIMEOUT_MS}",
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "secure_delete=ON",
                "cache_size=-65536",
                "temp_store=MEMORY",
                "wal_autocheckpoint=4000" if service or path is None or not service_running(path) else "wal_autocheckpoint=0",
            ):
                cursor.execute(f"PRAGMA {pragma}")
            for table in schema.SCRATCH:
                cursor.execute(table.format(id="INTEGER", bytes="BLOB"))
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            options = connection.get_execution_options()
            synchronous = "NORMAL" if options.get("can_be_redone") else "FULL"
            if connection.info.get("synchronous", "FULL") != synchronous:
                connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
                connection.info["synchronous"] = synchronous
            connection.exec_driver_sql(f"BEGIN {'DEFERRED' if options.get('reads_only') else 'IMMEDIATE'}")

        return engine

    @contextmanager
    def write(self, *, can_be_redone: bool = False) -> Iterator[Connection]:
        """Open a write transaction: committed when the block ends, rolled back when it raises.

        What `can_be_redone` may be undone as a whole by a failure of the power, until the next other commit: on SQLite nobody waits
        for the disk (in WAL mode ``synchronous=NORMAL`` loses the newest transactions at worst).
        Raises `LockedError` when another writer holds the database too long, `StoreError` for any other fault of the engine.
        """
        with (
            _explained(self.path),
            self.engine.connect().execution_options(can_be_redone=can_be_redone) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a snapshot that sees one consistent state and never waits for writers."""
        with (
            _explained(self.path),
            self.engine.connect().execution_options(reads_only=True) as connection,
            connection.begin(),
        ):
            yield connection

    def watch(self) -> Callable[[], bool]:
        """Return a function that tells whether anybody has committed since it was last asked (SQLite: one pragma, microseconds)."""
        connection = self.engine.raw_connection()
        last = [-1]

        def changed() -> bool:
            cursor = connection.cursor()
            cursor.execute("PRAGMA data_version" if self.sqlite else "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
            row = cursor.fetchone()
            version = int(row[0]) if row else -1
            cursor.close()
            if not self.sqlite:
                connection.rollback()
            differs, last[0] = version != last[0], version
            return differs

        return changed

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _explained(path: Path | None) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        cause = str(error.orig)
        if "locked" in cause or "busy" in cause:
            raise LockedError(
                Said("Cơ sở dữ liệu đang bị một tiến trình khác giữ quá lâu.", "Another process held the database too long.")
            ) from error
        if path is not None and any(sign in cause for sign in _UNREACHABLE):
            raise unusable(path, cause) from error
        raise StoreError(Said(f"Lỗi cơ sở dữ liệu: {cause}", f"Database error: {cause}")) from error
    except DatabaseError as error:
        raise StoreError(Said(f"Lỗi cơ sở dữ liệu: {error.orig}", f"Database error: {error.orig}")) from error


def unusable(path: Path, cause: str) -> StoreError:
    """Return the error for a database, or a file beside it, that the file system does not let this process open or write."""
    return StoreError(
        Said(f"{path}: không mở hoặc không ghi được ({cause}).", f"{path}: cannot be opened or written ({cause})."),
        Said(
            "Thư mục dữ liệu có bị gắn chỉ đọc không? Người chạy lệnh này có quyền ghi vào đó không?",
            "Is the state folder mounted read-only? May whoever runs this write there?",
        ),
    )


def missing_database(path: Path) -> StoreError:
    """Return the error for an installation whose database is not where it should be."""
    return StoreError(
        Said(f"Không có cơ sở dữ liệu: {path}", f"There is no database: {path}"),
        Said(
            f"Thư mục {path.parent} đã được gắn (mount) chưa? Nếu rồi mà tệp đã mất: khôi phục từ bản sao lưu. "
            "`broadcaster init` chỉ tạo hệ thống mới, ở một thư mục trống.",
            f"Is the folder {path.parent} mounted? If it is and the file is lost, restore it from the backup. "
            "`broadcaster init` only makes a new installation, in an empty folder.",
        ),
    )


def exists(path: Path) -> bool:
    """Tell whether the database, or a file beside it, exists. Raises `StoreError` when its folder may not be looked into."""
    try:
        return path.exists()
    except OSError as error:
        raise unusable(path, error.strerror or type(error).__name__) from error


def _check_sqlite(path: Path | None) -> None:
    version = tuple(sqlite_driver.sqlite_version_info)
    if not sound_sqlite(version):
        shown = ".".join(map(str, version))
        raise StoreError(
            Said(
                f"SQLite {shown} của máy này có thể làm hỏng dữ liệu (lỗi WAL-reset của 3.7.0–3.51.2).",
                f"This machine's SQLite {shown} may corrupt data (the WAL-reset fault of 3.7.0-3.51.2).",
            ),
            Said("Cài gói pysqlite3 (bản dựng sẵn).", "Install the pysqlite3 wheel."),
        )
    if path is not None and exists(path) and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(
            Said(f"{path}: người khác đọc được tệp dữ liệu này.", f"{path}: others can read this database file."),
            Said(f"Chạy: chmod 600 {path}", f"Run: chmod 600 {path}"),
        )


def open_store(url: str, *, service: bool = False) -> Store:
    """Open an existing database of the right version.

    Raises `StoreError` when it is missing, or of another version than this code (then `db upgrade` is the way).
    """
    store = Store(url, service=service)
    if store.path is not None and not exists(store.path):
        raise missing_database(store.path)
    with store.read() as connection:
        found = current_version(connection)
    if found != schema.HEAD:
        raise StoreError(
            Said(
                f"Cơ sở dữ liệu ở phiên bản {found}, chương trình cần {schema.HEAD}.",
                f"The database is at version {found}, this program needs {schema.HEAD}.",
            ),
            Said("Chạy: broadcaster db upgrade", "Run: broadcaster db upgrade"),
        )
    return store


def current_version(connection: Connection) -> str | None:
    """Return the migration the database stands at, None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def run(connection: Connection, statement: str, values: Sequence[Any] = ()) -> CursorResult[*tuple[Any, ...]]:
    """Run one statement, its values marked ``?``: for what runs many times a second, as Core's own road takes three times as long."""
    return connection.exec_driver_sql(_marked(statement, connection.dialect.paramstyle), tuple(values))


@lru_cache(maxsize=256)
def _marked(statement: str, style: str) -> str:
    return statement if style == "qmark" else statement.replace("?", "%s")


def joined_octets(connection: Connection, column: str, order: str) -> str:
    """Return the aggregate that gives the octets of `column` in all rows, by `order`, as one hexadecimal text.

    One row of a thousand tokens is read in one step, while for a thousand rows the driver gives the interpreter's lock up each time.
    """
    if connection.dialect.name == "sqlite":
        return f"group_concat(hex({column}), '' ORDER BY {order})"
    return f"string_agg(encode({column}, 'hex'), '' ORDER BY {order})"


def execute_many(connection: Connection, statement: str, rows: Iterable[Sequence[Any]]) -> int:
    """Run one statement, its values marked ``?``, for many rows through the driver's own executemany; return the rows it changed.

    The fastest portable road for bulk writes: Core's executemany costs three times as much.
    """
    values = list(map(tuple, rows))
    if not values:
        return 0
    return connection.exec_driver_sql(_marked(statement, connection.dialect.paramstyle), values).rowcount


def append(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, or_ignore: bool = False
) -> int:
    """Insert many rows and return how many were new; `or_ignore` leaves rows whose key exists as they are.

    The driver gives the interpreter's lock up at every row or statement and then waits for it, while the event loop has it; and it
    binds value by value. So a column that has one value throughout is bound once, one without any is left out, and on SQLite what
    differs goes over as one JSON text, which the engine takes apart without that lock.
    """
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    least = LEAST_AS_JSON if mark == "?" else len(rows) + 1
    if len(rows) >= least and (packed := _packed(columns, rows)) is not None:
        statement = _insert_json(table.name, tuple(packed.constant), tuple(packed.varying), or_ignore, packed.in_pairs)
        return connection.exec_driver_sql(statement, (*packed.constant.values(), packed.text)).rowcount
    added = at = 0
    while at < len(rows):
        chunk = rows[at : at + next(size for size in ROWS_AT_ONCE if size <= len(rows) - at)]
        at += len(chunk)
        transposed = zip(columns, zip(*chunk, strict=True), strict=True)
        kept = {name: _bindable(column) for name, column in transposed if column.count(None) < len(chunk)}
        flat = tuple(chain.from_iterable(zip(*kept.values(), strict=True)))
        added += connection.exec_driver_sql(_insert(table.name, tuple(kept), len(chunk), mark, or_ignore), flat).rowcount
    return added


class _Packed(NamedTuple):
    """Rows to insert: what is the same in all of them, the other columns and whether each holds octets, and these as JSON."""

    constant: dict[str, Any]
    varying: list[tuple[str, bool]]
    text: str
    in_pairs: bool
    """Whether the text is one object, of two columns, instead of an array of rows; it takes half the time to take apart."""


def _packed(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> _Packed | None:
    """Pack rows; None when the values would not come back as they went: SQLite's JSON ends a text at a NUL, and may round a float."""
    constant: dict[str, Any] = {}
    varying: list[tuple[str, bool]] = []
    differing: list[Sequence[Any]] = []
    for name, column in zip(columns, zip(*rows, strict=True), strict=True):
        if column.count(column[0]) == len(column):
            if column[0] is not None:
                constant[name] = bytearray(column[0]) if type(column[0]) is bytes else column[0]
            continue
        kind = type(next(value for value in column if value is not None))
        if kind is float:
            return None
        varying.append((name, kind is bytes))
        differing.append([None if value is None else value.hex() for value in column] if kind is bytes else column)
    pairs = dict(zip(*differing, strict=True)) if len(varying) == 2 and None not in differing[0] else {}
    in_pairs = len(pairs) == len(rows)
    text = json.dumps(pairs if in_pairs else list(zip(*differing, strict=True)), separators=(",", ":"))
    return None if not varying or "\\u0000" in text else _Packed(constant, varying, text, in_pairs)


@lru_cache(maxsize=256)
def _insert_json(
    table: str, constant: tuple[str, ...], varying: tuple[tuple[str, bool], ...], or_ignore: bool, in_pairs: bool
) -> str:
    names = ", ".join((*constant, *(name for name, _ in varying)))
    read = ("key", "value") if in_pairs else [f"value ->> {at}" for at in range(len(varying))]
    each = [f"unhex({value})" if octets else value for value, (_, octets) in zip(read, varying, strict=True)]
    values = ", ".join((*("?" for _ in constant), *each))
    # "WHERE true" keeps SQLite from reading ON CONFLICT as a join.
    ending = " WHERE true ON CONFLICT DO NOTHING" if or_ignore else ""
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM json_each(?){ending}"  # noqa: S608  our own names


def _bindable(column: tuple[Any, ...]) -> Iterable[Any]:
    first = next(value for value in column if value is not None)
    return [bytearray(value) if type(value) is bytes else value for value in column] if type(first) is bytes else column


@lru_cache(maxsize=256)
def _insert(table: str, columns: tuple[str, ...], rows: int, mark: str, or_ignore: bool) -> str:
    row = f"({', '.join([mark] * len(columns))})"
    ending = " ON CONFLICT DO NOTHING" if or_ignore else ""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}{ending}"  # noqa: S608  our own names


def _lock_path(database: Path) -> Path:
    return database.with_name(database.name + ".service-lock")


def _open_lock(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise unusable(path, error.strerror or type(error).__name__) from error


def service_running(database: Path) -> bool:
    """Tell whether a service holds this SQLite database's lock file. Raises `StoreError` when that file cannot be read."""
    # A shared lock, so that two who ask at once do not take each other for the service.
    path = _lock_path(database)
    if not exists(path):
        return False
    descriptor = _open_lock(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def service_lock(database: Path) -> Iterator[None]:
    """Hold the lock that makes this process the one service of a SQLite database.

    The kernel releases it when the process dies, so a free lock proves the former owner dead. Raises `LockedError`, or `StoreError`
    when the lock file cannot be written.
    """
    descriptor = _open_lock(_lock_path(database), os.O_RDWR | os.O_CREAT)
    try:
        if not _locked(descriptor):
            raise LockedError(
                Said("Một dịch vụ khác đang chạy trên cơ sở dữ liệu này.", "Another service runs on this database."),
                Said("Xem tiến trình: broadcaster service status", "See it with: broadcaster service status"),
            )
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Take the lock; somebody who only asks, in `service_running`, holds it for microseconds and is waited for."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)
        else:
            return True
    return False
