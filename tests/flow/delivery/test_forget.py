"""A number erased on its owner's wish: nothing of it is left but its refusals, and everything still adds up."""

from __future__ import annotations

import datetime as dt

import pytest

from broadcaster.errors import RefusedError, StoreError
from broadcaster.files.prefixes import read_plan
from broadcaster.flow import hold, subject
from broadcaster.flow.trace import trace
from broadcaster.model import Msisdn, State
from broadcaster.rules.basis import Basis
from broadcaster.store import audit
from broadcaster.store.holds import HoldScope
from broadcaster.store.receipts import Received, record_receipts
from broadcaster.store.refusals import Refusal, Reply, contradictions, record_refusals, record_replies
from broadcaster.store.schema import metadata
from broadcaster.store.times import to_ms
from broadcaster.store.vault import forgotten_token

FIRST = Msisdn(84_961_000_000)


def forget(field, number=FIRST, **more):
    now = field.clock.now()
    return subject.forget(field.store, field.vault, field.auditor, number, reason="đơn 3", now=now, **more)


def places_of(field, token):
    """Return the columns of the database that hold a token."""
    found = set()
    for table in metadata.sorted_tables:
        for column in table.columns:
            if column.type.__class__.__name__ == "LargeBinary":
                query = f"SELECT count(*) FROM {table.name} WHERE {column.name} = :token"
                if field.sql(query, token=token)[0][0]:
                    found.add(f"{table.name}.{column.name}")
    return found


@pytest.fixture
def past(field):
    """Three people warned, with all kinds of rows about the first; the campaign finished and its deadline gone."""
    field.warn(3)

    async def scene(stage) -> None:
        await stage.answer_everything()

    field.play(scene)
    token, at_ms = field.token(1), to_ms(field.clock.now())
    with field.store.write() as connection:
        record_receipts(connection, [Received("viettel", "khac", token, "DELIVRD", int(State.DELIVERED), None, at_ms)])
        record_refusals(connection, [Refusal(token, True, "reply", "TC", at_ms)])
        record_replies(
            connection, [Reply("viettel", token, "refuse", "TC", at_ms), Reply("viettel", token, "report", "LD", at_ms + 1)]
        )
    field.sql("INSERT INTO port (token, carrier, effective_s) VALUES (:token, 'viettel', 1)", token=token)
    field.sql("UPDATE campaign SET state = 'finished', deadline_ms = :then", then=at_ms - 1)
    return field


def test_nothing_is_left_but_the_refusal_and_its_proof(past) -> None:
    token, before = past.token(1), past.states()
    assert places_of(past, token) == {"message.token", "receipt.token", "reply.token", "port.token", "refusal.token", "opt_out.token"}
    planned = forget(past, dry_run=True)
    assert places_of(past, token) == {"message.token", "receipt.token", "reply.token", "port.token", "refusal.token", "opt_out.token"}
    done = forget(past)
    assert planned.erased == done.erased == ([], 1, 1, 1)
    assert planned.refusals_kept == done.refusals_kept == 1
    assert places_of(past, token) == {"reply.token", "refusal.token", "opt_out.token"}
    assert past.sql("SELECT content FROM reply WHERE token = :token", token=token) == [("TC",)]
    assert past.states() == before
    with past.store.read() as connection:
        assert contradictions(connection) == (0, 0, 0)
        entry = list(audit.entries(connection))[-1]
        assert audit.first_break(connection, past.audit_key) is None
    assert (entry.action, entry.detail["messages"], entry.detail["refusals_kept"]) == ("subscriber-forget", 1, 1)
    held = subject.show(past.store, past.vault, past.auditor, FIRST)
    assert (held.targetings, held.refuses_now) == ([], True)


def test_verify_and_trace_go_on_without_the_number(past) -> None:
    forgiven = past.failing()
    forget(past)
    assert past.failing() == forgiven
    (story,) = trace(past.store, past.vault, past.auditor, "1:1", campaign=None, plan=read_plan(), now_ms=0)
    assert (story.number, story.state) == ("–", State.ACCEPTED)


def test_no_other_number_is_touched(past) -> None:
    second = places_of(past, past.token(2))
    forget(past)
    assert places_of(past, past.token(2)) == second == {"message.token"}
    assert forget(past, Msisdn(FIRST + 900)).erased == ([], 0, 0, 0)


def test_the_mark_is_never_dialled(past) -> None:
    with pytest.raises(StoreError):
        past.vault.reveal([past.token(2), forgotten_token(1 << 32 | 1)])
    assert past.vault.recall([forgotten_token(5), past.token(2)]) == [0, FIRST + 1]


@pytest.mark.parametrize("change", ["state = 'running'", "state = 'paused'", "deadline_ms = deadline_ms + 1000"])
def test_not_while_a_campaign_may_still_send(past, change: str) -> None:
    past.sql(f"UPDATE campaign SET {change}")
    for dry_run in (True, False):
        with pytest.raises(RefusedError, match="dien-tap"):
            forget(past, dry_run=dry_run)
    assert "message.token" in places_of(past, past.token(1))


def test_not_under_a_hold(past) -> None:
    document = Basis("15/QĐ", past.clock.now().date())
    made = hold.place_hold(
        past.store,
        past.auditor,
        past.vault,
        read_plan(),
        HoldScope.CAMPAIGN,
        "1",
        document=document,
        reason="x",
        now=past.clock.now(),
    )
    with pytest.raises(RefusedError, match=f"lệnh giữ: {made}"):
        forget(past)
    hold.lift_hold(past.store, past.auditor, made, reason="x", now=past.clock.now() + dt.timedelta(days=1))
    assert forget(past).erased.messages == 1


def test_no_file_of_the_database_holds_it_where_nobody_refused(past) -> None:
    if past.store.path is None:
        assert forget(past).log_cleared is False
        return
    second, path = past.token(2), past.store.path
    files = [path, path.with_name(path.name + "-wal")]
    # As long as somebody is connected the log stays.
    other = past.store.engine.raw_connection()
    try:
        other.cursor().execute("SELECT count(*) FROM port").fetchall()
        past.sql("INSERT INTO port (token, carrier, effective_s) VALUES (:token, 'viettel', 1)", token=second)
        assert second in files[1].read_bytes()
        assert forget(past, Msisdn(FIRST + 1)).log_cleared is True
        assert [file.name for file in files if file.exists() and second in file.read_bytes()] == []
    finally:
        other.close()


def test_a_reader_in_the_way_of_the_log_is_told(past) -> None:
    if past.store.path is None:
        return
    with past.store.read() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM message").fetchall()
        assert forget(past).log_cleared is False
