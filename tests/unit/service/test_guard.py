"""What must not be sent is withheld: on an older database, by a clock that was set, on a look that is out of date."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from broadcaster.errors import StoreError
from broadcaster.files import settings
from broadcaster.flow.underway import Job
from broadcaster.model import CampaignState, CarrierCard, CarrierCode, Environment, State
from broadcaster.service import guard as module
from broadcaster.service.alarms import Alarms
from broadcaster.service.guard import Guard
from broadcaster.service.metrics import BindReading
from broadcaster.store.campaigns import change_campaign, insert_campaign, insert_lane, next_epoch
from broadcaster.store.engine import Store
from broadcaster.store.schema import tally
from broadcaster.store.sidecar import read_mark
from broadcaster.store.writer import Writer

URGENT = Job(1, "khan", 1, None, urgent=True)
ORDINARY = Job(2, "thuong", 1, None, urgent=False)
VIETTEL = CarrierCode("viettel")


class Clock:
    """A wall clock and a running one that move when told."""

    def __init__(self, now: dt.datetime) -> None:
        self.wall = now
        self.ns = 500_000_000_000

    def now(self) -> dt.datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.ns / 1e9

    def monotonic_ns(self) -> int:
        return self.ns

    def pass_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)
        self.wall += dt.timedelta(seconds=seconds)

    def set_by_s(self, seconds: float) -> None:
        self.wall += dt.timedelta(seconds=seconds)


class Account:
    """Remembers what it was last told to send, and what was taken back."""

    def __init__(self, card: CarrierCard) -> None:
        self.card = card
        self.jobs: dict[int, Job] = {}
        self.told: list[str] = []

    def assign(self, jobs: Mapping[int, Job]) -> None:
        self.jobs = dict(jobs)

    def give_back(self, lane_ids: set[int]) -> None:
        self.told.append(f"give back {sorted(lane_ids)}")

    def cut_short(self, lane_ids: set[int]) -> None:
        self.told.append(f"cut short {sorted(lane_ids)}")

    async def cancel(self, smsc_id: str, source: str, destination: str) -> int | None:
        self.told.append(f"cancel {smsc_id}")
        return 0


class Stage:
    """A guard over one account on a real database; what `act` does with it runs in an event loop."""

    def __init__(self, store: Store, cards: Mapping[CarrierCode, CarrierCard], now: dt.datetime) -> None:
        self.store, self.cards, self.clock = store, cards, Clock(now)
        self.account = Account(cards[VIETTEL])
        self.dropped = 0
        self.lines: list[dict[str, Any]] = []

    def drop(self) -> None:
        self.dropped += 1
        self.account.told.append("drop links")

    def play(self, act: Callable[[Guard], Any]) -> None:
        async def run() -> None:
            alarms = Alarms(settings.Alarms(), Environment.REHEARSAL, self.clock)
            guard = Guard(self.store.path, self.clock, alarms, self.cards, link_down_s=60, uncertain=2)
            self.guarded = guard.over({VIETTEL: self.account})[VIETTEL]
            try:
                done = act(guard)
                if asyncio.iscoroutine(done):
                    await done
            finally:
                await alarms.close()

        with capture_logs() as lines:
            try:
                asyncio.run(run())
            finally:
                self.lines += [dict(line) for line in lines]

    @property
    def alarms(self) -> list[str]:
        return [line["cause"] for line in self.lines if line["event"] == "alarm"]

    def admitted(self) -> bool:
        def act(guard: Guard) -> None:
            with self.store.read() as connection:
                guard.admit(connection)

        try:
            self.play(act)
        except StoreError as error:
            return "db adopt" not in str(error.hint)
        return True

    def mark(self, *, ahead: bool = True) -> None:
        def act(guard: Guard) -> None:
            with self.store.read() as connection:
                guard.write_note(connection, ahead=ahead)

        self.play(act)


@pytest.fixture
def stage(installed_store: Store, cards: Mapping[CarrierCode, CarrierCard], now: dt.datetime) -> Stage:
    return Stage(installed_store, cards, now)


def test_a_database_without_its_note_is_not_sent_from(stage: Stage) -> None:
    assert not stage.admitted()
    assert stage.alarms == ["database-restored"]
    stage.mark()
    assert stage.admitted()


def test_a_first_start_that_dies_before_its_first_beat_does_not_lock_the_installation(stage: Stage) -> None:
    assert stage.store.path is not None
    with stage.store.write() as connection:
        connection.exec_driver_sql("UPDATE installation SET epoch = 0")
    assert stage.admitted()
    assert stage.admitted(), "it died before it raised the epoch"
    with stage.store.write() as connection:
        next_epoch(connection)
    assert stage.admitted(), "it died right after"
    stage.store.path.with_name(stage.store.path.name + ".high-water").unlink()
    assert not stage.admitted()


def test_an_older_database_is_not_sent_from(stage: Stage) -> None:
    with stage.store.write() as connection:
        next_epoch(connection)
    stage.mark()
    with stage.store.write() as connection:
        connection.exec_driver_sql("UPDATE installation SET epoch = epoch - 1")
    assert not stage.admitted()
    assert stage.alarms == ["database-restored"]


def test_another_engine_has_no_note(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.store, "path", None)
    assert stage.admitted()


def test_only_urgent_warnings_go_on_while_the_clock_is_not_to_be_trusted(stage: Stage) -> None:
    def act(guard: Guard) -> None:
        guard.look(stage.drop)
        stage.guarded.assign({1: URGENT, 2: ORDINARY})
        assert stage.account.jobs == {1: URGENT, 2: ORDINARY}
        before = guard.clock.now()
        stage.clock.set_by_s(3600)
        stage.clock.pass_s(0.01)
        assert not guard.may_write()
        assert guard.clock.now() == before + dt.timedelta(milliseconds=10)
        guard.look(stage.drop)
        assert guard.may_write()
        assert stage.account.jobs == {1: URGENT}
        stage.guarded.assign({1: URGENT, 2: ORDINARY, 3: ORDINARY})
        assert stage.account.jobs == {1: URGENT}
        stage.clock.set_by_s(-3600)
        guard.look(stage.drop)
        assert stage.account.jobs == {1: URGENT, 2: ORDINARY, 3: ORDINARY}

    stage.play(act)
    assert stage.alarms == ["clock"]
    assert [(line["state"], line["seconds"]) for line in stage.lines if line["event"] == "clock"] == [
        ("jumped", 3600.0),
        ("sound", 0.0),
    ]


def test_a_start_before_the_last_moment_seen_holds_back(stage: Stage) -> None:
    stage.mark()
    stage.clock.set_by_s(-3600)
    stage.clock.ns = 0  # The machine was started anew.

    def act(guard: Guard) -> None:
        stage.guarded.assign({1: URGENT, 2: ORDINARY})
        guard.look(stage.drop)
        assert stage.account.jobs == {1: URGENT}
        stage.clock.set_by_s(3600)
        guard.look(stage.drop)
        assert stage.account.jobs == {1: URGENT, 2: ORDINARY}

    forget_boot(stage)
    stage.play(act)
    assert stage.alarms == ["clock"]


def forget_boot(stage: Stage) -> None:
    assert stage.store.path is not None
    note = read_mark(stage.store.path)
    assert note is not None
    module.write_mark(stage.store.path, note._replace(boot="another"))


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_set_while_the_service_was_down_is_noticed(stage: Stage, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_boot_id", lambda: "one")
    stage.mark()
    stage.clock.pass_s(60)
    stage.clock.set_by_s(seconds)

    def act(guard: Guard) -> None:
        stage.guarded.assign({2: ORDINARY})
        guard.look(stage.drop)
        assert stage.account.jobs == {}

    stage.play(act)
    assert stage.alarms == ["clock"]


def test_a_clock_set_back_by_a_little_holds_until_a_second_after_the_latest_moment_it_told(stage: Stage) -> None:
    def act(guard: Guard) -> None:
        guard.look(stage.drop)
        assert guard.may_write()
        stage.clock.set_by_s(-1.5)
        held_s = 0.0
        while not guard.may_write():
            stage.clock.pass_s(0.125)
            held_s += 0.125
            guard.look(stage.drop)
        assert held_s == 2.625

    stage.play(act)
    assert stage.alarms == []


def test_what_an_early_clock_told_is_not_held_against_the_right_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_boot_id", lambda: "one")
    stage.mark()
    forget_boot(stage)
    stage.clock.set_by_s(-3600)
    stage.clock.ns = 0  # The machine was started anew, and its service twice before the clock was set.

    def early(guard: Guard) -> None:
        guard.look(stage.drop)
        with stage.store.read() as connection:
            guard.write_note(connection)

    def act(guard: Guard) -> None:
        stage.guarded.assign({2: ORDINARY})
        guard.look(stage.drop)
        assert stage.account.jobs == {2: ORDINARY}

    stage.play(early)
    stage.clock.pass_s(60)
    stage.clock.set_by_s(3600)
    stage.play(act)
    assert stage.alarms == ["clock"]


def test_nothing_is_written_on_a_look_that_is_out_of_date(stage: Stage) -> None:
    def act(guard: Guard) -> None:
        assert not guard.may_write()
        guard.look(stage.drop)
        stage.clock.pass_s(1)
        assert guard.may_write()
        stage.clock.pass_s(0.001)
        assert not guard.may_write()
        guard.look(stage.drop)
        assert guard.may_write()

    stage.play(act)
    assert stage.dropped == 0


def test_after_a_sleep_the_links_are_dropped_and_everything_is_given_back(stage: Stage) -> None:
    def act(guard: Guard) -> None:
        guard.look(stage.drop)
        stage.guarded.assign({1: URGENT, 2: ORDINARY})
        stage.clock.pass_s(10)
        guard.look(stage.drop)
        assert stage.account.told == []
        stage.clock.pass_s(28_800)
        assert not guard.may_write()
        guard.look(stage.drop)
        assert stage.account.told == ["drop links", "give back [1, 2]"]
        assert stage.account.jobs == {1: URGENT, 2: ORDINARY}

    stage.play(act)
    assert stage.alarms == ["suspended"]


def test_what_else_is_asked_of_an_account_is_passed_on(stage: Stage) -> None:
    async def act(guard: Guard) -> None:
        stage.guarded.give_back({1})
        stage.guarded.cut_short({2})
        assert await stage.guarded.cancel("a", "b", "c") == 0
        assert stage.guarded.card is stage.account.card

    stage.play(act)
    assert stage.account.told == ["give back [1]", "cut short [2]", "cancel a"]


def test_the_first_look_is_no_sleep_however_long_the_start_took(stage: Stage) -> None:
    def act(guard: Guard) -> None:
        stage.clock.pass_s(600)
        guard.look(stage.drop)

    stage.play(act)
    assert (stage.dropped, stage.alarms) == (0, [])


async def beat(guard: Guard, writer: Writer, *binds: BindReading) -> None:
    guard.beat(writer, binds, lambda connection: None)
    await writer.submit(lambda connection: None)
    await asyncio.sleep(0)


def test_the_note_is_what_was_durable_a_beat_before_and_sending_ahead_of_it(stage: Stage) -> None:
    lane_id = running_lane(stage.store)
    path = stage.store.path
    assert path is not None

    async def act(guard: Guard) -> None:
        writer = Writer(stage.store)
        await beat(guard, writer)
        assert read_mark(path) is None
        await writer.submit(next_epoch)
        await beat(guard, writer)
        first = read_mark(path)
        await beat(guard, writer)
        second = read_mark(path)
        await writer.close()
        assert first is not None
        assert second is not None
        assert (first.epoch, second.epoch) == (1, 2)
        card = stage.cards[VIETTEL]
        assert card.tps is not None
        assert second.lanes == {lane_id: 1 + 5 * card.tps + 2 * card.window * card.binds}

    stage.play(act)
    stage.mark(ahead=False)
    note = read_mark(path)
    assert note is not None
    assert note.lanes == {lane_id: 1}
    assert stage.alarms == []


@pytest.mark.parametrize("fault", ["note", "beat"])
def test_nothing_is_written_beyond_what_the_note_covers(stage: Stage, fault: str) -> None:
    """Neither a note that cannot be written nor a beat that fails lets the sending run further ahead than the note does."""
    running_lane(stage.store)
    path = stage.store.path
    assert path is not None
    obstacle = path.with_name(path.name + ".high-water.new")

    def turn(*, broken: bool) -> None:
        if fault == "note":
            obstacle.mkdir() if broken else obstacle.rmdir()
        else:
            with stage.store.write() as connection:
                names = ("tally", "elsewhere") if broken else ("elsewhere", "tally")
                connection.exec_driver_sql("ALTER TABLE {} RENAME TO {}".format(*names))

    async def act(guard: Guard) -> None:
        writer = Writer(stage.store)

        async def seconds(count: int) -> list[bool]:
            may = []
            for _ in range(count):
                stage.clock.pass_s(1)
                guard.look(stage.drop)
                await beat(guard, writer)
                may.append(guard.may_write())
            return may

        with stage.store.read() as connection:
            guard.write_note(connection)
        assert await seconds(10) == [True] * 10
        turn(broken=True)
        # The note speaks of a second ago, or of the last one that a failing beat began with, and covers five.
        assert await seconds(7) == ([True] * 4 + [False] * 3 if fault == "note" else [True] * 5 + [False] * 2)
        turn(broken=False)
        assert (await seconds(2))[-1]
        assert await seconds(5) == [True] * 5
        await writer.close()

    stage.play(act)
    assert stage.alarms == ["store-failing"]


def running_lane(store: Store) -> int:
    values = {"content_json": "{}", "digest": "", "recipients": 1, "submitted_by": "", "submitted_ms": 0, "roster_ids": []}
    with store.write() as connection:
        campaign_id = insert_campaign(connection, name="mot", **values)
        change_campaign(connection, campaign_id, CampaignState.RUNNING)
        return insert_lane(connection, campaign_id, VIETTEL, "", 1)


@pytest.mark.parametrize(("uncertain", "alarms"), [(2, []), (3, ["uncertain"])])
def test_more_uncertain_messages_than_set_are_an_alarm(stage: Stage, uncertain: int, alarms: list[str]) -> None:
    lane_id = running_lane(stage.store)
    row = {"lane_id": lane_id, "area_code": "21025", "state": int(State.UNCERTAIN), "exclusion": 0, "messages": uncertain}
    with stage.store.write() as connection:
        connection.execute(insert(tally).values(row))

    async def act(guard: Guard) -> None:
        writer = Writer(stage.store)
        await beat(guard, writer)
        await writer.close()

    stage.play(act)
    assert stage.alarms == alarms


def test_a_store_that_fails_or_hangs_is_an_alarm_and_comes_back_by_itself(stage: Stage) -> None:
    async def act(guard: Guard) -> None:
        writer = Writer(stage.store)
        with stage.store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE tally RENAME TO elsewhere")
        await beat(guard, writer)
        assert guard.store_failures == 1
        with stage.store.write() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO tally")
        await beat(guard, writer)
        assert guard.store_failures == 1
        guard.beat(writer, (), lambda connection: None)
        for seconds, failures in ((5, 1), (1, 2)):
            stage.clock.pass_s(seconds)
            guard.beat(writer, (), lambda connection: None)
            assert guard.store_failures == failures
        await writer.close()
        await asyncio.sleep(0)
        assert guard.store_s == 6

    stage.play(act)
    assert stage.alarms == ["store-failing"]


def test_a_link_that_stays_down_is_an_alarm_however_often_it_is_tried(stage: Stage) -> None:
    up, down = (BindReading("viettel", 2, bound=bound, window=10, outstanding=0, sent=0, rate_tps=0.0) for bound in (True, False))

    async def act(guard: Guard) -> None:
        writer = Writer(stage.store)
        for bind, seconds in ((down, 59), (up, 30), (down, 60), (down, 1), (down, 1)):
            await beat(guard, writer, bind)
            stage.clock.pass_s(seconds)
        await writer.close()

    stage.play(act)
    assert stage.alarms == ["link-down"]
    assert [line["seconds"] for line in stage.lines if line["event"] == "alarm"] == [61]


def test_a_database_replaced_under_the_service_stops_everything(stage: Stage) -> None:
    path = stage.store.path
    assert path is not None

    async def act(guard: Guard) -> None:
        writer = Writer(stage.store)
        guard.look(stage.drop)
        stage.guarded.assign({1: URGENT})
        await beat(guard, writer)
        copy = path.with_suffix(".copy")
        shutil.copyfile(path, copy)
        copy.replace(path)
        await beat(guard, writer)
        assert stage.account.jobs == {}
        await writer.close()

    stage.play(act)
    assert stage.alarms == ["database-restored"]
