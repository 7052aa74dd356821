"""Faults of docs/delivery.md that are about rates and waits, with the waits as they ship, on a virtual clock.

`make test` runs a dose of the two storms, `make prove` the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
import os
import random
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from broadcaster.files.settings import Alarms as Where
from broadcaster.link.backoff import Backoff
from broadcaster.link.client import LinkState
from broadcaster.link.ledger import Ledger
from broadcaster.link.script import SpanMs
from broadcaster.link.simulator import Simulator
from broadcaster.model import Endpoint, Environment, State
from broadcaster.service.alarms import Alarms
from broadcaster.smpp import Command, DeliverSm, SubmitSmResp, UnbindResp, encode

sys.path.append(str(Path(__file__).parents[1] / "sim"))

import inline_writer
from inline_writer import InlineWriter
from virtual_loop import VirtualClock, VirtualLoop, virtual_time
from virtual_net import Network, Weather

WHOLE = os.environ.get("BROADCASTER_PROVE") == "1"
BEGIN = dt.datetime(2026, 3, 12, 2, tzinfo=dt.UTC)
SHIPPED = Backoff()


class Here(InlineWriter):
    """The simulation's writer, which tells when something was committed."""

    def __init__(self, store, changed) -> None:
        super().__init__(store, random.Random(1))
        self._changed = changed

    def submit(self, work):
        future = super().submit(work)
        future.add_done_callback(lambda _done: self._changed.set())
        return future


@pytest.fixture
def timed(desk):
    """The desk, on a loop whose time jumps; with carriers, peers and clients there."""
    loop = VirtualLoop(BEGIN)
    loop.network = Network(loop, Weather(latency_ms=(0.2, 2.0), cut_share=0.0), random.Random(1))
    desk.now, desk.monotonic, desk.monotonic_ns = loop.wall, loop.time, lambda: loop.now_ns
    desk.make_writer = lambda changed: Here(desk.store, changed)
    desk.patience_s = 3_600.0

    @contextlib.asynccontextmanager
    async def carrier(card, mood, path):
        with Ledger(path) as ledger:
            simulator = Simulator(card, mood, ledger, loop.time)
            listener = loop.network.listen(simulator.connect, 0)
            tasks = [loop.create_task(simulator.keep_ledger()), loop.create_task(simulator.strike_by_clock())]
            yield dataclasses.replace(card, endpoint=Endpoint("127.0.0.1", listener.sockets[0].getsockname()[1]))
            tasks[1].cancel()
            listener.close()
            simulator.stop()
            await tasks[0]

    @contextlib.asynccontextmanager
    async def peer(behave, card):
        ended = []

        async def guarded(reader, writer):
            ended.append(writer)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await behave(reader, writer)
            writer.close()

        listener = await asyncio.start_server(guarded, "127.0.0.1", 0)
        yield dataclasses.replace(card, endpoint=Endpoint("127.0.0.1", listener.sockets[0].getsockname()[1]))
        listener.close()
        for writer in ended:
            writer.transport.abort()

    def run(scenario):
        with virtual_time(loop):
            loop.run_until_complete(scenario)
        assert loop.faults == []

    yield SimpleNamespace(desk=desk, loop=loop, carrier=carrier, peer=peer, run=run)
    loop.close()


def busiest_minute(moments):
    """How many of these moments lie within sixty seconds."""
    return max(sum(at <= other < at + 60 for other in moments) for at in moments)


WORDS = {
    "TC": "refuse",
    "STOP": "refuse",
    "TU CHOI": "refuse",
    "tc": "refuse",
    "Từ chối": "refuse",
    "TỪ CHỐI": "refuse",
    "Tin này có thật không?": "other",
    "Cam on": "other",
}


SECOND_PARTS = 100_000
"""What the sequence numbers of second parts begin after."""


