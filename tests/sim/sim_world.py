"""One simulation: the real service, killed again and again, against real simulated carriers, on one virtual clock and network.

The simulated carriers live through everything with their ledgers, and so does the database; whatever else a life of the service held
is gone with it. When the scenario's deaths are used up the service is left alone until all is quiet, and then everything is judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

from inline_writer import InlineWriter, watch_store
from sim_field import CARRIERS, NAME, PER_COMMUNE, START, admit_order, card_for, master, number_of, open_at, order_for, scratch
from sim_scenario import Death, Deed, Scenario
from virtual_loop import NeverQuietError, Process, VirtualClock, VirtualLoop, virtual_time
from virtual_net import Network, Side

from broadcaster.errors import LockedError, NotFoundError, RefusedError, StoreError
from broadcaster.flow import admit, control, intake, requeue, uncertain
from broadcaster.lang import speak
from broadcaster.link.client import LinkState
from broadcaster.link.ledger import Ledger
from broadcaster.link.part import read_part
from broadcaster.link.simulator import Simulator
from broadcaster.model import CampaignState, CarrierCard, CarrierCode, Msisdn
from broadcaster.service.app import Service
from broadcaster.service.installation import Installation
from broadcaster.smpp import Command, SubmitSm, decode
from broadcaster.store.campaigns import find_campaign, lanes
from broadcaster.store.links import binds

FIRST_PORT: Final = 2775
REASON: Final = "thử"
LIFE_S: Final = 40.0
"""A life whose place to die never comes ends after so long."""
STOP_S: Final = 90.0
LOOK_S: Final = 1.0
QUIET_S: Final = 2.0
"""So long nothing must happen before all is quiet."""
PATIENCE_S: Final = 900.0
AGAIN_S: Final = 2.0
"""When whoever watches the service starts it again after it has ended by itself."""
_FOR_GOOD: Final = 1 << 62
LIVING: Final = frozenset({CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.PAUSED})


class Written(NamedTuple):
    """One part that the service handed to the network."""

    ns: int
    carrier: str
    connection: int
    sequence: int
    number: str
    part: int
    parts: int
    ref: int | None
    sha: str
    life: int


@dataclass
class Record:
    """What happened, for whoever judges it."""

    scenario: Scenario
    folder: Path
    cards: Mapping[CarrierCode, CarrierCard]
    ledgers: Mapping[CarrierCode, Path]
    recipients: int = 0
    written: list[Written] = field(default_factory=list)
    refused_ns: dict[str, int] = field(default_factory=dict)
    """Number → when a person's refusal was committed, on the loop's clock."""
    stopped_ns: list[tuple[str, int, int]] = field(default_factory=list)
    """What was stopped (``everything``, ``campaign`` or a carrier), from when until when: the commits, on the loop's clock."""
    lives: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    events: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    """What the service logged: seconds, event, values."""
    faults: list[str] = field(default_factory=list)
    """What is wrong already: exceptions that nobody caught, and what never came to rest."""
    ended_s: float = 0.0
    turns: int = 0

    def digest(self) -> str:
        """Return what two runs of one seed must have in common."""
        told = [
            (round(at_s, 6), event, sorted(f"{key}={value}" for key, value in values.items() if key != "reason"))
            for at_s, event, values in self.events
        ]
        written = [each._replace(connection=0) for each in self.written]
        return hashlib.sha256(repr((told, written)).encode()).hexdigest()[:16]


class _Log:
    """Stands in for a module's logger."""

    def __init__(self, note: Callable[[str, dict[str, Any]], None]) -> None:
        self._note = note

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda event, **values: self._note(event, values)


class _NoAlarm:
    """Stands in for the scheduler that wakes the service: the service looks ten times a second in any case."""

    def __init__(self, _wake: Callable[[], None]) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def plan(self, times: Mapping[str, object]) -> None:
        pass


