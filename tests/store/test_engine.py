"""Opening a database, its promises, its locks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from broadcaster.errors import ConfigurationError, LockedError, StoreError
from broadcaster.store import engine
from broadcaster.store.engine import Store, append, execute_many, open_store, service_lock, service_running, sound_sqlite
from broadcaster.store.schema import opt_out

pytestmark = pytest.mark.sqlite_only(reason="pragmas, lock file, permissions of the file")

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(descriptor, getattr(fcntl, sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process_holds(path: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Hold a lock on a file from another process until the block ends or the process is killed."""
    command = [sys.executable, "-c", HOLD, str(path), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def pragma(store: Store, name: str) -> object:
    with store.read() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.mark.parametrize(
    ("name", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 1), ("busy_timeout", 30_000)],
)
def test_promises_of_a_connection(store: Store, name: str, value: object) -> None:
    assert pragma(store, name) == value


def test_only_what_can_be_redone_does_not_wait_for_the_disk(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)
    for redone, expected in ((False, 2), (True, 1), (True, 1), (False, 2)):
        with store.write(can_be_redone=redone) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == expected
    with store.write(can_be_redone=True):
        pass
    with store.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_only_the_service_checkpoints_while_it_runs(make_store: Callable[..., Store]) -> None:
    store = make_store()
    assert store.path is not None
    assert pragma(store, "wal_autocheckpoint") == 4000
    with service_lock(store.path):
        assert pragma(store, "wal_autocheckpoint") == 0
        assert pragma(make_store(service=True), "wal_autocheckpoint") == 4000
    assert pragma(store, "wal_autocheckpoint") == 4000


def test_files_beside_the_database_are_private(store: Store) -> None:
    assert store.path is not None
    with store.write() as connection:
        append(connection, opt_out, ("token", "since_ms"), [(b"a" * 16, 1)])
        modes = {path.name: path.stat().st_mode & 0o777 for path in store.path.parent.iterdir()}
    assert modes.keys() >= {"broadcaster.db", "broadcaster.db-wal", "broadcaster.db-shm"}
    assert set(modes.values()) == {0o600}


def test_missing_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no database|Không có"):
        open_store(f"sqlite:///{tmp_path / 'none.db'}")
    assert not list(tmp_path.iterdir())


def test_a_missing_database_is_sought_before_anything_is_made_anew(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(f"sqlite:///{tmp_path / 'none.db'}")
    assert caught.value.hint is not None
    assert str(tmp_path) in caught.value.hint.en
    assert all(word in caught.value.hint.en for word in ("mounted", "restore"))


def refusing(monkeypatch: pytest.MonkeyPatch, code: int, wanted: Callable[[int], bool]) -> None:
    """Make opening a lock file fail as the file system would."""
    really = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(".service-lock") and wanted(flags):
            raise OSError(code, os.strerror(code), str(path))
        return really(path, flags, mode)

    monkeypatch.setattr(engine.os, "open", refuse)


def test_asking_for_the_service_needs_no_right_to_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.path is not None
    with service_lock(store.path):
        refusing(monkeypatch, errno.EROFS, lambda flags: bool(flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT)))
        assert service_running(store.path)
        with pytest.raises(StoreError, match="service-lock"), service_lock(store.path):
            pytest.fail("a lock that cannot be written")


def test_a_lock_that_cannot_be_read_is_named(make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store()
    assert store.path is not None
    with service_lock(store.path):
        pass
    refusing(monkeypatch, errno.EACCES, lambda _flags: True)
    with pytest.raises(StoreError, match="service-lock"), store.read():
        pytest.fail("a state that is not known")


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(StoreError, match=r"state\.db"):
        open_store(f"sqlite:///{tmp_path / 'state.db'}")


def test_a_database_that_cannot_be_opened_or_written_is_named(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "a-folder.db"
    folder.mkdir(mode=0o700)
    with pytest.raises(StoreError, match=r"a-folder\.db") as caught:
        open_store(f"sqlite:///{folder}")
    assert caught.value.hint is not None
    frozen = Store(f"sqlite:///file:{store.path}?mode=ro&uri=true")
    with frozen.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM opt_out")).scalar() == 0
    with pytest.raises(StoreError, match=r"broadcaster\.db.*readonly"), frozen.write() as connection:
        append(connection, opt_out, ("token", "since_ms"), [(b"a" * 16, 1)])


def test_other_version(store: Store) -> None:
    with store.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(StoreError, match="0000"):
        open_store(str(store.url))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("no database at all, but long enough to look like the header of one" * 20)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{path}")


def test_readable_by_others(store: Store) -> None:
    assert store.path is not None
    store.path.chmod(0o640)
    with pytest.raises(ConfigurationError) as caught:
        open_store(str(store.url))
    assert caught.value.hint is not None
    assert "chmod 600" in caught.value.hint.en


@pytest.mark.parametrize(
    ("version", "sound"),
    [
        ((3, 6, 23), True),
        ((3, 7, 0), False),
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 44, 7), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
    ],
)
def test_sound_versions(version: tuple[int, ...], sound: bool) -> None:
    assert sound_sqlite(version) is sound


def test_unsound_sqlite_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.sqlite_driver, "sqlite_version_info", (3, 40, 1))
    with pytest.raises(StoreError, match=r"3\.40\.1"):
        open_store(str(store.url))


