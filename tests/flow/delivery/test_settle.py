"""What carriers send back: durable before it is acknowledged, matched whenever its answer is known, refusals obeyed at once."""

from __future__ import annotations

import asyncio

import pytest

from broadcaster.errors import StoreError
from broadcaster.flow.settle import STORE_FAILED
from broadcaster.lang import Said
from broadcaster.link.client import Inbound
from broadcaster.model import State
from broadcaster.smpp.bodies import Command, DataSm, DeliverSm
from broadcaster.smpp.events import Quarantined


def deliver(source: str, octets: bytes, *, esm_class: int = 0, data_coding: int = 0, tlvs=None, kind=DeliverSm) -> Inbound:
    if kind is DataSm:
        body = DataSm(
            source=source, destination="SKHCN-QNG", esm_class=esm_class, data_coding=data_coding, tlvs=tlvs or {0x0424: octets}
        )
    else:
        body = DeliverSm(source, "SKHCN-QNG", octets, 1, 1, 5, 0, esm_class, data_coding=data_coding, tlvs=tlvs or {})
    return Inbound(1, 1, body)


def receipt(source: str, smsc_id: str, stat: str = "DELIVRD", **more) -> Inbound:
    line = f"id:{smsc_id} sub:001 dlvrd:001 submit date:2603121000 done date:2603121001 stat:{stat} err:000 text:CANH BAO"
    return deliver(source, line.encode(), esm_class=0x04, **more)


def said(source: str, words: str) -> Inbound:
    return deliver(source, words.encode("utf-16-be"), data_coding=8)


def number(position: int) -> str:
    return str(84_961_000_000 + position - 1)


async def stored(inbox) -> None:
    for _ in range(5_000):
        if not inbox._storing:
            return
        await asyncio.sleep(0.001)
    pytest.fail("it was never stored")


def session(field, scene):
    """Run a scene with an inbox; return what was acknowledged, as (status, how many)."""
    acknowledged: list[tuple[int, int]] = []

    async def run(stage):
        inbox = stage.inbox(lambda batch, status: acknowledged.append((status, len(batch))))
        await scene(stage, inbox)
        await stage.calm()

    field.play(run)
    return acknowledged


def test_nothing_is_acknowledged_before_it_is_durable(field):
    field.warn(1)
    seen = []

    async def scene(stage):
        def acknowledge(batch, status):
            # Another connection sees it already: it is committed.
            seen.append((status, field.sql("SELECT count(*) FROM receipt")[0][0], field.sql("SELECT count(*) FROM opt_out")[0][0]))

        inbox = stage.inbox(acknowledge)
        inbox.on_inbound([receipt(number(1), "77"), said(number(1), "TC")])
        assert seen == []
        await stage.calm()

    field.play(scene)
    assert seen == [(0, 1, 1)]


def test_what_cannot_be_stored_is_refused_for_now_and_taken_when_it_comes_again(field, monkeypatch):
    field.warn(1)
    real = field.store.write

    def broken():
        raise StoreError(Said("đầy đĩa", "disk full"))

    async def scene(stage, inbox):
        await stage.answer(0)
        monkeypatch.setattr(field.store, "write", broken)
        batch = [receipt(number(1), "1"), said(number(1), "TC")]
        inbox.on_inbound(batch)
        await stored(inbox)
        # What was refused counts already, whatever the disk does.
        assert field.token(1) in field.refused
        monkeypatch.setattr(field.store, "write", real)
        assert field.sql("SELECT count(*) FROM receipt")[0][0] == 0
        inbox.on_inbound(batch)

    assert session(field, scene) == [(STORE_FAILED, 2), (0, 2)]
    assert field.sql("SELECT count(*) FROM receipt")[0][0] == 1
    assert field.sql("SELECT count(*) FROM opt_out")[0][0] == 1


def test_a_withdrawal_that_cannot_be_stored_changes_nothing(field, monkeypatch):
    field.warn(1)
    field.refused.add(field.token(1))

    def broken():
        raise StoreError(Said("đầy đĩa", "disk full"))

    async def scene(stage, inbox):
        real = field.store.write
        monkeypatch.setattr(field.store, "write", broken)
        inbox.on_inbound([said(number(1), "DK")])
        await stored(inbox)
        assert field.token(1) in field.refused
        monkeypatch.setattr(field.store, "write", real)
        inbox.on_inbound([said(number(1), "DK")])
        await stage.calm()
        assert field.token(1) not in field.refused

    session(field, scene)


def test_a_receipt_may_come_before_its_response(field):
    field.warn(1)

    async def scene(stage, inbox):
        inbox.on_inbound([receipt(number(1), "id1")])
        await stage.calm()
        assert field.states() == {1: State.READY}
        await stage.answer(0)

    session(field, scene)
    assert field.states() == {1: State.DELIVERED}
    assert field.failing() == set()


def test_receipts_find_their_message_after_a_restart(field):
    field.warn(1)
    field.play(lambda stage: stage.answer_everything())

    async def scene(stage, inbox):
        inbox.on_inbound([receipt(number(1), "id1", "UNDELIV")])

    session(field, scene)
    assert field.states() == {1: State.UNDELIVERABLE}
    assert field.failing() == set()


@pytest.mark.parametrize("source", ["84961000000", "+84961000000", "0961000000"])
def test_every_way_to_write_a_number_is_the_same_number(field, source):
    field.warn(1)

    async def scene(stage, inbox):
        await stage.answer(0)
        inbox.on_inbound([receipt(source, "id1")])

    session(field, scene)
    assert field.states() == {1: State.DELIVERED}


