"""The service: one process that keeps every carrier's link up, sends what is due, and stops cleanly.

It looks at the database ten times a second for what other processes changed: campaigns, refusals, control.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

import structlog
from sqlalchemy import Connection

from broadcaster.errors import BroadcasterError, ConfigurationError
from broadcaster.flow.account import Account
from broadcaster.flow.evidence import weigh
from broadcaster.flow.fold import FOLD_S, Fold
from broadcaster.flow.lease import Gate
from broadcaster.flow.refuse import read_overdue_parts
from broadcaster.lang import Said
from broadcaster.model import CarrierCard, CarrierCode
from broadcaster.rules.refusal import Scope
from broadcaster.service.installation import Installation
from broadcaster.service.line import Line
from broadcaster.service.local import Campaigns
from broadcaster.service.logs import configure
from broadcaster.service.memory import spare_collector
from broadcaster.service.replies import ReplyLine
from broadcaster.service.schedule import Alarm
from broadcaster.service.watch import Watch
from broadcaster.store import messages, receipts, usage
from broadcaster.store.campaigns import next_epoch
from broadcaster.store.engine import Store, service_lock
from broadcaster.store.links import LinkRow, put_links
from broadcaster.store.refusals import Refusal, newest_refusal_id, reconcile, refusals_after
from broadcaster.store.suspicion import past_of
from broadcaster.store.times import SYSTEM, Clock, to_ms
from broadcaster.store.writer import Writer

LOOK_S = 0.1
BEAT_S = 1.0
ORPHAN_SWEEP_S = 60.0
RECOVER_ROWS = 1_000
SWITCH_S = 0.0001
"""How long the writer's thread waits for the interpreter while the event loop has it: it asks after each of its many statements, and
with the usual 5 ms the store would stand still while the loop works."""
MOST_LINES = 20
"""How many damaged lines of the journal an alarm names; `config check` names all."""
FINISH_S = 5.0
"""How long a stopping service goes on writing the other parts of messages it has begun."""

log = structlog.get_logger("service")


def run(installation: Installation, *, until_idle: bool = False) -> None:
    """Run the service until SIGTERM or SIGINT, or with `until_idle` until no campaign is scheduled, running or paused.

    Raises `LockedError` when another service runs on this database, `ConfigurationError` when there is no carrier card.
    """
    settings = installation.settings
    configure(settings.log_level, settings.log_format)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cards = installation.cards()
    if not cards:
        raise ConfigurationError(
            Said(
                f"Không có thẻ nhà mạng nào trong {settings.carriers_folder}.",
                f"There is no carrier card in {settings.carriers_folder}.",
            )
        )
    spare_collector()
    sys.setswitchinterval(SWITCH_S)
    with ExitStack() as stack:
        if installation.store.path is not None:
            stack.enter_context(service_lock(installation.store.path))
        asyncio.run(Service(installation, cards, until_idle=until_idle).run())


class Service:
    """Everything that lives while the service runs.

    All of it reads the time from `clock`, writes through what `writer` makes of the store, and is woken for planned starts by what
    `alarm` makes of its own look at the database; a simulation hands in its own three.
    """

    def __init__(
        self,
        installation: Installation,
        cards: Mapping[CarrierCode, CarrierCard],
        *,
        until_idle: bool,
        clock: Clock = SYSTEM,
        writer: Callable[[Store], Writer] = Writer,
        alarm: Callable[[Callable[[], None]], Alarm] = Alarm,
    ) -> None:
        self.installation = installation
        self.clock = clock
        self._make_writer = writer
        self._make_alarm = alarm
        self._cards = cards
        self._until_idle = until_idle
        self._stop = asyncio.Event()
        self.refused: set[bytes] = set()
        self._wants_urgent: set[bytes] = set()
        self._unread = True

    def stop(self) -> None:
        """Ask for a clean stop: `run` returns when it is done."""
        self._stop.set()

    async def run(self) -> None:
        """Run until told to stop. Raises `StoreError` on a database that may have forgotten what was sent (I18)."""
        self._take_signals()
        asyncio.get_running_loop().set_exception_handler(_on_fault)
        self._watch = Watch(self.installation, self.clock, self._cards)
        self.clock = self._watch.guard.clock
        try:
            self._watch.open()
            await self._work()
        finally:
            await self._watch.close()

    async def _work(self) -> None:
        store, here = self.installation.store, self.installation
        self.writer = self._make_writer(store)
        epoch = await self.writer.submit(self._begin)
        self._watch.write_note(ahead=True)
        self.gate = Gate(here.people, here.auditor, here.vault, here.settings.environment, epoch)
        await self._reconcile_refusals()
        await self._recover(epoch)
        with store.read() as connection:
            self._refusal_id = newest_refusal_id(connection)
            self._lines = [self._line(card, connection) for card in self._cards.values()]
        self._replies = self._reply_line()
        self._alarm = self._make_alarm(self._see)
        accounts = self._watch.guard.over({line.card.code: line.account for line in self._lines})
        self._campaigns = Campaigns(here, self.writer, accounts, now=self.clock.now, planned=self._alarm.plan)
        self._alarm.start()
        links = [task for line in self._lines for task in line.start()]
        if self._replies is not None:
            links.append(asyncio.create_task(self._replies.run()))
        log.info("started", epoch=epoch, carriers=len(self._lines))
        try:
            await self._live(store.watch())
        finally:
            await self._shut_down(links)

    def _line(self, card: CarrierCard, connection: Connection) -> Line:
        used = usage.used(connection, card.code, self.clock.now())
        account = Account(
            card,
            writer=self.writer,
            gate=self.gate,
            refused=self.refused,
            wants_urgent=self._wants_urgent,
            clock=self.clock,
            used=used,
            past=past_of(connection, card.code),
            may_write=self._watch.guard.may_write,
        )
        return Line(account, self.installation.vault, self.installation.journal)

    def _reply_line(self) -> ReplyLine | None:
        here = self.installation
        card = here.reply_card()
        if card is None or card.account is None:
            return None
        return ReplyLine(
            card.account, writer=self.writer, vault=here.vault, journal=here.journal, refused=self.refused, clock=self.clock
        )

    def _begin(self, connection: Connection) -> int:
        epoch = next_epoch(connection)
        self.installation.auditor.record(connection, "service-start", f"epoch {epoch}")
        return epoch

    async def _reconcile_refusals(self) -> None:
        """Bring the journal of refusals and the log in line before anything is sent: a database put back has forgotten some.

        A journal that cannot be written stops nobody's warning. Raises `StoreError` when it cannot be read: who refused is unknown.
        """
        here = self.installation
        found = await self.writer.submit(lambda connection: reconcile(connection, here.auditor, here.journal))
        if found.forgotten:
            log.warning("refusals-restored", count=len(found.forgotten))
        if found.unwritable:
            log.error("journal-failed", reason=str(found.unwritable))
        elif found.unwritten:
            log.error("journal-incomplete", count=len(found.unwritten))
        if found.damaged:
            lines = ", ".join(map(str, found.damaged[:MOST_LINES]))
            log.error("journal-damaged", count=len(found.damaged), reason=lines)

    async def _recover(self, epoch: int) -> None:
        """Name what the former process left unknown, before anything is sent (protocol step T0)."""
        settled = 0
        now_ms = to_ms(self.clock.now())
        while step := await self.writer.submit(lambda connection: messages.recover(connection, epoch, now_ms, RECOVER_ROWS)):
            settled += step
        if settled:
            log.warning("recovered", count=settled)

    async def _live(self, changed: Callable[[], bool]) -> None:
        beat_at = sweep_at = fold_at = 0.0
        fold = Fold(self.writer, now_ms=lambda: to_ms(self.clock.now()))
        while not self._stop.is_set():
            self._see(changed)
            moment = self.clock.monotonic()
            if moment >= beat_at:
                beat_at = moment + BEAT_S
                self._beat()
            if moment >= fold_at:
                fold_at = moment + FOLD_S
                fold.tick()
            if moment >= sweep_at:
                sweep_at = moment + ORPHAN_SWEEP_S
                self._sweep()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOOK_S)

    def _sweep(self) -> None:
        """Look again at the receipts that found no message, and at whether ids are read as they should be (F02)."""
        lines = self._lines
        self.writer.submit(receipts.match).add_done_callback(_note_failure)
        now_ms = to_ms(self.clock.now())
        self.writer.submit(lambda connection: [weigh(connection, card, now_ms) for card in self._cards.values()]).add_done_callback(
            _note_failure
        )
        self.writer.submit(lambda connection: [line.ids.judge(connection) for line in lines]).add_done_callback(_note_failure)
        vault, journal = self.installation.vault, self.installation.journal
        self.writer.submit(lambda connection: read_overdue_parts(connection, vault, now_ms, journal)).add_done_callback(_note_failure)

    def _see(self, changed: Callable[[], bool] = lambda: True) -> None:
        """Look, if anything has changed. A database or file that cannot be read now is looked at again; no lease is given on it."""
        try:
            self._unread = changed() or self._unread
            if self._unread:
                self._look()
                self._unread = False
            self._watch.look(self._lines)
        except Exception as error:  # noqa: BLE001  whatever it is, what was leased goes on, and nothing more is leased unchecked
            log.warning("look-failed", error=type(error).__name__, reason=str(error))

    def _look(self) -> None:
        with self.installation.store.read() as connection:
            self._refusal_id, news = refusals_after(connection, self._refusal_id)
        for item in news:
            (self.refused.add if item.refuses else self.refused.discard)(item.token)
            narrow = item.refuses and item.scope == Scope.ADVISORY
            (self._wants_urgent.add if narrow else self._wants_urgent.discard)(item.token)
        _tell_refusals(news)
        self._campaigns.look()

    def _beat(self) -> None:
        self._watch.beat(self.writer, self._lines, self._rows(), self._reply_rows())
        self._see()
        self._campaigns.close_what_is_over()
        if self._until_idle and self._campaigns.idle and not any(line.account.backlog for line in self._lines):
            self._stop.set()

    def _rows(self) -> list[LinkRow]:
        return [row for line in self._lines for row in line.rows()]

    def _reply_rows(self) -> list[LinkRow]:
        return [] if self._replies is None else [self._replies.row()]

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        """Stop cleanly; a second signal kills at once, as if the power had gone."""
        log.info("stopping", reason=number.name)
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
        self._stop.set()

    async def _shut_down(self, links: list[asyncio.Task[None]]) -> None:
        self._alarm.stop()
        await asyncio.gather(*(line.finish(FINISH_S) for line in self._lines))
        await asyncio.gather(*(line.unbind() for line in self._lines), *([self._replies.stop()] if self._replies else []))
        await asyncio.gather(*links, return_exceptions=True)
        await asyncio.gather(*(line.settle() for line in self._lines))
        try:
            while await self.writer.submit(messages.fold_next):
                pass
            await self.writer.submit(self._sign_off)
            self._watch.write_note(ahead=False)
        except BroadcasterError as error:
            log.warning("not-stored", error=type(error).__name__, reason=str(error))
        await self.writer.close()
        self.installation.store.close()
        log.info("stopped")

    def _sign_off(self, connection: Connection) -> None:
        put_links(connection, [*self._rows(), *self._reply_rows()])
        self.installation.auditor.record(connection, "service-stop", "service")


def _tell_refusals(news: list[Refusal]) -> None:
    """Log how many refusals, and how many withdrawals, came since the last look, whoever recorded them."""
    refusing = sum(item.refuses for item in news)
    for event, count in (("refusals", refusing), ("refusals-withdrawn", len(news) - refusing)):
        if count:
            log.info(event, count=count)


def _on_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no callback caught: its kind alone, since messages may quote what must not be in a log."""
    error = context.get("exception")
    log.error("fault", error=type(error).__name__ if error else "", reason=str(context.get("message", "")).split(":")[0])


def _note_failure(done: asyncio.Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()):
        log.error("not-stored", error=type(error).__name__)