class World:
    """Everything of one simulation."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.loop = VirtualLoop(START)
        self.rng = random.Random(f"world/{scenario.seed}")
        self.network = self.loop.network = Network(self.loop, scenario.weather, random.Random(f"network/{scenario.seed}"))
        self.network.on_write = self._note_write
        self.home = scratch()
        self.folder = self.home / "installation"
        ports = {code: FIRST_PORT + at for at, code in enumerate(CARRIERS)}
        with virtual_time(self.loop):
            self.cards = {CarrierCode(code): card_for(code, ports[code], **scenario.cards[code]) for code in CARRIERS}
        self._codes = {port: code for code, port in ports.items()}
        self.record = Record(scenario, self.folder, self.cards, {CarrierCode(code): self.home / f"{code}.jsonl" for code in CARRIERS})
        self.simulators: dict[str, Simulator] = {}
        self._service: Service | None = None
        self._burying = False
        self._began_s = 0.0

    # -- from beginning to end

    def run(self) -> Record:
        """Play the scenario to its end."""
        record, loop = self.record, self.loop
        asyncio.set_event_loop(None)
        try:
            loop.run_until_complete(self._play())
        except NeverQuietError as error:
            record.faults.append(f"never quiet: {error}")
        finally:
            record.faults += loop.faults
            record.turns = loop._turns
            record.hits.update(self.network.hits)
            for code, simulator in self.simulators.items():
                record.hits.update(_struck(simulator))
                mood, card = self.scenario.moods[code], self.scenario.cards[code]
                record.hits[f"receipts by {mood.receipt_by}"] += simulator.totals.receipts
                record.hits["ids differ"] += simulator.totals.receipts * (mood.response_id is not mood.receipt_id)
                record.hits["parts over two binds"] += simulator.totals.submits * (card["binds"] > 1)
            loop.close()
        return record

    def close(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    async def _play(self) -> None:
        scenario, record = self.scenario, self.record
        master().copy(self.folder)
        office = open_at(self.folder, actor="test")
        order = order_for(scenario.communes, scenario.variant, scenario.policy)
        record.recipients = admit_order(office, order, self.cards, self.loop.wall(), starts_in_s=self.rng.uniform(0, 1.5))
        carriers = [self._open_carrier(code) for code in CARRIERS]
        deeds = asyncio.ensure_future(self._do_deeds(office))
        self._began_s = self.loop.time()
        for death in scenario.deaths:
            await self._live(death)
            await asyncio.sleep(death.away_s)
        quiet = False
        while not quiet:
            quiet = not await self._live(None, office, deeds)
            await asyncio.sleep(AGAIN_S)
        record.ended_s = self.loop.time() - self._began_s
        if deeds.done() and (error := deeds.exception()):
            record.faults.append(f"an order failed with {error!r}")
        deeds.cancel()
        for stop in carriers:
            await stop()
        office.store.close()

    def _open_carrier(self, code: str) -> Callable[[], Any]:
        process = Process(code)
        card = self.cards[CarrierCode(code)]
        ledger = Ledger(self.record.ledgers[CarrierCode(code)])

        def begin() -> tuple[Simulator, list[asyncio.Task[None]]]:
            simulator = Simulator(card, self.scenario.moods[code], ledger, self.loop.time)
            self.network.listen(simulator.connect, card.endpoint.port)
            return simulator, [self.loop.create_task(simulator.keep_ledger()), self.loop.create_task(simulator.strike_by_clock())]

        simulator, (keeping, striking) = self.loop.start(process, begin)
        self.simulators[code] = simulator

        async def stop() -> None:
            self.network.listeners.pop(card.endpoint.port)
            striking.cancel()
            self.loop.start(process, simulator.stop)
            await asyncio.wait({keeping})
            if error := keeping.exception():
                self.record.faults.append(f"the simulated carrier {code} failed: {error!r}")
            ledger.__exit__(None, None, None)

        return stop

    # -- one life of the service

    async def _live(self, death: Death | None, office: Installation | None = None, deeds: asyncio.Future[None] | None = None) -> bool:
        """Let the service live until its death, or without one until all is quiet; True when it must be started again."""
        self.record.lives += 1
        again = False
        process = Process(f"service {self.record.lives}")
        installed = open_at(self.folder, actor="service", service=True)
        watch_store(installed.store, process, self._disk_fault)
        died: asyncio.Future[None] = self.loop.create_future()
        process.on_death.append(partial(_settle, died))
        if death is not None:
            process.on_point = self._fuse(death)
            timer = self.loop.call_later(death.after_s + LIFE_S, process.die)
        writer = partial(InlineWriter, rng=random.Random(f"writer/{self.scenario.seed}/{self.record.lives}"))

        def begin() -> asyncio.Task[None]:
            self._service = Service(
                installed,
                self.cards,
                until_idle=False,
                clock=VirtualClock(self.loop),
                writer=writer,
                alarm=_NoAlarm,
            )
            return self.loop.create_task(self._service.run())

        running = self.loop.start(process, begin)
        if death is None:
            assert office is not None
            assert deeds is not None
            again = await self._until_quiet(office, deeds, running)
        elif death.kind == "stop":
            await asyncio.wait({running, died}, timeout=death.after_s)
        else:
            await asyncio.wait({running, died}, return_when=asyncio.FIRST_COMPLETED)
        if process.alive and not running.done():
            await self._stop(process, running)
        if death is not None:
            timer.cancel()
        ended_by_itself = self._ended_by_itself(process, running)
        if not process.alive:
            self.record.hits["crashes"] += not ended_by_itself
            self.network.died(process, power=death is not None and death.power)
            self._burying = True
            process.bury()
            self._burying = False
        installed.store.close()
        return ended_by_itself or again

    async def _stop(self, process: Process, running: asyncio.Task[None]) -> None:
        assert self._service is not None
        self.loop.start(process, self._service.stop)
        await asyncio.wait({running}, timeout=STOP_S)
        self.record.hits["stopped"] += 1
        if not running.done():
            self.record.faults.append(f"the service did not stop within {STOP_S:g} s")
            process.die()

    def _ended_by_itself(self, process: Process, running: asyncio.Task[None]) -> bool:
        """Tell whether the service gave up because the store failed; anything else that ends it is a fault."""
        if not process.alive or not running.done() or (error := running.exception()) is None:
            return False
        process.die()
        if not isinstance(error, StoreError | LockedError) or not self.scenario.disk:
            self.record.faults.append(f"{process.name} ended with {error!r}")
            return False
        self.record.hits["gave up"] += 1
        return True

    def _fuse(self, death: Death) -> Callable[[str], bool]:
        after_s = self.loop.time() + death.after_s
        left = death.nth

        def burnt(kind: str) -> bool:
            nonlocal left
            if kind != death.kind or self.loop.time() < after_s:
                return False
            left -= 1
            if left == 0:
                self.record.hits[f"crash {kind}"] += 1
            return left <= 0

        return burnt

    def _disk_fault(self) -> str | None:
        at_s = self.loop.time() - self._began_s
        for fault in self.scenario.disk:
            if fault.from_s <= at_s < fault.until_s:
                self.record.hits[fault.words] += 1
                return fault.words
        return None

    # -- the quiet end

    async def _until_quiet(self, office: Installation, deeds: asyncio.Future[None], running: asyncio.Task[None]) -> bool:
        """Wait until the campaign has ended and no carrier holds anything for us; see to what only a person can mend.

        True when the service must be started anew, because a carrier refused its credentials.
        """
        quiet_since: float | None = None
        last_help_s = self.loop.time()
        until_s = max(self.loop.time(), self._began_s + self.scenario.faults_end_s) + PATIENCE_S
        while quiet_since is None or self.loop.time() < quiet_since + QUIET_S:
            if running.done():
                return False
            await asyncio.sleep(LOOK_S)
            if self.loop.time() > until_s:
                self.record.faults.append(f"I17: not quiet {PATIENCE_S:g} s after the last fault: {self._unrest(office)}")
                return False
            calm = deeds.done() and self.loop.time() > self._began_s + self.scenario.faults_end_s and not self._unrest(office)
            quiet_since = (quiet_since or self.loop.time()) if calm else None
            if not calm and self.loop.time() > last_help_s + 10:
                last_help_s = self.loop.time()
                self._help(office, deeds.done())
                if self._given_up(office):
                    return True
        return False

    def _unrest(self, office: Installation) -> str:
        """Return what is not at rest yet."""
        for code, simulator in self.simulators.items():
            if owed := _owed(simulator):
                return f"{code} owes {owed}"
        with office.store.read() as connection:
            found = find_campaign(connection, NAME)
            if found.state in LIVING:
                halted = [f"{lane.carrier}: {lane.halted}" for lane in lanes(connection, found.id) if lane.halted]
                return f"the campaign is {found.state} {halted or ''}"
        return ""

    def _help(self, office: Installation, deeds_done: bool) -> None:
        """Do what a person would: let what was halted or paused go on."""
        with office.store.read() as connection:
            found = find_campaign(connection, NAME)
            halted = found.state is CampaignState.RUNNING and any(lane.halted for lane in lanes(connection, found.id))
        if halted:
            self.record.hits["carrier halted"] += 1
            self._order(office, Deed(0, "pause"))
        if halted or (deeds_done and found.state is CampaignState.PAUSED):
            self._order(office, Deed(0, "resume"))

    def _given_up(self, office: Installation) -> bool:
        with office.store.read() as connection:
            return any(row.state == LinkState.STOPPED for row in binds(connection))

    # -- what people do

    async def _do_deeds(self, office: Installation) -> None:
        for deed in self.scenario.deeds:
            await asyncio.sleep(max(0.0, self._began_s + deed.at_s - self.loop.time()))
            with contextlib.suppress(RefusedError, NotFoundError):
                self._order(office, deed)
                self.record.hits[f"deed {deed.kind}"] += 1

    def _order(self, office: Installation, deed: Deed) -> None:
        """Do one deed as its command does. Raises `RefusedError` and `NotFoundError` where that would."""
        orders = {
            "refuse": self._refuse,
            "pause": self._move,
            "resume": self._move,
            "cancel": self._move,
            "stop-all": self._stop_all,
            "lift": self._stop_all,
            "pause carrier": self._order_carrier,
            "resume carrier": self._order_carrier,
            "rate": self._order_carrier,
            "requeue": self._decide,
            "release": self._decide,
            "settle": self._decide,
        }
        orders[deed.kind](office, deed)

    def _refuse(self, office: Installation, deed: Deed) -> None:
        people = self.rng.sample(range(self.scenario.communes * PER_COMMUNE), deed.many)
        numbers = [number_of(deed.carrier, at) for at in people]
        told = [Msisdn(int(number)) for number in numbers]
        now = self.loop.wall()
        intake.refuse(office.store, office.auditor, office.vault, told, refuses=True, source="operator", evidence=REASON, now=now)
        for number in numbers:
            self.record.refused_ns.setdefault(number, self.loop.now_ns)

    def _move(self, office: Installation, deed: Deed) -> None:
        act = {"pause": admit.pause, "resume": admit.resume, "cancel": admit.cancel}[deed.kind]
        act(office.store, office.auditor, NAME, reason=REASON, now=self.loop.wall())
        if deed.kind == "resume":
            self._note_going_on("campaign")
        else:
            self._note_stop("campaign")

    def _stop_all(self, office: Installation, deed: Deed) -> None:
        if deed.kind == "stop-all":
            standing = control.stop_all(office.store, office.auditor, reason=REASON, now=self.loop.wall())
            self._note_stop("everything")
            if NAME in standing.paused:
                self._note_stop("campaign")
        else:
            control.lift_stop(office.store, office.auditor, reason=REASON)
            self._note_going_on("everything")
            self._move(office, Deed(0, "resume"))

    def _order_carrier(self, office: Installation, deed: Deed) -> None:
        card, now = self.cards[CarrierCode(deed.carrier)], self.loop.wall()
        if deed.kind == "rate":
            control.set_rate(office.store, office.auditor, card, deed.many, reason=REASON, now=now)
        elif deed.kind == "pause carrier":
            control.pause_carrier(office.store, office.auditor, card, reason=REASON, now=now)
            self._note_stop(deed.carrier)
        else:
            control.resume_carrier(office.store, office.auditor, card, reason=REASON, now=now)
            self._note_going_on(deed.carrier)

    def _decide(self, office: Installation, deed: Deed) -> None:
        store, auditor, carrier, now = office.store, office.auditor, deed.carrier, self.loop.wall()
        if deed.kind == "requeue":
            requeue.requeue(store, auditor, NAME, carrier, deed.many, reason=REASON, now=now)
            return
        expect = uncertain.waiting(store, NAME, carrier).messages
        if deed.kind == "release":
            uncertain.release(store, auditor, NAME, carrier=carrier, expect=expect, reason=REASON, now=now)
        else:
            uncertain.settle(store, auditor, NAME, carrier=carrier, expect=expect, reason=REASON)

    def _note_stop(self, what: str) -> None:
        self.record.stopped_ns.append((what, self.loop.now_ns, _FOR_GOOD))

    def _note_going_on(self, what: str) -> None:
        """Close every span in which this was stopped."""
        self.record.stopped_ns = [
            (each, from_ns, self.loop.now_ns if until_ns == _FOR_GOOD and each == what else until_ns)
            for each, from_ns, until_ns in self.record.stopped_ns
        ]

    # -- what is watched

    def _note_write(self, side: Side, data: bytes) -> None:
        if not side.outgoing:
            return
        at = 0
        while at + 16 <= len(data):
            length, command, sequence = (int.from_bytes(data[at + start : at + start + 4], "big") for start in (0, 4, 12))
            if command == Command.SUBMIT_SM:
                body = decode(command, data[at + 16 : at + length])
                assert isinstance(body, SubmitSm)
                card = self.cards[CarrierCode(self._codes[side.port])]
                part = read_part(body, card.ucs2_data_coding, card.gsm_alphabet)
                self.record.written.append(
                    Written(
                        self.loop.now_ns,
                        card.code,
                        side.number,
                        sequence,
                        body.destination,
                        part.part,
                        part.parts,
                        part.ref,
                        part.sha,
                        self.record.lives,
                    )
                )
            at += length


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _struck(simulator: Simulator) -> Counter[str]:
    """Count how often each kind of fault struck."""
    faults = simulator._faults
    every = [*(each for armed in faults._by_occasion.values() for each in armed), *faults._by_clock]
    struck = Counter({each.ordered.kind: each._struck for each in every if each._struck})
    for each in every:
        for key in ("status", "state"):
            if each._struck and key in each.ordered.values:
                struck[f"{each.ordered.kind} {each.ordered.values[key]}"] += each._struck
    return struck


def _owed(simulator: Simulator) -> int:
    """Count what a carrier has to hand over yet."""
    wheels = (simulator._answers, simulator._receipts, simulator._owed_later)
    held = sum(len(wheel.rest()) for wheel in wheels) + len(simulator._outbox) + len(simulator._rows) + len(simulator._judged_rows)
    return held + sum(link.session.outstanding for link in simulator._sessions)


@contextlib.contextmanager
def _told_to(world: World) -> Iterator[None]:
    """Let every logger of the program tell the world's record."""

    def note(event: str, values: dict[str, Any]) -> None:
        if not world._burying:
            world.record.events.append((world.loop.time(), event, values))

    modules = [module for name, module in sys.modules.items() if name.startswith("broadcaster.") and hasattr(module, "log")]
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "log", _Log(note)))
        yield


def simulate(scenario: Scenario, judge: Callable[[Record], list[str]]) -> tuple[Record, list[str]]:
    """Play a scenario and return its record with what is wrong."""
    speak("en")
    random.seed(scenario.seed)
    collecting = gc.isenabled()
    gc.disable()
    world = World(scenario)
    try:
        with virtual_time(world.loop), _told_to(world):
            record = world.run()
            return record, [*record.faults, *judge(record)]
    finally:
        world.close()
        if collecting:
            gc.enable()
