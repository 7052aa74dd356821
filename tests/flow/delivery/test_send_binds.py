"""Several binds of one account: one rate, one set of terms and quotas; whole messages on one bind; what one loses another sends."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from broadcaster.flow.account import Account
from broadcaster.flow.send import Sender
from broadcaster.flow.underway import Job
from broadcaster.model import DailyWindow, State
from broadcaster.store import messages, usage

THROTTLED, QUEUE_FULL, BAD_NUMBER, BAD_SCHEDULE, SYSTEM_ERROR = 0x58, 0x14, 0x0B, 0x61, 0x08
LONG = "CANH BAO LUA DAO " * 26  # three parts
SECOND_NS = 1_000_000_000


class Binds:
    """An account with so many scripted links, past the hold at its start."""

    def __init__(self, field, stage, count):
        self.field, self.stage = field, stage
        used = usage.Usage("", 0, 0)
        with field.store.read() as connection:
            used = usage.used(connection, field.card.code, field.clock.now())
        self.account = Account(
            field.card, writer=stage.writer, gate=field.gate(), refused=field.refused, clock=field.clock, used=used
        )
        self.links = [type(field.link)(field.card.window, field.clock) for _ in range(count)]
        self.senders = [Sender(self.account, link) for link in self.links]
        for link, sender in zip(self.links, self.senders, strict=True):
            link.sender = sender

    async def calm(self):
        for _ in range(500):
            await self.stage.writer.submit(messages.fold_all)
            await asyncio.sleep(0)
            if not any(sender._leasing or sender._outcomes.busy for sender in self.senders):
                return
        pytest.fail("the senders never came to rest")

    async def wait_s(self, seconds):
        self.field.clock.pass_s(seconds)
        self.account.pump()
        await self.calm()

    async def answer_everything(self, status=0):
        while any(link.flights for link in self.links):
            for link in self.links:
                link.answer_all(status)
            await self.calm()

    def log(self):
        """(moment, bind, position, part) of everything written, in order."""
        rows = [
            (at, bind, message_id & 0xFFFFFFFF, part) for bind, link in enumerate(self.links) for at, message_id, part, _ in link.log
        ]
        return sorted(rows, key=lambda row: row[0])


def play(field, scene, count=3, *, jobs=None):
    """Run a scene with an account of `count` binds that has the campaign's lane."""
    job = field.job
    field.job = dict
    found = []

    async def run(stage):
        binds = Binds(field, stage, count)
        found.append(binds)
        field.clock.pass_s(1.1)
        binds.account.assign(job() if jobs is None else jobs)
        await binds.calm()
        await scene(binds)
        for link in binds.links:
            link.lose()
        for sender in binds.senders:
            await sender.stop()
        binds.account.end()

    try:
        field.play(run)
    finally:
        field.job = job
    return found[0]


def test_the_contract_is_the_accounts_and_not_the_binds(field):
    """No second holds more than the card allows over all binds; nearly all of it is used; and every bind has its share."""
    field.warn(500, card={"tps": 100, "window": 20})

    async def scene(binds):
        for _ in range(220):
            for link in binds.links:
                if link.flights:
                    link.answer_all()
            await binds.wait_s(0.01)

    moments = [row[0] for row in play(field, scene).log()]
    for at in range(len(moments) - 100):
        assert moments[at + 100] - moments[at] >= SECOND_NS
    assert len(moments) >= 0.97 * 100 * 2


def test_no_bind_takes_every_permit(field):
    field.warn(400, card={"tps": 20, "window": 20})

    async def scene(binds):
        for _ in range(600):
            for link in binds.links:
                if link.flights:
                    link.answer_all()
            await binds.wait_s(0.01)

    shares = Counter(bind for _, bind, _, _ in play(field, scene).log())
    assert min(shares[bind] for bind in range(3)) >= 20


def test_throttling_on_one_bind_stops_them_all(field):
    field.warn(60, card={"window": 5})

    async def scene(binds):
        binds.links[0].answer(THROTTLED)
        before = len(binds.log())
        for link in binds.links[1:]:
            link.answer_all()
        await binds.calm()
        assert len(binds.log()) == before
        await binds.wait_s(1.0)
        assert len(binds.log()) > before

    play(field, scene)


