"""The audit chain, and what breaks it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from broadcaster.errors import StoreError
from broadcaster.store.audit import GENESIS, Auditor, entries, first_break, head
from broadcaster.store.engine import Store


@pytest.fixture
def chained(installed_store: Store, auditor: Auditor) -> Store:
    store = installed_store
    with store.write() as connection:
        for number in range(1, 6):
            auditor.record(connection, "làm", f"việc-{number}", {"số": number, "parts": [1, 2], "bởi": "văn thư"})
    return store


def breaks(store: Store, key: bytes) -> int | None:
    with store.read() as connection:
        return first_break(connection, key)


def test_a_whole_chain(chained: Store, audit_key: bytes) -> None:
    assert breaks(chained, audit_key) is None
    with chained.read() as connection:
        listed = list(entries(connection))
        assert head(connection) == listed[-1].mac
    assert [entry.seq for entry in listed] == [1, 2, 3, 4, 5]
    assert listed[0].previous == GENESIS
    assert listed[2].detail == {"số": 3, "parts": [1, 2], "bởi": "văn thư"}
    assert listed[2].actor == "test"


def test_an_empty_chain(store: Store, audit_key: bytes) -> None:
    assert breaks(store, audit_key) is None
    with store.read() as connection:
        assert head(connection) == GENESIS


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        ("UPDATE audit SET subject = 'khác' WHERE seq = 3", 3),
        ("UPDATE audit SET actor = 'ai đó' WHERE seq = 1", 1),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 5", 5),
        ("UPDATE audit SET detail_json = '{}' WHERE seq = 2", 2),
        ("UPDATE audit SET mac = previous WHERE seq = 4", 4),
        ("DELETE FROM audit WHERE seq = 3", 4),
        ("DELETE FROM audit WHERE seq = 1", 2),
        ("UPDATE audit SET seq = 9 WHERE seq = 5", 9),
    ],
)
def test_edits_are_found(chained: Store, audit_key: bytes, edit: str, found: int) -> None:
    with chained.write() as connection:
        assert connection.execute(text(edit)).rowcount == 1
    assert breaks(chained, audit_key) == found


def test_rewriting_needs_the_key(chained: Store, audit_key: bytes) -> None:
    forger = Auditor(b"x" * 32, "test")
    with chained.write() as connection:
        connection.execute(text("DELETE FROM audit WHERE seq = 5"))
        forger.record(connection, "làm", "việc-5", {"số": 5})
    assert breaks(chained, audit_key) == 5


@pytest.mark.parametrize("first_gone", [1, 4, 5])
def test_a_cut_off_end_is_found(chained: Store, audit_key: bytes, first_gone: int) -> None:
    with chained.write() as connection:
        connection.execute(text("DELETE FROM audit WHERE seq >= :seq"), {"seq": first_gone})
    assert breaks(chained, audit_key) == first_gone


def test_the_chain_cannot_fork(chained: Store) -> None:
    with pytest.raises(StoreError), chained.write() as connection:
        connection.execute(
            text(
                "INSERT INTO audit (seq, at_ms, actor, action, subject, detail_json, previous, mac) "
                "SELECT 6, at_ms, actor, action, subject, detail_json, previous, 'x' FROM audit WHERE seq = 5"
            )
        )


def test_an_entry_stands_or_falls_with_its_change(chained: Store, auditor: Auditor, audit_key: bytes) -> None:
    def half_done() -> None:
        with chained.write() as connection:
            auditor.record(connection, "làm", "dở dang")
            connection.execute(text("INSERT INTO roster_drop VALUES (99, 'empty', 1)"))

    with pytest.raises(StoreError):
        half_done()
    with chained.write() as connection:
        auditor.record(connection, "làm", "việc-6")
    assert breaks(chained, audit_key) is None
    with chained.read() as connection:
        assert [entry.subject for entry in entries(connection)][-1] == "việc-6"
