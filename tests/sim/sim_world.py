"""One simulation: the real service, killed again and again, against real simulated carriers, on one virtual clock and network.

The simulated carriers live through everything with their ledgers, and so does the database; whatever else a life of the service held
is gone with it. When the scenario's deaths are used up the service is left alone until all is quiet, and then everything is judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final
from unittest import mock

from inline_writer import InlineWriter, watch_store
from sim_field import CARRIERS, NAME, URGENT, admit_order, card_for, master, open_at, order_for, scratch
from sim_further import Sleep
from sim_office import Office
from sim_record import Record, Written
from sim_rest import Rest
from sim_scenario import Death, Scenario
from virtual_loop import NeverQuietError, Process, VirtualClock, VirtualLoop, virtual_time
from virtual_net import Network, Side

from broadcaster.errors import LockedError, NotFoundError, RefusedError, StoreError
from broadcaster.lang import speak
from broadcaster.link.ledger import Ledger
from broadcaster.link.part import read_part
from broadcaster.link.simulator import Simulator
from broadcaster.model import CarrierCard, CarrierCode, Endpoint, Secret
from broadcaster.rules.clockguard import MOST_DRIFT_NS, Trust
from broadcaster.rules.wire import pieces
from broadcaster.service import guard
from broadcaster.service.app import Service
from broadcaster.smpp import Command, SubmitSm, decode
from broadcaster.store.times import to_ms

PASSWORD: Final = "q7.Zw-4x"
FIRST_PORT: Final = 2775
SECOND_HOSTS: Final = 100
"""How far the port of a carrier's second host is from that of its first."""
LIFE_S: Final = 40.0
"""A life whose place to die never comes ends after so long."""
STOP_S: Final = 90.0
AGAIN_S: Final = 2.0
"""When whoever watches the service starts it again after it has ended by itself."""
COUNTED: Final = frozenset({"carrier-closed", "quota-used", "ack-late", "late-answers", "unknown-sent-again", "lease-failed"})
"""What the service says that shows that a scenario met what it was for."""
EARLY_FOR_S: Final = 3.0
"""How long the clock stands behind after the power came back, until the network sets it."""


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
        self.further = scenario.further
        self.loop = VirtualLoop(self.further.begins, may_stop=bool(self.further.sleeps))
        self.rng = random.Random(f"world/{scenario.seed}")
        self.network = self.loop.network = Network(self.loop, scenario.weather, random.Random(f"network/{scenario.seed}"))
        self.network.on_write = self._note_write
        self.network.on_connect = self._note_connection
        self.network.on_end = lambda side: self.record.lost_ns.setdefault(side.number, self.loop.now_ns)
        self.home = scratch()
        self.folder = self.home / "installation"
        self.boot_id = self.home / "boot_id"
        self.boot_id.write_text("1")
        with virtual_time(self.loop):
            self.cards = {CarrierCode(code): self._card(code, FIRST_PORT + at) for at, code in enumerate(CARRIERS)}
        self._codes = {each.port: code for code, card in self.cards.items() for each in card.endpoints}
        self.record = Record(scenario, self.folder, self.cards, {CarrierCode(code): self.home / f"{code}.jsonl" for code in CARRIERS})
        self.record.start_ns = self.loop.true_ns() - self.loop.now_ns
        self.simulators: dict[str, Simulator] = {}
        self._right_clock = asyncio.Event()
        self._right_clock.set()
        self._disk_rng = random.Random(f"disk/{scenario.seed}")
        self._service: Service | None = None
        self._process: Process | None = None
        self._burying = False
        self.began_s = 0.0
        self.clock_to_confirm = False
        """Whether a person must say that the machine's time is right before the service starts again."""

    def _card(self, code: str, port: int) -> CarrierCard:
        values: Mapping[str, Any] = {"password": Secret(PASSWORD), **self.scenario.cards[code]}
        if any(each.carrier == code for each in self.further.hosts):
            values = {**values, "alternates": (Endpoint("127.0.0.2", port + SECOND_HOSTS),)}
        return card_for(code, port, **values)

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
            record.hits.update(event for _, event, _ in record.events if event in COUNTED)
            for code, simulator in self.simulators.items():
                record.hits.update(_struck(simulator))
                mood, card = self.scenario.moods[code], self.scenario.cards[code]
                record.hits["receipt hours late"] += sum(
                    each._struck for each in _armed(simulator) if each.ordered.values.get("after_s", 0) >= 3600
                )
                record.hits[f"receipts by {mood.receipt_by}"] += simulator.totals.receipts
                record.hits["ids differ"] += simulator.totals.receipts * (mood.response_id is not mood.receipt_id)
                record.hits["parts over two binds"] += simulator.totals.submits * (card["binds"] > 1)
            loop.close()
        return record

    def close(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    async def _play(self) -> None:
        scenario, further, record = self.scenario, self.further, self.record
        master().copy(self.folder)
        self.office = Office(open_at(self.folder, actor="test"), self.loop, self.cards, record, self.rng)
        self._admit(NAME, scenario.communes, starts_in_s=self.rng.uniform(0, 1.5))
        if further.urgent is not None:
            self._admit(URGENT, further.urgent.communes, starts_in_s=further.urgent.starts_in_s)
        carriers = [self._open_carrier(code) for code in CARRIERS]
        deeds = asyncio.ensure_future(self._do_deeds())
        self.began_s = self.loop.time()
        self._plan_troubles()
        for death in scenario.deaths:
            await self._live(death)
            self._come_back(death)
            await asyncio.sleep(death.away_s)
        quiet = False
        while not quiet:
            quiet = not await self._live(None, deeds)
            if self.clock_to_confirm:
                self.office.confirm_clock()
                self.clock_to_confirm = False
            await asyncio.sleep(AGAIN_S)
        record.ended_s = self.loop.time() - self.began_s
        record.ended_ms = to_ms(self.loop.wall())
        if deeds.done() and (error := deeds.exception()):
            record.faults.append(f"an order failed with {error!r}")
        deeds.cancel()
        for stop in carriers:
            await stop()
        self.office.installed.store.close()

    def _admit(self, name: str, communes: int, starts_in_s: float) -> None:
        """Have a campaign ordered, signed and scheduled."""
        order = order_for(
            name,
            communes,
            self.scenario.variant,
            self.scenario.policy,
            window=self.further.window,
            deadline_h=self.further.deadline_h,
        )
        draft = admit_order(self.office.installed, order, self.cards, self.loop.wall(), starts_in_s)
        self.record.recipients[name] = draft.recipients
        for body in draft.bodies:
            for piece in pieces(body.text, self.cards[body.carrier]):
                self.record.bodies.add(piece)
                self.record.texts[body.carrier, hashlib.sha256(piece.encode()).hexdigest()] = name

    def _open_carrier(self, code: str) -> Callable[[], Any]:
        process = Process(code, our_machine=False)
        card = self.cards[CarrierCode(code)]
        ledger = Ledger(self.record.ledgers[CarrierCode(code)])

        def begin() -> tuple[Simulator, list[asyncio.Task[None]]]:
            simulator = Simulator(card, self.scenario.moods[code], ledger, self.loop.time)
            for endpoint in card.endpoints:
                self.network.listen(simulator.connect, endpoint.port)
            return simulator, [self.loop.create_task(simulator.keep_ledger()), self.loop.create_task(simulator.strike_by_clock())]

        simulator, (keeping, striking) = self.loop.start(process, begin)
        self.simulators[code] = simulator

        async def stop() -> None:
            for endpoint in card.endpoints:
                self.network.listeners.pop(endpoint.port)
            striking.cancel()
            self.loop.start(process, simulator.stop)
            await asyncio.wait({keeping})
            if error := keeping.exception():
                self.record.faults.append(f"the simulated carrier {code} failed: {error!r}")
            ledger.__exit__(None, None, None)

        return stop

    # -- clocks, sleep, hosts

    @property
    def trust(self) -> Trust:
        """What the service thinks of the clocks."""
        return Trust.SOUND if self._service is None else self._service._watch.guard.clock.trust

    def _plan_troubles(self) -> None:
        further, later = self.further, self.loop.call_later
        for clock in further.clock:
            later(clock.at_s, self._set_clock, clock.by_s)
            later(clock.until_s, self._set_clock, 0.0)
        for sleep in further.sleeps:
            later(sleep.at_s, self._stop_process, sleep)
        for host in further.hosts:
            port = self.cards[CarrierCode(host.carrier)].endpoints[host.host].port
            later(host.from_s, self.network.fail, port)
            if host.until_s < float("inf"):
                later(host.until_s, self.network.dead.discard, port)

    def _set_clock(self, by_s: float) -> None:
        self.loop.wall_skew_ns = int(by_s * 1e9)
        self.record.clock_set_ns.append((self.loop.now_ns, self.loop.wall_skew_ns))
        if abs(self.loop.wall_skew_ns) > MOST_DRIFT_NS:
            self._right_clock.clear()
        else:
            self._right_clock.set()
        self.record.hits["clock set"] += by_s != 0 and self._process is not None

    def _come_back(self, death: Death) -> None:
        """After the power had failed the clock may stand behind, until the network sets it."""
        if not death.power:
            return
        self.boot_id.write_text(f"{self.record.lives + 1}")
        if self.further.early_s:
            self._set_clock(-self.further.early_s)
            self.record.hits["clock early"] += 1
            self.loop.call_later(death.away_s + EARLY_FOR_S, self._set_clock, 0.0)

    def _stop_process(self, sleep: Sleep) -> None:
        process = self._process
        if process is not None and process.alive and process.stopped is None:
            process.stop(self.loop.time() + sleep.for_s)
            self.record.hits["stood still"] += 1
            self.loop.call_later(sleep.for_s, process.go_on, self.loop)

    # -- one life of the service

    async def _live(self, death: Death | None, deeds: asyncio.Future[None] | None = None) -> bool:
        """Let the service live until its death, or without one until all is quiet; True when it must be started again."""
        self.record.lives += 1
        self.record.began_ns[self.record.lives] = self.loop.now_ns
        again = False
        process = self._process = Process(f"service {self.record.lives}")
        installed = open_at(self.folder, actor="service", service=True)
        watch_store(installed.store, process, self._disk_fault)
        died: asyncio.Future[None] = self.loop.create_future()
        process.on_death.append(partial(_settle, died))
        if death is not None and death.kind != "stop":
            process.on_point = self._fuse(death)
            self.loop.call_later(death.after_s + LIFE_S, process.die)
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
            assert deeds is not None
            again = await Rest(self, self.office, deeds, running).reached()
        elif death.kind == "stop":
            await asyncio.wait({running, died}, timeout=death.after_s)
        else:
            await asyncio.wait({running, died}, return_when=asyncio.FIRST_COMPLETED)
        if process.alive and not running.done():
            await self._stop(process, running)
        ended_by_itself = self._ended_by_itself(process, running)
        self._process = None
        if not process.alive:
            self.record.killed.add(self.record.lives)
            self.record.hits["crashes"] += not ended_by_itself
            self.network.died(process, power=death is not None and death.power)
            self._burying = True
            process.bury()
            self._burying = False
        installed.store.close()
        return ended_by_itself or again

    async def _stop(self, process: Process, running: asyncio.Task[None]) -> None:
        await asyncio.sleep(max(0.0, process.stopped_until_s - self.loop.time()))
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

    def _disk_fault(self, kind: str) -> str | None:
        at_s = self.loop.time() - self.began_s
        for fault in self.scenario.disk:
            if fault.from_s <= at_s < fault.until_s and (fault.share >= 1 or self._disk_rng.random() < fault.share):
                self.record.hits[fault.words] += 1
                self.record.hits["commit refused"] += kind == "commit"
                return fault.words
        return None

    # -- what people do

    async def _do_deeds(self) -> None:
        for deed in self.scenario.deeds:
            await asyncio.sleep(max(0.0, self.began_s + deed.at_s - self.loop.time()))
            await self._right_clock.wait()
            if deed.kind == "refuse leased":
                await self._until_leased(deed.carrier)
            with contextlib.suppress(RefusedError, NotFoundError):
                self.office.do(deed)
                self.record.hits[f"deed {deed.kind}"] += 1

    async def _until_leased(self, carrier: str) -> None:
        """Wait a while for messages that are leased and not begun."""
        for _ in range(100):
            if self.office.leased(carrier):
                return
            await asyncio.sleep(0.02)

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
                        self.loop.wall_skew_ns,
                    )
                )
            at += length

    def _note_connection(self, side: Side) -> None:
        code = self._codes[side.port]
        live = [each for each in self.network.sides if each.outgoing and each.process is side.process and not each.is_closing()]
        if (count := sum(self._codes[each.port] == code for each in live)) > self.cards[code].binds:
            self.record.faults.append(f"I13: {code}: {count} connections at once, the account has {self.cards[code].binds}")
        self.record.hits["second host"] += side.port != self.cards[code].endpoint.port


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _armed(simulator: Simulator) -> list[Any]:
    faults = simulator._faults
    return [*(each for armed in faults._by_occasion.values() for each in armed), *faults._by_clock]