def test_all_parts_of_a_message_go_over_one_bind_one_after_the_other(field):
    """F64: other binds never come between, and nobody gets anything twice."""
    field.warn(40, text_of_body=LONG, card={"window": 4})
    binds = play(field, lambda binds: binds.answer_everything())
    for link in binds.links:
        written = [(message_id, part) for _, message_id, part, _ in link.log]
        assert [part for _, part in written] == [1, 2, 3] * (len(written) // 3)
        assert all(written[at][0] == written[at + 1][0] == written[at + 2][0] for at in range(0, len(written), 3))
    assert Counter((at, part) for _, _, at, part in binds.log()) == {(at, part): 1 for at in range(1, 41) for part in (1, 2, 3)}


def test_what_a_lost_bind_had_not_begun_another_sends_at_once(field):
    field.warn(30, card={"window": 5})

    async def scene(binds):
        lost = {message_id & 0xFFFFFFFF for _, message_id, _, _ in binds.links[0].log}
        assert len(lost) == 5
        assert binds.senders[0].backlog == 10
        binds.links[0].lose()
        await binds.calm()
        assert binds.senders[0].backlog == 0
        for link in binds.links[1:]:
            link.answer_all()
        await binds.calm()
        await binds.wait_s(1.0)
        await binds.answer_everything()
        assert Counter(field.states().values()) == {State.UNCERTAIN: 5, State.ACCEPTED: 25}

    play(field, scene)
    assert field.open_leases() == 0


def test_each_bind_holds_two_windows_at_most(field):
    field.warn(100, card={"window": 5})

    async def scene(binds):
        for _ in range(5):
            assert all(sender.backlog <= 10 for sender in binds.senders)
            assert binds.account.backlog <= 30
            for link in binds.links:
                link.answer(0, 0)
            await binds.calm()

    play(field, scene)


def test_one_code_over_all_binds_stops_the_carrier(field):
    field.warn(200, card={"window": 4})

    async def scene(binds):
        for link in binds.links:
            link.answer_all(BAD_NUMBER)
            await binds.calm()
        await binds.wait_s(60)

    binds = play(field, scene)
    assert len(binds.log()) <= 3 * 4 + 8
    assert field.audited("carrier-halt") == 1
    assert "RINVDSTADR" in field.sql("SELECT halted FROM lane")[0][0]


def test_a_fault_of_our_card_stops_the_carrier_at_its_first_answer(field):
    """F54: the row is not burnt, even on a card that allows no second try."""
    field.warn(50, card={"window": 4, "retry_after_s": ()})

    async def scene(binds):
        binds.links[0].answer(BAD_SCHEDULE)
        await binds.answer_everything()
        await binds.wait_s(60)

    play(field, scene, count=1)
    assert field.audited("carrier-halt") == 1
    assert Counter(field.states().values())[State.ACCEPTED] == 3
    assert State.REFUSED not in field.states().values()


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop that leaps to its next timer instead of waiting for it, and moves the field's clock along."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock
        self._began_ns = clock.ns
        wait = self._selector.select

        def select(timeout=None):
            ready = wait(0)
            if not ready and timeout:
                clock.pass_s(timeout + 1e-6)  # past it, whatever is rounded
            return ready

        self._selector.select = select

    def time(self):
        return (self._clock.ns - self._began_ns) / SECOND_NS


class InlineWriter:
    """A writer that commits at once, on the loop's own thread."""

    def __init__(self, store):
        self._store = store

    def submit(self, work):
        done = asyncio.get_running_loop().create_future()
        with self._store.write() as connection:
            done.set_result(work(connection))
        return done


@pytest.mark.parametrize("count", [1, 3])
def test_a_busy_minute_uses_the_contract_and_no_second_exceeds_it(field, count):
    """With its own timers, on a clock that leaps: a carrier that answers after 50 ms, and work without end."""
    tps = 10
    field.warn(70 * tps, card={"tps": tps, "window": 10})

    async def scene():
        binds = Binds(field, SimpleNamespace(writer=InlineWriter(field.store)), count)
        loop = asyncio.get_running_loop()
        for link in binds.links:
            link.flush = lambda link=link: loop.call_later(0.05, lambda: link.flights and link.answer_all())
        binds.account.assign(field.job())
        await asyncio.sleep(64)
        return binds.log()

    with asyncio.Runner(loop_factory=lambda: LeapingLoop(field.clock)) as runner:
        moments = [row[0] for row in runner.run(scene())]
    assert all(moments[at + tps] - moments[at] >= SECOND_NS for at in range(len(moments) - tps))
    minute = [at for at in moments if at < moments[0] + 60 * SECOND_NS]
    assert len(minute) >= 0.97 * 60 * tps


# Priority


def test_an_urgent_campaign_goes_first_and_takes_the_place_of_what_is_leased(field):
    field.warn(40, card={"tps": 10, "window": 10})
    lane_id = field.lane.id

    async def scene(binds):
        await binds.wait_s(0.2)
        begun = {at for _, _, at, _ in binds.log()}
        assert begun
        assert binds.account.backlog > len(begun)
        job = binds.account._jobs[lane_id]
        # The same lane under another number, as an urgent campaign's would be: there is nothing to lease for it.
        binds.account.assign({lane_id: job, lane_id + 1: Job(lane_id + 1, "khan", 1, None, urgent=True)})
        await binds.calm()
        assert binds.account.next_job(field.clock.ns).lane_id == lane_id
        for link in binds.links:
            link.answer_all()
        await binds.calm()

    with capture_logs() as lines:
        binds = play(field, scene, count=1)
    assert field.sql("SELECT count(*) FROM submission WHERE reason = 'released'")[0][0] > 0
    # It was asked for first.
    assert [line["campaign"] for line in lines if line["event"] == "lease-failed"][:1] == ["khan"]
    assert binds.log()


def test_urgent_lanes_come_before_older_ones(field):
    field.warn(1)

    async def scene(binds):
        account = binds.account
        jobs = [Job(1, "a", 1, None, urgent=False), Job(2, "b", 1, None, urgent=True), Job(3, "c", 1, None, urgent=True)]
        account._jobs = {job.lane_id: job for job in jobs}
        order = []
        while (job := account.next_job(field.clock.ns)) is not None:
            order.append(job.campaign)
            account.sleep(job, 1.0)
        assert order == ["b", "c", "a"]
        account._jobs = {}

    play(field, scene, count=1, jobs={})


# Terms


def test_nothing_is_written_in_closed_hours_and_what_was_begun_is_finished_after(field):
    """Ten in the morning in Vietnam; the carrier closes for twenty minutes at five past, in the middle of a message."""
    field.warn(20, text_of_body=LONG, card={"tps": 1, "window": 3, "closed": (DailyWindow(dt.time(10, 5), dt.time(10, 25)),)})
    closes_ns = field.clock.ns + 300 * SECOND_NS

    async def scene(binds):
        for step_s in (*[1.0] * 30, *[60.0] * 19, *[1.0] * 60):
            for link in binds.links:
                if link.flights:
                    link.answer_all()
            await binds.wait_s(step_s)
            if field.clock.ns > closes_ns + 2 * SECOND_NS and step_s > 1:
                assert field.leased_open() <= 1

    field.clock.pass_s(290)
    log = play(field, scene, count=1).log()
    before = [row for row in log if row[0] < closes_ns]
    after = [row for row in log if row[0] >= closes_ns + 1200 * SECOND_NS]
    assert before
    assert after
    assert len(before) + len(after) == len(log)
    assert before[-1][3] < 3  # cut off within a message
    assert Counter((at, part) for _, _, at, part in log) == {(at, part): 1 for _, _, at, part in log}
    assert before[-1][2] in {at for _, _, at, _ in after}


def test_the_rate_of_the_hour_holds(field):
    night = DailyWindow(dt.time(10, 1), dt.time(11))
    field.warn(300, card={"tps": 50, "window": 50, "hourly_tps": ((night, 5),)})

    async def scene(binds):
        for _ in range(350):
            for link in binds.links:
                if link.flights:
                    link.answer_all()
            await binds.wait_s(0.02)
        assert binds.account.limit_tps == 5

    field.clock.pass_s(55.9)
    moments = [row[0] for row in play(field, scene, count=2).log()]
    late = [at for at in moments if at > moments[-1] - 2 * SECOND_NS]
    assert len(late) <= 5 * 2
    assert len(moments) > 100


@pytest.mark.parametrize("quota", ["parts_per_day", "parts_per_month"])
def test_a_quota_stops_the_account_with_whole_messages_and_survives_a_restart(field, quota):
    field.warn(20, text_of_body=LONG, card={"window": 6, quota: 16}, deadline_h=48)

    async def scene(binds):
        await binds.answer_everything()
        await binds.wait_s(5)
        await binds.answer_everything()

    with capture_logs() as lines:
        first = play(field, scene, count=2)
    # Five whole messages; a sixth would break off after its first part.
    assert Counter(at for _, _, at, _ in first.log()) == dict.fromkeys(range(1, 6), 3)
    assert field.sql("SELECT carrier, parts FROM usage") == [("viettel", 15)]
    assert not [line for line in lines if line["event"] == "fault"]
    second = play(field, scene, count=2)
    assert second.log() == []
    field.clock.pass_s(86_400)
    third = play(field, scene, count=2)
    assert len(third.log()) == (15 if quota == "parts_per_day" else 0)


def test_a_bind_in_trouble_rests_while_the_other_goes_on(field):
    """F52: it writes nothing for the card's wait, gives back what it had not begun, and rests for longer when nothing was taken."""
    bearing = dict.fromkeys(("refused_first_percent", "refused_recent_percent"), 100)
    field.warn(400, card={"window": 4, "retry_after_s": (30, 120), "temporary_recent_percent": 20, **bearing})

    async def scene(binds):
        bad, good = binds.links
        while len(bad.log) < 40:
            bad.answer_all(SYSTEM_ERROR)
            good.answer_all()
            await binds.calm()
        bad.answer_all(SYSTEM_ERROR)
        await binds.calm()
        assert 40 <= len(bad.log) <= 44
        rested, went_on = len(bad.log), len(good.log)
        for _ in range(5):
            good.answer_all()
            await binds.wait_s(5.9)
        assert len(bad.log) == rested
        assert not bad.flights
        assert len(good.log) > went_on
        for _ in range(15):
            await binds.wait_s(0.5)
            bad.answer_all(SYSTEM_ERROR)
            await binds.calm()
        assert len(bad.log) > rested

    with capture_logs() as lines:
        play(field, scene, count=2)
    assert next(line["seconds"] for line in lines if line["event"] == "bind-rests") == 30
    assert not [line for line in lines if line["event"] in {"fault", "carrier-halted"}]


@pytest.mark.parametrize("accepted", [True, False])
def test_a_lease_across_midnight_never_gives_more_than_a_days_quota(field, accepted):
    """Ten parts are under way when the day ends: what becomes of them counts on the new day, and gives nothing back to it."""
    field.clock.wall = dt.datetime(2026, 11, 30, 16, 59, 50, tzinfo=dt.UTC)
    bearing = dict.fromkeys(("refused_first_percent", "refused_recent_percent", "invalid_recent_percent"), 100)
    field.warn(40, card={"window": 10, "parts_per_day": 12, **bearing}, deadline_h=48)

    async def scene(binds):
        link = binds.links[0]
        assert len(link.flights) == 10
        await binds.wait_s(15)
        midnight = len(link.log)
        link.answer(*[0 if accepted else BAD_NUMBER for _ in range(9)])
        await binds.calm()
        await binds.wait_s(1.1)
        link.answer_all()
        for _ in range(6):
            await binds.answer_everything()
            await binds.wait_s(1.1)
        assert midnight == 10
        assert len(link.log) <= midnight + 12

    play(field, scene, count=1)
    days = dict(field.sql("SELECT day, parts FROM usage"))
    assert days["2026-11-30"] <= 12
    assert days.get("2026-12-01", 0) <= 12
    assert accepted or days["2026-12-01"] >= 11


def test_a_quota_with_less_left_than_a_message_takes_is_told(field):
    field.warn(20, text_of_body=LONG, card={"window": 6, "parts_per_day": 8}, deadline_h=48)

    async def scene(binds):
        await binds.answer_everything()
        await binds.wait_s(1.1)

    with capture_logs() as lines:
        play(field, scene, count=1)
    assert [line["event"] for line in lines].count("quota-used") == 1
    assert field.sql("SELECT parts FROM usage") == [(6,)]


def test_another_day_and_another_month_begin_at_nothing():
    last = usage.Usage("2026-11-29", 5, 9)
    assert last.on("2026-11-29") == last
    assert last.on("2026-11-30") == ("2026-11-30", 0, 9)
    assert last.on("2026-12-01") == ("2026-12-01", 0, 0)
    assert last.plus(2) == ("2026-11-29", 7, 11)


def test_what_was_refused_costs_no_quota(field):
    field.warn(30, card={"window": 5, "parts_per_day": 10, "refused_first_percent": 100})

    async def scene(binds):
        for _ in range(4):
            if binds.links[0].flights:
                binds.links[0].answer(BAD_NUMBER, *[0] * (len(binds.links[0].flights) - 1))
            await binds.calm()
            await binds.wait_s(1.1)
        await binds.answer_everything()
        await binds.wait_s(1.1)
        await binds.answer_everything()

    play(field, scene, count=1)
    assert Counter(field.states().values())[State.ACCEPTED] == 10
    assert field.sql("SELECT parts FROM usage") == [(10,)]


def test_a_crash_counts_what_was_perhaps_sent(field):
    field.warn(10, card={"window": 5, "parts_per_day": 100})

    async def scene(stage):
        assert len(stage.link.log) == 5

    field.play(scene)  # the process ends with everything open
    now_ms = 1_000 * int(field.clock.now().timestamp())
    with field.store.write() as connection:
        while messages.recover(connection, 2, now_ms, 1000):
            pass
        (uncertain,) = connection.exec_driver_sql("SELECT count(*) FROM submission WHERE state = 20").one()
        assert usage.used(connection, "viettel", field.clock.now()).today_parts == uncertain >= 5


def test_a_withdrawal_takes_a_permit_on_a_bind_that_is_up(field):
    field.warn(1, card={"tps": 1, "window": 4})
    asked = []

    async def scene(binds):
        async def request_cancel(*names):
            asked.append((field.clock.ns, *names))
            return 0x11

        binds.links[0].bound = False
        binds.links[1].request_cancel = request_cancel
        written_ns = binds.log()[0][0]
        waiting = asyncio.create_task(binds.account.cancel("1d", "CANHBAO", "84905000000"))
        for _ in range(200):
            await asyncio.sleep(0.001)
            field.clock.pass_s(0.01)
        assert await waiting == 0x11
        assert asked == [(asked[0][0], "1d", "CANHBAO", "84905000000")]
        assert asked[0][0] >= written_ns + SECOND_NS
        binds.links[1].bound = False
        assert await binds.account.cancel("1d", "CANHBAO", "84905000000") is None

    play(field, scene, count=2)


# References and late answers


def test_every_part_carries_its_references_where_the_card_allows(field):
    field.warn(5, text_of_body=LONG, card={"window": 15, "user_message_reference": True})
    binds = play(field, lambda binds: binds.answer_everything(), count=1)
    (link,) = binds.links
    numbers = [reference for reference, _ in link.references]
    assert numbers == [(message_id + part) % 65536 for _, message_id, part, _ in link.log]
    ties = {message_id: tie for (_, message_id, _, _), (_, tie) in zip(link.log, link.references, strict=True)}
    assert len(set(ties.values())) == 5
    assert all(ties[message_id] == tie for (_, message_id, _, _), (_, tie) in zip(link.log, link.references, strict=True))


def test_a_card_that_knows_no_reference_gets_none(field):
    field.warn(2)
    binds = play(field, lambda binds: binds.answer_everything(), count=1)
    assert binds.links[0].references == [(None, None)] * 2


@pytest.mark.parametrize(("status", "state"), [(0, State.ACCEPTED), (0x08, State.REFUSED), (BAD_NUMBER, State.REFUSED)])
def test_a_late_answer_settles_what_was_uncertain(field, status, state):
    """F39: what was reported as unanswered is known after all, once."""
    field.warn(3)

    async def scene(binds):
        link, sender = binds.links[0], binds.senders[0]
        silent = link.flights.popleft()
        sender.on_unanswered([silent], "no answer")
        await binds.calm()
        assert field.states()[1] is State.UNCERTAIN
        for _ in range(2):
            sender.on_late([(silent, status, "muon" if status == 0 else None)])
            await binds.calm()
        await binds.answer_everything()

    play(field, scene, count=1)
    assert field.states() == {1: state, 2: State.ACCEPTED, 3: State.ACCEPTED}
    assert field.sql("SELECT resolved, smsc_id, status FROM submission WHERE message_id & 65535 = 1") == [
        ("late answer", "muon" if status == 0 else None, status)
    ]
    assert len(field.sql("SELECT message_id FROM submission")) == 3


def test_full_queues_everywhere_slow_the_account_and_cost_no_try(field):
    """F51: above the card's share of the last hundred the whole gateway is full."""
    field.warn(60, card={"tps": 1000, "window": 60, "retry_after_s": (2,)})

    async def scene(binds):
        for _ in range(10):
            await binds.wait_s(0.05)
        binds.links[0].answer_all(QUEUE_FULL)
        await binds.calm()
        assert binds.account.limiter.rate_tps(field.clock.ns) == pytest.approx(490)
        for _ in range(20):
            await binds.wait_s(0.5)
            await binds.answer_everything()

    play(field, scene, count=1)
    assert set(field.states().values()) == {State.ACCEPTED}
    assert field.audited("carrier-halt") == 0
