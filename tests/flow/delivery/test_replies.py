"""Replies in several parts, the second durable place of refusals, and refusals that spare urgent warnings."""

from __future__ import annotations

import asyncio
import functools
import itertools

import pytest

from broadcaster.errors import StoreError
from broadcaster.files.prefixes import read_plan
from broadcaster.flow.refuse import PART_WAIT_MS, read_overdue_parts, refuse
from broadcaster.flow.settle import STORE_FAILED, Inbox
from broadcaster.link.client import Inbound
from broadcaster.model import MessageClass, State
from broadcaster.rules.refusal import Scope
from broadcaster.smpp.bodies import DeliverSm
from broadcaster.store import reply_parts
from broadcaster.store.journal import Journal
from broadcaster.store.refusals import Refusal, reconcile, record_refusals


def number(position: int) -> str:
    return str(84_961_000_000 + position - 1)


def part_of(source: str, words: str, part: int, parts: int, reference: int = 7) -> Inbound:
    header = bytes([5, 0, 3, reference, parts, part])
    return Inbound(1, 1, DeliverSm(source, "8066", header + words.encode("utf-16-be"), 1, 1, 5, 0, 0x40, data_coding=8))


class Desk:
    """An inbox with a journal, and what it acknowledged."""

    def __init__(self, field, stage, journal=None):
        self.acknowledged: list[int] = []
        self.inbox = Inbox(
            field.card,
            writer=stage.writer,
            vault=field.vault,
            plan=read_plan(),
            refused=field.refused,
            acknowledge=lambda batch, status: self.acknowledged.extend([status] * len(batch)),
            journal=journal,
        )

    async def take(self, *inbounds):
        self.inbox.on_inbound(list(inbounds))
        for _ in range(5_000):
            if not self.inbox._storing:
                return
            await asyncio.sleep(0.001)
        pytest.fail("it was never stored")


def play(field, scene, journal=None):
    async def run(stage):
        await scene(Desk(field, stage, journal))
        await stage.calm()

    field.play(run)


def kept(field):
    return [(kind, field.vault.open_text(text)) for kind, text in field.sql("SELECT kind, content FROM reply ORDER BY id")]


@pytest.mark.parametrize("turns", list(itertools.permutations((1, 2, 3))))
def test_a_reply_in_parts_is_read_as_a_whole_in_whatever_order_it_comes(field, turns):
    field.warn(6)
    words = ["Từ ch", "ối nhận", " tin"]

    async def scene(desk):
        for part in turns[:-1]:
            await desk.take(part_of(number(1), words[part - 1], part, 3))
            assert field.refused == set()
        assert desk.acknowledged == [0, 0]
        await desk.take(part_of(number(1), words[turns[-1] - 1], turns[-1], 3))

    play(field, scene)
    assert kept(field) == [("refuse", "Từ chối nhận tin")]
    assert field.refused == {field.token(1)}
    assert field.sql("SELECT count(*) FROM reply_part")[0][0] == 0


def test_a_number_that_a_text_names_is_nowhere_in_clear(field):
    field.warn(6)

    async def scene(desk):
        await desk.take(Inbound(1, 1, DeliverSm(number(1), "8066", b"LD 0912345678 gia danh", 1, 1)))
        await desk.take(Inbound(1, 1, DeliverSm(number(2), "8066", b"goi 0912345678 hoi", 1, 1)))
        await desk.take(part_of(number(3), "LD 0912345678 ", 1, 2))

    play(field, scene)
    assert kept(field) == [("report", "LD 0912345678 gia danh"), ("other", "goi 0912345678 hoi")]
    for table in ("reply", "reply_part"):
        rows = field.sql(f"SELECT content FROM {table}")
        assert rows
        assert not any("0912345678" in row.content for row in rows)
    with field.store.write() as connection:
        read_overdue_parts(connection, field.vault, 2**50, None)
    assert kept(field)[2:] == [("report", "LD 0912345678 ")]


def test_parts_of_different_people_and_texts_are_never_mixed(field):
    field.warn(6)

    async def scene(desk):
        await desk.take(part_of(number(1), "T", 1, 2), part_of(number(2), "C", 2, 2), part_of(number(1), "C", 2, 2, reference=8))

    play(field, scene)
    assert kept(field) == []
    assert field.refused == set()


def test_a_part_that_comes_again_changes_nothing(field):
    field.warn(6)

    async def scene(desk):
        await desk.take(part_of(number(1), "Tôi muốn ", 1, 2))
        await desk.take(part_of(number(1), "Tôi muốn ", 1, 2))
        await desk.take(part_of(number(1), "TC", 2, 2))

    play(field, scene)
    assert kept(field) == [("other", "Tôi muốn TC")]