def _struck(simulator: Simulator) -> Counter[str]:
    """Count how often each kind of fault struck."""
    every = _armed(simulator)
    struck = Counter({each.ordered.kind: each._struck for each in every if each._struck})
    for each in every:
        for key in ("status", "state"):
            if each._struck and key in each.ordered.values:
                struck[f"{each.ordered.kind} {each.ordered.values[key]}"] += each._struck
    return struck


@contextlib.contextmanager
def _told_to(world: World) -> Iterator[None]:
    """Let every logger of the program tell the world's record."""

    def note(event: str, values: dict[str, Any]) -> None:
        if not world._burying:
            world.record.events.append((world.loop.time(), event, values))

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.record.told.append(record.getMessage())

    handler = Told(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    modules = [module for name, module in sys.modules.items() if name.startswith("broadcaster.") and hasattr(module, "log")]
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "log", _Log(note)))
        stack.callback(logging.getLogger().removeHandler, handler)
        yield


def simulate(scenario: Scenario, judge: Callable[[Record], list[str]]) -> tuple[Record, list[str]]:
    """Play a scenario and return its record with what is wrong."""
    speak("en")
    random.seed(scenario.seed)
    collecting = gc.isenabled()
    gc.disable()
    world = World(scenario)
    try:
        with virtual_time(world.loop), _told_to(world), mock.patch.object(guard, "_BOOT_ID", world.boot_id):
            record = world.run()
            return record, [*record.faults, *judge(record)]
    finally:
        world.close()
        if collecting:
            gc.enable()