def test_a_write_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        _ = append(connection, opt_out, ("token", "since_ms"), [(b"a" * 16, 1)]) / 0
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM opt_out")).scalar() == 0


def test_a_broken_constraint_is_a_store_error(store: Store) -> None:
    with pytest.raises(StoreError) as caught, store.write() as connection:
        connection.execute(text("INSERT INTO roster_drop VALUES (99, 'empty', 1)"))
    assert isinstance(caught.value.__cause__, IntegrityError)


def test_a_reader_sees_one_state_and_waits_for_nobody(store: Store) -> None:
    count = text("SELECT count(*) FROM opt_out")
    with store.read() as reader:
        assert reader.execute(count).scalar() == 0
        with store.write() as writer:
            append(writer, opt_out, ("token", "since_ms"), [(b"a" * 16, 1)])
            assert reader.execute(count).scalar() == 0
        assert reader.execute(count).scalar() == 0
    with store.read() as reader:
        assert reader.execute(count).scalar() == 1


def test_a_second_writer_waits_and_then_gives_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 1)
    with store.write(), pytest.raises(LockedError), store.write():
        pytest.fail("two writers at once")


def test_watch_tells_of_others_commits(make_store: Callable[..., Store]) -> None:
    service, other = make_store(service=True), make_store()
    changed = service.watch()
    assert changed()
    assert not changed()
    with other.read() as connection:
        connection.execute(text("SELECT 1"))
    assert not changed()
    with other.write() as connection:
        append(connection, opt_out, ("token", "since_ms"), [(b"a" * 16, 1)])
    assert changed()
    assert not changed()


def test_execute_many_counts_what_changed(store: Store) -> None:
    with store.write() as connection:
        assert append(connection, opt_out, ("token", "since_ms"), [(b"a" * 16, 1), (b"b" * 16, 2)]) == 2
        assert append(connection, opt_out, ("token", "since_ms"), [(b"b" * 16, 9), (b"c" * 16, 3)], or_ignore=True) == 1
        assert execute_many(connection, "DELETE FROM opt_out WHERE token = ?", [(b"a" * 16,), (b"z" * 16,)]) == 1
        assert execute_many(connection, "DELETE FROM opt_out WHERE token = ?", []) == 0
        assert connection.execute(text("SELECT sum(since_ms) FROM opt_out")).scalar() == 5


def test_one_service_a_database(store: Store) -> None:
    assert store.path is not None
    assert not service_running(store.path)
    with service_lock(store.path):
        assert service_running(store.path)
        with pytest.raises(LockedError), service_lock(store.path):
            pytest.fail("two services at once")
    assert not service_running(store.path)
    with service_lock(store.path):
        assert service_running(store.path)


def test_a_service_in_another_process(store: Store) -> None:
    assert store.path is not None
    lock = store.path.with_name(store.path.name + ".service-lock")
    with another_process_holds(lock, "LOCK_EX") as process:
        assert service_running(store.path)
        with pytest.raises(LockedError), service_lock(store.path):
            pytest.fail("two services at once")
        process.kill()
        process.wait()
        assert not service_running(store.path)
        with service_lock(store.path):
            assert service_running(store.path)


def test_who_only_asks_is_not_taken_for_the_service(store: Store) -> None:
    assert store.path is not None
    lock = store.path.with_name(store.path.name + ".service-lock")
    with another_process_holds(lock, "LOCK_SH"):
        assert not service_running(store.path)


def test_the_service_waits_for_who_only_asks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.path is not None
    lock = store.path.with_name(store.path.name + ".service-lock")
    with another_process_holds(lock, "LOCK_SH") as process:

        def asked(_seconds: float) -> None:
            process.kill()
            process.wait()

        monkeypatch.setattr(engine.time, "sleep", asked)
        with service_lock(store.path):
            assert service_running(store.path)
