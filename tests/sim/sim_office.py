"""What people do during a simulation, each as its command does: pause, stop, refuse, requeue, release, look after what is halted."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Final

from sim_field import NAME, PER_COMMUNE, URGENT, number_of
from sim_record import Record
from sim_scenario import Deed
from sqlalchemy import text
from virtual_loop import VirtualLoop

from broadcaster.flow import admit, control, requeue, uncertain
from broadcaster.flow.refuse import refuse
from broadcaster.model import CampaignState, CarrierCard, CarrierCode, Msisdn
from broadcaster.service.installation import Installation
from broadcaster.store.campaigns import campaigns, lanes
from broadcaster.store.restore import adopt
from broadcaster.store.times import to_ms

REASON: Final = "thử"
_FOR_GOOD: Final = 1 << 62
_OPEN_LEASES: Final = text(
    "SELECT l.first_id, l.last_id, l.message_ids FROM lease l JOIN lane n ON n.id = l.lane_id "
    "WHERE l.closed_ms IS NULL AND n.carrier = :carrier ORDER BY l.id"
)
_TOKENS: Final = text("SELECT id, token FROM message WHERE id BETWEEN :first AND :last ORDER BY id")


class Office:
    """The people who order, on one installation."""

    def __init__(
        self, installed: Installation, loop: VirtualLoop, cards: Mapping[CarrierCode, CarrierCard], record: Record, rng: random.Random
    ) -> None:
        self.installed = installed
        self._loop = loop
        self._cards = cards
        self._record = record
        self._rng = rng

    def do(self, deed: Deed) -> None:
        """Do one deed as its command does. Raises `RefusedError` and `NotFoundError` where that would."""
        orders = {
            "refuse": self._refuse_anybody,
            "refuse leased": self._refuse_leased,
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
        orders[deed.kind](deed)

    def help(self, *, deeds_done: bool) -> None:
        """Do what a person would: let what was halted or paused go on."""
        office = self.installed
        with office.store.read() as connection:
            found = campaigns(connection, CampaignState.RUNNING, CampaignState.PAUSED)
            halted = {
                item.name
                for item in found
                if item.state is CampaignState.RUNNING and any(lane.halted for lane in lanes(connection, item.id))
            }
        for item in found:
            if item.name in halted:
                self._record.hits["carrier halted"] += 1
                self._order("pause", item.name)
            if item.name in halted or (deeds_done and item.state is CampaignState.PAUSED):
                self._order("resume", item.name)

    def confirm_clock(self) -> None:
        """State that the machine's time is right; the service must not run."""
        office = self.installed
        assert office.store.path is not None
        now_ms = to_ms(self._loop.wall())
        adopt(office.store, office.auditor, office.store.path, reason=REASON, nothing_sent=False, now_ms=now_ms)
        self._record.hits["clock confirmed"] += 1

    # -- refusals

    def _refuse_anybody(self, deed: Deed) -> None:
        communes = self._record.scenario.communes
        self._refuse([number_of(deed.carrier, at) for at in self._rng.sample(range(communes * PER_COMMUNE), deed.many)])

    def leased(self, carrier: str) -> list[str]:
        """Return the numbers whose message is leased and not begun."""
        office = self.installed
        with office.store.read() as connection:
            tokens = {}
            for first, last, listed in connection.execute(_OPEN_LEASES, {"carrier": carrier}).all():
                chosen = None if listed is None else set(json.loads(listed))
                found = connection.execute(_TOKENS, {"first": first, "last": last}).all()
                tokens |= {row.id: row.token for row in found if chosen is None or row.id in chosen}
        begun = {each.number.lstrip("+") for each in self._record.written}
        numbers = (str(number) for number in office.vault.reveal(list(tokens.values())))
        return [number for number in dict.fromkeys(numbers) if number not in begun]

    def _refuse_leased(self, deed: Deed) -> None:
        """Refuse for those who come last under the leases that are open: no lease can have seen it."""
        if numbers := self.leased(deed.carrier)[-deed.many :]:
            self._record.hits["refused under lease"] += 1
            self._refuse(numbers)

    def _refuse(self, numbers: list[str]) -> None:
        office, now = self.installed, self._loop.wall()
        told = [Msisdn(int(number)) for number in numbers]
        refuse(office.store, office.auditor, office.vault, told, refuses=True, source="operator", evidence=REASON, now=now)
        for number in numbers:
            self._record.refused_ns.setdefault(number, self._loop.now_ns)

    # -- orders

    def _move(self, deed: Deed) -> None:
        self._order(deed.kind, NAME)

    def _order(self, kind: str, name: str) -> None:
        act = {"pause": admit.pause, "resume": admit.resume, "cancel": admit.cancel}[kind]
        act(self.installed.store, self.installed.auditor, name, reason=REASON, now=self._loop.wall())
        self._record.ordered[name, kind] += 1
        if kind == "resume":
            self._note_going_on(name)
        else:
            self._note_stop(name)

    def _stop_all(self, deed: Deed) -> None:
        store, auditor = self.installed.store, self.installed.auditor
        if deed.kind == "stop-all":
            running = self._running()
            control.stop_all(store, auditor, reason=REASON, now=self._loop.wall())
            self._note_stop("everything")
            self._record.ordered["service", "stop-all"] += 1
            for name in running:
                self._record.ordered[name, "pause"] += 1
                self._note_stop(name)
            return
        control.lift_stop(store, auditor, reason=REASON)
        self._record.ordered["service", "lift"] += 1
        self._note_going_on("everything")
        for name in (NAME, URGENT):
            if name in self._paused():
                self._order("resume", name)

    def _running(self) -> list[str]:
        with self.installed.store.read() as connection:
            return [item.name for item in campaigns(connection, CampaignState.RUNNING)]

    def _paused(self) -> list[str]:
        with self.installed.store.read() as connection:
            return [item.name for item in campaigns(connection, CampaignState.PAUSED)]

    def _order_carrier(self, deed: Deed) -> None:
        store, auditor, card, now = (
            self.installed.store,
            self.installed.auditor,
            self._cards[CarrierCode(deed.carrier)],
            self._loop.wall(),
        )
        if deed.kind == "rate":
            control.set_rate(store, auditor, card, deed.many, reason=REASON, now=now)
        elif deed.kind == "pause carrier":
            control.pause_carrier(store, auditor, card, reason=REASON, now=now)
            self._note_stop(deed.carrier)
        else:
            control.resume_carrier(store, auditor, card, reason=REASON, now=now)
            self._note_going_on(deed.carrier)
        self._record.ordered[deed.carrier, deed.kind] += 1

    def _decide(self, deed: Deed) -> None:
        store, auditor, carrier, now = self.installed.store, self.installed.auditor, deed.carrier, self._loop.wall()
        if deed.kind == "requeue":
            requeue.requeue(store, auditor, NAME, carrier, deed.many, reason=REASON, now=now)
            return
        expect = uncertain.waiting(store, NAME, carrier).messages
        if deed.kind == "release":
            uncertain.release(store, auditor, NAME, carrier=carrier, expect=expect, reason=REASON, now=now)
        else:
            uncertain.settle(store, auditor, NAME, carrier=carrier, expect=expect, reason=REASON)

    def _note_stop(self, what: str) -> None:
        self._record.stopped_ns.append((what, self._loop.now_ns, _FOR_GOOD))

    def _note_going_on(self, what: str) -> None:
        """Close every span in which this was stopped."""
        self._record.stopped_ns = [
            (each, from_ns, self._loop.now_ns if until_ns == _FOR_GOOD and each == what else until_ns)
            for each, from_ns, until_ns in self._record.stopped_ns
        ]
