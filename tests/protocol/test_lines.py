"""One carrier's whole line, several binds over real sockets: shared rate, receipts on any bind, a store that fails."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter

import pytest
from structlog.testing import capture_logs

from broadcaster.errors import StoreError
from broadcaster.flow.account import Account
from broadcaster.lang import Said
from broadcaster.link.backoff import Backoff, Pace
from broadcaster.link.client import LinkState
from broadcaster.model import State
from broadcaster.service.line import Line
from broadcaster.smpp import Command, DeliverSm, EnquireLink, encode
from broadcaster.store.links import LinkRow, binds, links, put_links
from broadcaster.store.writer import Writer

RECEIPT = encode(DeliverSm("84905000000", "CANHBAO", b"id:1 stat:DELIVRD", 1, 1, esm_class=0x04), 9)


@pytest.fixture
def opened(desk, monkeypatch):
    """Make a line for a card at the desk, its binds connecting without a pause."""
    monkeypatch.setattr("broadcaster.service.line.Pace", lambda _spacing_s: Pace(0.01))

    def make(card):
        desk.writer = Writer(desk.store)
        account = Account(card, writer=desk.writer, gate=desk._gate, refused=desk.refused, clock=desk)
        return Line(account, desk.vault)

    return make


async def until(rig, condition):
    async with asyncio.timeout(rig.patience_s):
        while not condition():  # noqa: ASYNC110 - the store gives no event
            await asyncio.sleep(0.01)


async def close(desk, line, running):
    await line.finish(5.0)
    await line.unbind()
    await asyncio.gather(*running)
    await line.settle()
    await desk.writer.close()


def test_three_binds_send_one_campaign_and_take_receipts_on_any(desk, card, rig, tmp_path, opened):
    """F04, F64: every part once, whole messages on one session, all receipts matched wherever they come."""
    card = dataclasses.replace(card, binds=3, window=10, tps=2000)
    people = rig.subscribers(300)
    job = desk.enlist(card, people, "Canh bao lua dao " * 20)

    async def scenario():
        mood = rig.mood(rig.fault("dlr_other_bind", share=0.5))
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier:
            line = opened(carrier.card)
            running = line.start()
            await until(rig, lambda: all(bind.client.bound for bind in line.binds))
            line.account.assign({job.lane_id: job})
            await until(rig, lambda: desk.count(State.DELIVERED) == 300)
            rows = line.rows()
            await close(desk, line, running)
        return carrier, rows

    carrier, rows = asyncio.run(scenario())
    submits = rig.rows(carrier.ledger, "submit")
    assert job.parts == 3
    assert Counter(Counter(row.dst for row in submits).values()) == {3: 300}
    by_number = {}
    for row in submits:
        by_number.setdefault(row.dst, []).append((row.session, row.part))
    assert all(
        len({session for session, _ in parts}) == 1 and [part for _, part in parts] == [1, 2, 3] for parts in by_number.values()
    )
    assert len({row.session for row in submits}) == 3
    assert desk.orphans() == 0
    assert [(row.bind, row.state, row.endpoint) for row in rows] == [
        (number, "bound", str(carrier.card.endpoint)) for number in (1, 2, 3)
    ]


@pytest.mark.parametrize(("pause_s", "first"), [(3600.0, Command.ENQUIRE_LINK_RESP), (0.0, Command.DELIVER_SM_RESP)])
def test_a_carrier_waits_for_the_answer_of_a_store_that_fails(desk, card, rig, opened, monkeypatch, pause_s, first):
    """0x64 makes the carrier deliver the same again: at once, it would do so as fast as it can. Others are answered meanwhile."""
    monkeypatch.setattr("broadcaster.service.line.REFUSE_AFTER_S", pause_s)
    heard = rig.heard()

    def write():
        raise StoreError(Said("đầy đĩa", "disk full"))

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        monkeypatch.setattr(desk.store, "write", write)
        writer.write(RECEIPT)
        await until(rig, lambda: [line for line in lines if line["event"] == "receipts-not-stored"])
        # The answer to a failed store, when it is not held back, leaves in the loop's next turn: ahead of what is read after it.
        await asyncio.sleep(0)
        writer.write(encode(EnquireLink(), 10))
        heard.note(*(await rig.read_pdu(reader))[:3])
        await reader.read()

    async def scenario():
        async with rig.peer(behave, card) as reachable:
            line = opened(reachable)
            running = line.start()
            await heard.until(lambda: heard)
            monkeypatch.undo()
            for bind in line.binds:
                bind.client.drop(Said("xong", "done"))
            await close(desk, line, running)

    with capture_logs() as lines:
        asyncio.run(scenario())
    assert heard == [{Command.ENQUIRE_LINK_RESP: (first, 0, 10), Command.DELIVER_SM_RESP: (first, 0x64, 9)}[first]]


@pytest.mark.parametrize("refused", [True, False])
def test_f30_people_are_told_once_a_bind_is_given_up_and_not_of_a_stop(desk, card, rig, tmp_path, opened, refused):
    mood = rig.mood(rig.fault("bind_error", status=0x0E)) if refused else rig.mood()

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier:
            line = opened(carrier.card)
            line.binds[0].client._backoff = Backoff(spacing_s=0.01)
            running = line.start()
            state = LinkState.STOPPED if refused else LinkState.BOUND
            await until(rig, lambda: line.binds[0].standing.state is state)
            await asyncio.sleep(0)
            await close(desk, line, running)

    with capture_logs() as lines:
        asyncio.run(scenario())
    told = [line for line in lines if line["event"] == "bind-given-up"]
    assert len(told) == refused
    assert all("RINVPASWD" in line["reason"] for line in told)


def test_a_card_with_fewer_binds_forgets_the_others(desk, card):
    rows = [LinkRow("thu", state, "", 1, 2, 1.5, 4, number, "mot:1") for number, state in enumerate(("lost", "bound", "lost"), 1)]
    with desk.store.write() as connection:
        put_links(connection, rows)
        assert binds(connection) == rows
        assert links(connection) == {"thu": LinkRow("thu", "bound", "", 1, 2, 4.5, 12, 2, "mot:1")}
        put_links(connection, rows[:1])
        assert binds(connection) == rows[:1]