def texted(number, word, at, rng):
    """A subscriber's message: in the default alphabet or UCS-2, now and then in two parts, the second one first or last."""
    spelt, coding = ("latin-1", 0) if word.isascii() and rng.random() < 0.5 else ("utf-16-be", 8)
    if rng.random() >= 0.2:
        return [encode(DeliverSm(number, "CANHBAO", word.encode(spelt), 1, 1, data_coding=coding), at)]
    cut = rng.randrange(1, len(word))
    parts = [
        (b"\5\0\3\7\2\1" + word[:cut].encode(spelt), at),
        (b"\5\0\3\7\2\2" + word[cut:].encode(spelt), at + SECOND_PARTS),
    ]
    rng.shuffle(parts)
    return [encode(DeliverSm(number, "CANHBAO", octets, 1, 1, esm_class=0x40, data_coding=coding), seq) for octets, seq in parts]


@pytest.mark.timeout(600)
def test_f15_a_refusal_is_in_force_within_two_seconds_in_a_storm_of_ten_thousand(timed, card, rig):
    """500 messages a second come while sending goes on; a refusal that has left the carrier stops what is sent 2 s later."""
    storm = 10_000 if WHOLE else 2_000
    people = rig.subscribers(storm)
    card = dataclasses.replace(card, tps=400, window=50)
    loop, desk, rng = timed.loop, timed.desk, random.Random(15)
    texters = [(number, rng.choice(list(WORDS))) for number in rng.sample(people, storm)]
    refused_s, sent_s, acknowledged, delivered = {}, {}, [], []

    async def text_back(writer):
        for at, (number, word) in enumerate(texters, 1):
            pdus = texted(str(number), word, at, rng)
            delivered.extend(pdus)
            writer.write(b"".join(pdus))
            if WORDS[word] == "refuse":
                refused_s[number] = loop.time()
            await asyncio.sleep(1 / 500)

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        storming = asyncio.create_task(text_back(writer))
        while True:
            command, status, sequence, body = await rig.read_pdu(reader)
            if command == Command.SUBMIT_SM:
                number = int(body[body.index(b"849") :].partition(b"\0")[0])
                assert number not in sent_s
                sent_s[number] = loop.time()
                writer.write(encode(SubmitSmResp(str(number)), sequence))
            elif command == Command.DELIVER_SM_RESP:
                acknowledged.append(status)
            elif command == Command.UNBIND:
                writer.write(encode(UnbindResp(), sequence))
                await storming

    async def scenario():
        job = desk.enlist(card, people)
        async with timed.peer(behave, card) as reachable, desk.working(reachable, jobs=[job]):
            await desk.until(
                lambda: (
                    len(acknowledged) == len(delivered)
                    and len(desk.replies()) == storm
                    and desk.count(State.ACCEPTED) + desk.count(State.SUPPRESSED) == storm
                )
            )

    timed.run(scenario())
    assert acknowledged == [0] * len(delivered)
    assert desk.refusing() == refused_s.keys()
    assert Counter(row.kind for row in desk.replies()) == Counter(WORDS[word] for _, word in texters)
    late = {number for number in sent_s.keys() & refused_s.keys() if sent_s[number] > refused_s[number] + 2.0}
    assert late == set()
    assert desk.count(State.SUPPRESSED) == len(refused_s.keys() - sent_s.keys()) > storm / 20