def test_a_receipt_for_somebody_else_is_kept_and_counts_for_nobody(field):
    field.warn(2)

    async def scene(stage, inbox):
        await stage.answer(0, 0)
        inbox.on_inbound(
            [receipt(number(2), "id1"), receipt("84961999999", "id1"), receipt("KHONG-SO", "id1"), receipt(number(1), "id9")]
        )

    assert session(field, scene) == [(0, 4)]
    assert set(field.states().values()) == {State.ACCEPTED}
    assert field.sql("SELECT count(*) FROM receipt WHERE NOT matched")[0][0] == 4


@pytest.mark.parametrize(
    ("stats", "state"),
    [
        (["DELIVRD", "DELIVRD", "DELIVRD"], State.DELIVERED),
        (["ENROUTE", "DELIVRD", "ENROUTE"], State.DELIVERED),
        (["UNDELIV", "DELIVRD"], State.UNDELIVERABLE),
        (["ACCEPTD", "UNKNOWN"], State.ACCEPTED),
        (["EXPIRED"], State.EXPIRED),
        (["DELETED"], State.DELETED),
        (["REJECTD"], State.REJECTED),
        (["QUYT"], State.ACCEPTED),
    ],
)
def test_the_first_final_word_stands(field, stats, state):
    field.warn(1)

    async def scene(stage, inbox):
        await stage.answer(0)
        for stat in stats:
            inbox.on_inbound([receipt(number(1), "id1", stat)])
            await stage.calm()

    session(field, scene)
    assert field.states() == {1: state}
    assert field.sql("SELECT count(*) FROM receipt")[0][0] == len(stats)
    assert field.failing() == set()
    assert field.tallied() == 1


def test_receipts_by_data_sm_and_by_parameter_alone_are_read(field):
    field.warn(2)

    async def scene(stage, inbox):
        await stage.answer(0, 0)
        first = receipt(number(1), "id1", kind=DataSm)
        second = deliver(number(2), b"", esm_class=0x04, tlvs={0x001E: b"id2\0", 0x0427: b"\x02"})
        inbox.on_inbound([first, second])

    session(field, scene)
    assert set(field.states().values()) == {State.DELIVERED}


def test_what_cannot_be_read_is_kept_and_acknowledged(field):
    field.warn(1)

    async def scene(stage, inbox):
        inbox.on_inbound(
            [
                deliver(number(1), b"stat:DELIVRD but no id", esm_class=0x04),
                Inbound(2, 1, Quarantined(2, b"", "short_message: too long", Command.DELIVER_SM)),
                deliver(number(1), b"\x05\x00\x03", esm_class=0x40),
                deliver(number(1), b"id:" + b"9" * 250 + b" stat:DELIVRD", esm_class=0x04),
                said(number(1), "x\0y"),
            ]
        )

    assert session(field, scene) == [(0, 5)]
    assert [row[0] for row in field.sql("SELECT stat FROM receipt ORDER BY id")] == ["UNPARSED", "DELIVERED"]
    assert field.sql("SELECT max(length(smsc_id)) FROM receipt")[0][0] == 80
    assert [row[0] for row in field.sql("SELECT kind FROM reply ORDER BY id")] == ["unreadable", "other", "other"]
    assert field.vault.open_text(field.sql("SELECT content FROM reply ORDER BY id DESC LIMIT 1")[0][0]) == "xy"


def test_replies_of_every_kind_are_kept_and_only_refusals_refuse(field):
    field.warn(6)
    words = ["TC", "Từ chối", "DK", "V 0961000009 lua dao", "Tôi bị lừa, gọi lại cho tôi"]

    async def scene(stage, inbox):
        inbox.on_inbound([said(number(at), word) for at, word in enumerate(words, 1)])

    session(field, scene)
    kinds = [row[0] for row in field.sql("SELECT kind FROM reply ORDER BY id")]
    assert kinds[:3] == ["refuse", "refuse", "accept"]
    assert "refuse" not in kinds[3:]
    assert {row[0] for row in field.sql("SELECT token FROM opt_out")} == {field.token(1), field.token(2)}
    assert field.refused == {field.token(1), field.token(2)}
    assert field.sql("SELECT evidence FROM refusal ORDER BY id")[0][0].startswith("viettel: ")


def test_the_last_word_of_a_batch_counts(field):
    field.warn(2)

    async def scene(stage, inbox):
        inbox.on_inbound([said(number(1), "DK"), said(number(1), "TC"), said(number(2), "TC"), said(number(2), "DK")])

    session(field, scene)
    assert {row[0] for row in field.sql("SELECT token FROM opt_out")} == {field.token(1)}
    assert field.refused == {field.token(1)}


def test_a_refusal_stops_a_message_that_is_leased_but_not_begun(field):
    field.warn(8)

    async def scene(stage, inbox):
        assert len(stage.link.log) == 4
        inbox.on_inbound([said(number(6), "TC")])
        stage.link.answer_all()  # in the same breath, before anything is stored
        await stage.answer_everything()

    session(field, scene)
    assert 6 not in {at for at, _, _ in field.link.written()}
    assert field.states()[6] is State.SUPPRESSED


def test_the_log_of_all_this_names_nobody(field, capfd):
    field.warn(1)

    async def scene(stage, inbox):
        inbox.on_inbound([deliver(number(1), b"no id here", esm_class=0x04), said(number(1), "TC 84961000000")])

    session(field, scene)
    out, err = capfd.readouterr()
    assert "961000000" not in out + err