def test_a_part_left_alone_is_read_by_itself_after_a_while(field):
    field.warn(6)

    async def scene(desk):
        await desk.take(part_of(number(1), "TC", 1, 2))

    play(field, scene)
    at_ms = field.sql("SELECT at_ms FROM reply_part")[0][0]
    with field.store.write() as connection:
        assert read_overdue_parts(connection, field.vault, at_ms + PART_WAIT_MS, None) == 0
        assert read_overdue_parts(connection, field.vault, at_ms + PART_WAIT_MS + 1, None) == 1
    assert kept(field) == [("refuse", "TC")]
    assert field.sql("SELECT token FROM opt_out")[0][0] == field.token(1)


def test_of_too_many_parts_the_oldest_wait_no_longer(field, monkeypatch):
    monkeypatch.setattr(reply_parts, "MOST_KEPT", 2)
    parts = [reply_parts.ReplyPart("viettel", field.token(at), 1, 2, 1, "TC", at) for at in range(1, 5)]
    with field.store.write() as connection:
        reply_parts.keep_parts(connection, parts)
        assert [part.at_ms for part in reply_parts.overdue_parts(connection, 0)] == [1, 2]
        assert reply_parts.overdue_parts(connection, 0) == []


def test_a_refusal_is_in_the_journal_before_it_is_acknowledged_and_a_restore_takes_it_from_there(field, tmp_path):
    field.warn(6)
    journal = Journal(tmp_path / "refusals.journal")

    async def scene(desk):
        await desk.take(Inbound(1, 1, DeliverSm(number(1), "8066", b"TC", 1, 1)))
        assert desk.acknowledged == [0]

    play(field, scene, journal)
    assert number(1)[2:] not in journal.path.read_text()
    field.sql("DELETE FROM opt_out")
    field.sql("DELETE FROM refusal")
    with field.store.write() as connection:
        assert len(reconcile(connection, field.auditor, journal).forgotten) == 1
    assert field.sql("SELECT token FROM opt_out")[0][0] == field.token(1)


def test_what_the_journal_cannot_take_is_left_with_the_carrier(field, tmp_path):
    field.warn(6)

    async def scene(desk):
        await desk.take(Inbound(1, 1, DeliverSm(number(1), "8066", b"TC", 1, 1)))
        assert desk.acknowledged == [STORE_FAILED]

    play(field, scene, Journal(tmp_path / "gone" / "refusals.journal"))
    assert kept(field) == []
    assert field.sql("SELECT count(*) FROM opt_out")[0][0] == 0


def test_a_person_is_not_told_that_it_is_recorded_when_the_journal_has_it_not(field, tmp_path):
    journal = Journal(tmp_path / "gone" / "refusals.journal")
    with pytest.raises(StoreError):
        refuse(
            field.store, field.auditor, field.vault, [int(number(1))],
            refuses=True, source="cli", evidence="Phiếu 1", now=field.clock.now(), journal=journal,
        )  # fmt: skip
    assert field.sql("SELECT count(*) FROM refusal")[0][0] == 0


@pytest.mark.parametrize(("scope", "urgent", "sent"), [
    (Scope.ALL, False, False), (Scope.ALL, True, False), (Scope.ADVISORY, False, False), (Scope.ADVISORY, True, True),
])  # fmt: skip
def test_a_refusal_goes_as_far_as_its_scope(field, scope, urgent, sent):
    field.warn(6, **({"message_class": MessageClass.URGENT} if urgent else {}))
    with field.store.write() as connection:
        record_refusals(connection, [Refusal(field.token(1), True, "cli", "", 0, scope)])

    field.play(lambda stage: stage.answer_everything())
    assert field.states()[1] is (State.ACCEPTED if sent else State.SUPPRESSED)
    assert list(field.states().values()).count(State.ACCEPTED) == 5 + sent


@pytest.mark.parametrize("urgent", [False, True])
def test_who_spares_urgent_warnings_while_one_goes_out_still_gets_it(field, urgent):
    field.warn(8)
    field.job = functools.partial(field.job, urgent=urgent)

    async def scene(stage):
        stage.account._wants_urgent = {field.token(6)}
        field.refused |= {field.token(6), field.token(7)}
        await stage.answer_everything()

    field.play(scene)
    assert field.states()[6] is (State.ACCEPTED if urgent else State.SUPPRESSED)
    assert field.states()[7] is State.SUPPRESSED