def flood(rig, loop, seconds, per_second, waits):
    """Be a carrier that sends so many receipts a second, and notes how long each waits for its acknowledgement."""
    pattern = encode(DeliverSm("84905000000", "CANHBAO", b"id:0000000000 stat:DELIVRD err:000 text:", 1, 1, esm_class=0x04), 1)
    place = pattern.index(b"id:") + 3
    written_s = {}

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)

        async def pour():
            for step in range(seconds * 100):
                pdus = []
                for at in range(per_second // 100):
                    sequence = step * per_second // 100 + at + 1
                    written_s[sequence] = loop.time()
                    pdus.append(
                        pattern[:12] + sequence.to_bytes(4, "big") + pattern[16:place] + b"%010d" % sequence + pattern[place + 10 :]
                    )
                writer.write(b"".join(pdus))
                await asyncio.sleep(0.01)

        pouring = asyncio.create_task(pour())
        while True:
            command, status, sequence, _ = await rig.read_pdu(reader)
            if command == Command.DELIVER_SM_RESP:
                assert status == 0
                waits.append(loop.time() - written_s.pop(sequence))
            elif command == Command.UNBIND:
                writer.write(encode(UnbindResp(), sequence))
                await pouring

    return behave


@pytest.mark.timeout(600)
def test_f16_five_thousand_receipts_a_second_for_a_minute_are_acknowledged_in_time(timed, card, rig):
    seconds = 60 if WHOLE else 6
    waits = []

    async def scenario():
        async with timed.peer(flood(rig, timed.loop, seconds, 5_000, waits), card) as reachable, timed.desk.working(reachable):
            await asyncio.sleep(seconds + 5)

    with structlog.testing.capture_logs() as logs:
        timed.run(scenario())
    assert len(waits) == 5_000 * seconds
    assert max(waits) < 1.0
    assert not [line for line in logs if line["event"] == "ack-late"]
    with timed.desk.store.read() as connection:
        kept = connection.exec_driver_sql("SELECT count(*), count(DISTINCT smsc_id) FROM receipt").one()
    assert tuple(kept) == (5_000 * seconds, 5_000 * seconds)


def test_f16_a_carrier_that_waits_more_than_a_second_raises_one_alarm(timed, card, rig, monkeypatch):
    """The disk takes three seconds for each commit, then it is well, then it is slow again: two events, and one call for both."""
    waits, told = [], []

    async def scenario():
        alarms = Alarms(Where(), Environment.REHEARSAL, VirtualClock(timed.loop))
        async with timed.peer(flood(rig, timed.loop, 20, 100, waits), card) as reachable, timed.desk.working(reachable):
            for commit_s in (0.2, 3.0, 0.2, 3.0, 0.2):
                monkeypatch.setattr(inline_writer, "COMMIT_S", (commit_s, commit_s))
                await asyncio.sleep(5)
        for line in logs:
            alarms.hear(line)
        await asyncio.sleep(0)
        told.append(alarms.raised)
        await alarms.close()

    with structlog.testing.capture_logs() as logs:
        timed.run(scenario())
    late = [line for line in logs if line["event"] == "ack-late"]
    assert [(line["carrier"], line["log_level"], line["seconds"]) for line in late] == [("thu", "error", 1.0)] * 2
    assert told == [1]
    assert len(waits) == 2_000


@pytest.mark.parametrize("pause_s", [0.0, 9.7])
def test_f20_an_octet_every_fifth_of_a_second_is_waited_for(timed, card, rig, pause_s):
    """Three receipts of 60 octets take 36 s, far more than a stalled PDU may; a pause within that time costs nothing either."""
    octets = b"".join(
        encode(DeliverSm("84905000000", "CANHBAO", b"id:%d stat:DELIVRD" % at, 1, 1, esm_class=0x04), at) for at in (1, 2, 3)
    )
    seen = []

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        for at, octet in enumerate(octets):
            writer.write(bytes((octet,)))
            await asyncio.sleep(0.2 if at != 30 else 0.2 + pause_s)
        await reader.read()

    async def scenario():
        async with (
            timed.peer(behave, dataclasses.replace(card, enquire_link_s=300.0)) as reachable,
            rig.sender(reachable, backoff=SHIPPED, clock=timed.loop.time) as sender,
        ):
            await asyncio.sleep(60)
            seen.extend(inbound.body.short_message for inbound in sender.inbound)
            assert sender.count(LinkState.LOST) == 0

    timed.run(scenario())
    assert seen == [b"id:%d stat:DELIVRD" % at for at in (1, 2, 3)]


def test_f22_after_a_wrong_length_the_link_is_back_within_five_seconds(timed, card, rig):
    """With the waits as they ship, a link that lived before it broke is dialled again within 5 s, every one of thirty times."""
    lengths = [*range(16), 65_537, 1 << 20, 1 << 24, 1 << 28, 1 << 30, 0x7FFF_FFFF, 1 << 31, 0xFFFF_FFFF, 0x4854_5450, 0x4745_5420,
               0x1603_0100, 0x5353_482D, 0x3030_3030, 70_000]  # fmt: skip
    assert len(lengths) == 30
    left, loop = iter(lengths), timed.loop
    bound_s, broken_s = [], []

    async def behave(reader, writer):
        await rig.accept_bind(reader, writer)
        bound_s.append(loop.time())
        await asyncio.sleep(61)
        broken_s.append(loop.time())
        writer.write(next(left, 0).to_bytes(4, "big") + bytes(60))
        await reader.read()

    async def scenario():
        quiet = dataclasses.replace(card, enquire_link_s=300.0)
        async with (
            timed.peer(behave, quiet) as reachable,
            rig.sender(reachable, backoff=SHIPPED, clock=loop.time),
        ):
            await asyncio.sleep(31 * 67)

    timed.run(scenario())
    waits = [again - broken for broken, again in zip(broken_s, bound_s[1:], strict=False)]
    assert len(waits) >= 30
    assert max(waits) <= 5.0


@pytest.mark.parametrize("status", [0x05, 0x08, 0x0D, 0x0400, 0x0E, 0x0F, 0x53])
def test_f30_a_carrier_that_refuses_us_for_half_an_hour_is_never_hammered(timed, card, rig, tmp_path, status):
    """Wrong credentials are tried exactly twice; whatever else it says, at most twelve times in any minute."""
    loop, dialled_s = timed.loop, []

    async def scenario():
        mood = rig.mood(rig.fault("bind_error", status=status))
        async with (
            timed.carrier(card, mood, tmp_path / "so.jsonl") as reachable,
            rig.sender(reachable, backoff=SHIPPED, clock=loop.time) as sender,
        ):
            sender.client._on_state = lambda state, _reason: dialled_s.append(loop.time()) if state is LinkState.CONNECTING else None
            await asyncio.sleep(1_800)

    timed.run(scenario())
    assert busiest_minute(dialled_s) <= 12
    if status in {0x0E, 0x0F, 0x53}:
        assert len(dialled_s) == 2
    elif status == 0x05:
        assert [round(later - sooner) for sooner, later in itertools.pairwise(dialled_s)][:4] == [30, 60, 120, 120]
    else:
        assert len(dialled_s) > 20


@pytest.mark.parametrize("busy", [False, True])
def test_f32_a_lost_path_is_noticed_within_a_minute(timed, card, rig, tmp_path, busy):
    """With the timers as they ship; nothing arrives any more in either direction, and nobody says so."""
    loop, seen_s = timed.loop, []

    async def scenario():
        async with (
            timed.carrier(card, rig.calm, tmp_path / "so.jsonl") as reachable,
            rig.sender(reachable, backoff=SHIPPED, clock=loop.time) as sender,
        ):
            await asyncio.sleep(100)
            assert sender.client.bound
            lost_s = loop.time()
            loop.network.sides[-1].lose_path()
            sender.client._on_state = lambda state, _reason: seen_s.append(loop.time() - lost_s) if state is LinkState.LOST else None
            for number in rig.numbers(40 if busy else 0):
                sender.submit([number])
                await asyncio.sleep(1)
            await asyncio.sleep(60)

    timed.run(scenario())
    assert seen_s
    assert 1 < seen_s[0] <= 60


def test_f33_a_carrier_that_takes_half_a_minute_gets_its_window_every_half_minute(timed, card, rig, tmp_path):
    """Throughput is window over latency: 100 messages at W = 10 and 30 s take 300 s, and none is given up."""
    loop, desk = timed.loop, timed.desk
    slow = dataclasses.replace(card, window=10, response_timeout_s=60.0)
    took_s = []

    async def scenario():
        mood = rig.mood(response_delay_ms=SpanMs(30_000, 30_000))
        job = desk.enlist(slow, rig.subscribers(100))
        async with timed.carrier(slow, mood, tmp_path / "so.jsonl") as reachable, desk.working(reachable, jobs=[job]):
            began_s = loop.time()
            await desk.until(lambda: len(desk.submissions()) == 100)
            took_s.append(loop.time() - began_s)
            await desk.until(lambda: desk.count(State.DELIVERED) == 100)

    timed.run(scenario())
    assert 300 <= took_s[0] < 310
    assert desk.count(State.UNCERTAIN) == 0
