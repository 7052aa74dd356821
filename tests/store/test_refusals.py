"""The log of refusals and the set it adds up to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from broadcaster.errors import StoreError
from broadcaster.rules.refusal import Scope
from broadcaster.store import refusals as table
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.journal import Journal, entry_of
from broadcaster.store.refusals import Refusal, Reply

AUDITOR = Auditor(bytes(32), "test")
TOKENS = [bytes([number]) * 16 for number in range(4)]

entries = st.builds(
    Refusal,
    token=st.sampled_from(TOKENS),
    refuses=st.booleans(),
    source=st.just("reply"),
    evidence=st.just("TC"),
    at_ms=st.integers(0, 9),
    scope=st.sampled_from(Scope),
)


def widened(told: list[Refusal]) -> list[Refusal]:
    """What is recorded of these: a refusal never narrows one that stands."""
    standing: dict[bytes, int] = {}
    found = []
    for item in told:
        if item.refuses:
            standing[item.token] = max(int(item.scope), standing.get(item.token, 0))
        else:
            standing.pop(item.token, None)
        found.append(item._replace(scope=standing.get(item.token, int(item.scope))))
    return found


def refusing(store: Store) -> dict[bytes, int]:
    with store.read() as connection:
        return {row.token: row.since_ms for row in connection.execute(text("SELECT token, since_ms FROM opt_out"))}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(batches=st.lists(st.lists(entries, max_size=6), max_size=6))
def test_the_last_word_of_each_number_counts(store: Store, batches: list[list[Refusal]]) -> None:
    with store.write() as connection:
        connection.execute(text("DELETE FROM opt_out"))
        connection.execute(text("DELETE FROM refusal"))
    for batch in batches:
        with store.write() as connection:
            table.record_refusals(connection, batch)
    told = widened([item for batch in batches for item in batch])
    assert set(refusing(store)) == {token for token, refuses in {item.token: item.refuses for item in told}.items() if refuses}
    with store.read() as connection:
        newest, news = table.refusals_after(connection, 0)
        assert news == told
        assert table.count_refusing(connection) == len(refusing(store))
        assert table.refusals_after(connection, newest) == (newest, [])
        assert newest == table.newest_refusal_id(connection)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(before=st.lists(entries, max_size=6), after=st.lists(entries, max_size=6))
def test_what_a_restored_database_forgot_comes_back_from_the_journal(
    store: Store, tmp_path_factory: pytest.TempPathFactory, before: list[Refusal], after: list[Refusal]
) -> None:
    journal = Journal(tmp_path_factory.mktemp("second") / "refusals.journal")
    told = widened([item._replace(at_ms=at_ms) for at_ms, item in enumerate([*before, *after])])
    with store.write() as connection:
        connection.execute(text("DELETE FROM opt_out"))
        connection.execute(text("DELETE FROM refusal"))
        table.record_refusals(connection, told[: len(before)], journal)
    journal.append([table._entry(item) for item in told[len(before) :]])
    for restored in (told[len(before) :], []):
        with store.write() as connection:
            assert table.reconcile(connection, AUDITOR, journal) == (len(told), restored, [], [], None)
    last = {item.token: item for item in told}
    back = [item._replace(source="journal") for item in told[len(before) :]]
    with store.read() as connection:
        assert table.refusals_after(connection, 0)[1] == told[: len(before)] + back
        kept = {row.token: row.scope for row in connection.execute(text("SELECT token, scope FROM opt_out"))}
    assert kept == {token: item.scope for token, item in last.items() if item.refuses}


def test_what_was_said_later_stands_against_an_older_entry_of_the_journal(store: Store, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "refusals.journal")
    journal.append([table._entry(Refusal(TOKENS[0], True, "reply", "TC", 5))])
    with store.write() as connection:
        table.record_refusals(connection, [Refusal(TOKENS[0], False, "reply", "DK", 9)])
        found = table.reconcile(connection, AUDITOR, journal)
    assert (found.forgotten, len(found.unwritten)) == ([], 1)
    assert refusing(store) == {}


def test_what_the_journal_lost_is_written_into_it_again_once(store: Store, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "refusals.journal")
    told = [Refusal(TOKENS[at], True, "cli", "Đơn 1", at) for at in range(3)]
    with store.write() as connection:
        table.record_refusals(connection, told, journal)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    for kept, missing in (([], told), (lines[1:], told[:1]), (lines[:2], told[2:])):
        journal.path.write_bytes(b"".join(kept))
        for unwritten in (missing, []):
            with store.write() as connection:
                assert table.reconcile(connection, AUDITOR, journal).unwritten == unwritten
    journal.path.unlink()
    with store.read() as connection:
        assert table.compare(connection, journal).unwritten == told
    assert not journal.path.exists()


def test_what_the_journal_knows_comes_into_force_though_it_cannot_be_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "refusals.journal")
    journal.append([table._entry(Refusal(TOKENS[0], True, "reply", "TC", 5))])
    monkeypatch.setattr("broadcaster.store.journal.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with store.write() as connection:
        table.record_refusals(connection, [Refusal(TOKENS[1], True, "cli", "Đơn 1", 5)])
        assert table.reconcile(connection, AUDITOR, journal).unwritable is not None
    assert set(refusing(store)) == {TOKENS[0], TOKENS[1]}


def test_a_wider_refusal_counts_from_when_it_was_widened(store: Store) -> None:
    for at_ms, scope in ((1, Scope.ADVISORY), (5, Scope.ALL), (9, Scope.ALL)):
        with store.write() as connection:
            table.record_refusals(connection, [Refusal(TOKENS[0], True, "cli", "", at_ms, scope)])
    assert refusing(store) == {TOKENS[0]: 5}


def test_a_narrower_refusal_never_narrows_until_it_was_withdrawn(store: Store, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "refusals.journal")

    def tell(at_ms: int, refuses: bool, scope: Scope) -> dict[bytes, int]:
        with store.write() as connection:
            table.record_refusals(connection, [Refusal(TOKENS[0], refuses, "cli", "", at_ms, scope)], journal)
            assert table.contradictions(connection) == (0, 0, 0)
            return table.standing_scopes(connection, TOKENS)

    assert tell(1, True, Scope.ALL) == {TOKENS[0]: Scope.ALL}
    assert tell(2, True, Scope.ADVISORY) == {TOKENS[0]: Scope.ALL}
    assert tell(3, False, Scope.ALL) == {}
    assert tell(4, True, Scope.ADVISORY) == {TOKENS[0]: Scope.ADVISORY}
    assert [entry_of(body)["scope"] for _, body in journal.read().bodies] == [2, 2, 2, 1]


def test_a_scope_that_the_log_does_not_know_is_a_contradiction(store: Store) -> None:
    with store.write() as connection:
        table.record_refusals(connection, [Refusal(TOKENS[0], True, "cli", "", 1, Scope.ADVISORY)])
        assert table.contradictions(connection) == (0, 0, 0)
        connection.execute(text("UPDATE opt_out SET scope = 2"))
        assert table.contradictions(connection) == (1, 1, 0)


def test_without_the_journal_nothing_is_recorded(store: Store, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "no-such-folder" / "refusals.journal")
    with pytest.raises(StoreError), store.write() as connection:
        table.record_refusals(connection, [Refusal(TOKENS[0], True, "cli", "", 1)], journal)
    assert refusing(store) == {}


def test_a_line_cut_off_by_a_crash_is_passed_over_and_the_next_one_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "refusals.journal")
    journal.append([{"at_ms": 1}])
    begun = journal.path.stat().st_size
    journal.append([{"at_ms": 2}])
    whole = journal.path.read_bytes()
    for octets in range(begun, len(whole) - 1):
        journal.path.write_bytes(whole[:octets])
        journal.append([{"at_ms": 3}])
        found = journal.read()
        assert ([entry_of(body) for _, body in found.bodies], found.damaged) == ([{"at_ms": 1}, {"at_ms": 3}], [])
    assert journal.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"at_ms": 2', b'"at_ms": 7'), (b'"form": 1', b'"form": 2'), (b'{"crc": ', b'{"crb": '), (b'{"crc": ', b"rubbish ")],
)
def test_an_altered_line_is_named_and_all_others_are_taken(store: Store, tmp_path: Path, old: bytes, new: bytes) -> None:
    journal = Journal(tmp_path / "refusals.journal")
    told = [Refusal(TOKENS[at], True, "cli", "Đơn 1", at) for at in range(4)]
    journal.append([table._entry(item) for item in told])
    lines = journal.path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(old, new)
    journal.path.write_bytes(b"".join(lines))
    with store.write() as connection:
        found = table.reconcile(connection, AUDITOR, journal)
    assert (found.forgotten, found.damaged) == ([told[0], told[1], told[3]], [3])
    with store.write() as connection:
        assert table.reconcile(connection, AUDITOR, journal) == (3, [], [], [3], None)


def test_repeating_keeps_the_first_time(store: Store) -> None:
    for at_ms in (5, 9):
        with store.write() as connection:
            table.record_refusals(connection, [Refusal(TOKENS[0], True, "reply", "TC", at_ms)])
    assert refusing(store) == {TOKENS[0]: 5}
    with store.read() as connection:
        assert [item.at_ms for item in table.refusals(connection, 10)] == [9, 5]
        assert [item.at_ms for item in table.refusals(connection, 1)] == [9]


def test_replies_are_counted_by_carrier_and_kind(store: Store) -> None:
    with store.write() as connection:
        table.record_replies(
            connection,
            [
                Reply("viettel", TOKENS[0], "refuse", "TC", 10),
                Reply("viettel", TOKENS[1], "refuse", "tc", 19),
                Reply("viettel", None, "other", "?", 20),
                Reply("mobifone", TOKENS[2], "refuse", "TC", 9),
            ],
        )
    with store.read() as connection:
        assert table.replies_between(connection, 10, 20) == {("viettel", "refuse"): 2}
        assert table.replies_between(connection, 0, 99)["mobifone", "refuse"] == 1
