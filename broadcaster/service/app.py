"""The service: one process that keeps every carrier's link up, sends what is due, and stops cleanly.

It looks at the database ten times a second for what other processes changed: campaigns, refusals, control.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import resource
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import structlog
from sqlalchemy import Connection

from broadcaster.errors import BroadcasterError, ConfigurationError
from broadcaster.files.prefixes import read_plan
from broadcaster.flow.lease import Gate
from broadcaster.flow.send import Sender
from broadcaster.flow.settle import Inbox
from broadcaster.lang import Said
from broadcaster.link.client import Client, LinkState
from broadcaster.model import CarrierCard, CarrierCode
from broadcaster.service.installation import Installation
from broadcaster.service.local import Campaigns
from broadcaster.service.logs import configure
from broadcaster.service.schedule import Alarm
from broadcaster.store import messages, receipts
from broadcaster.store.campaigns import next_epoch
from broadcaster.store.engine import service_lock
from broadcaster.store.links import LinkRow, put_links
from broadcaster.store.refusals import newest_refusal_id, refusals_after
from broadcaster.store.times import now_ms
from broadcaster.store.writer import Writer

LOOK_S = 0.1
BEAT_S = 1.0
ORPHAN_SWEEP_S = 60.0
RECOVER_ROWS = 1_000
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
    with ExitStack() as stack:
        if installation.store.path is not None:
            stack.enter_context(service_lock(installation.store.path))
        asyncio.run(Service(installation, cards, until_idle=until_idle).run())


class _Line:
    """One carrier's link with its sender and inbox."""

    def __init__(self, card: CarrierCard, service: Service) -> None:
        self.card = card
        self.state = LinkState.CONNECTING
        self.reason = ""
        self.since_ms = now_ms()
        self._counted = (time.monotonic(), 0)
        self.client = Client(
            card,
            on_answer=lambda answers: self.sender.on_answer(answers),  # noqa: PLW0108  made below
            on_unanswered=lambda flights, reason: self.sender.on_unanswered(flights, reason),  # noqa: PLW0108
            on_inbound=lambda inbounds: self.inbox.on_inbound(inbounds),  # noqa: PLW0108
            on_state=self._on_state,
        )
        writer, vault, refused = service.writer, service.installation.vault, service.refused
        self.sender = Sender(card, self.client, writer=writer, gate=service.gate, refused=refused, now=service.now)
        self.inbox = Inbox(
            card, writer=writer, vault=vault, plan=read_plan(), refused=refused, acknowledge=self.client.acknowledge_all
        )

    async def run(self) -> None:
        """Keep the link up; a fault of our own ends this link alone, and says so."""
        try:
            await self.client.run()
        except Exception as error:  # noqa: BLE001  whatever it is, the other carriers go on
            log.warning("link-failed", carrier=self.card.code, error=type(error).__name__)
            self.state, self.reason, self.since_ms = LinkState.STOPPED, f"internal error: {type(error).__name__}", now_ms()

    def _on_state(self, state: LinkState, reason: str) -> None:
        if state is LinkState.BOUND:
            reason = str(Said(f"nhà mạng xưng tên «{reason}»", f"the carrier calls itself “{reason}”"))
        self.state, self.reason, self.since_ms = state, reason, now_ms()
        say = log.warning if state in {LinkState.LOST, LinkState.REFUSED} else log.info
        say("link", carrier=self.card.code, state=state.value, reason=reason)
        if state is LinkState.BOUND:
            self.sender.pump()

    def row(self) -> LinkRow:
        moment, sent = time.monotonic(), self.sender.sent
        before, counted = self._counted
        self._counted = (moment, sent)
        rate = (sent - counted) / max(moment - before, 0.001)
        return LinkRow(self.card.code, self.state.value, self.reason, self.since_ms, now_ms(), rate, self.client.outstanding)


class Service:
    """Everything that lives while the service runs."""

    def __init__(self, installation: Installation, cards: dict[CarrierCode, CarrierCard], *, until_idle: bool) -> None:
        self.installation = installation
        self._cards = cards
        self._until_idle = until_idle
        self._stop = asyncio.Event()
        self.refused: set[bytes] = set()

    @staticmethod
    def now() -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    async def run(self) -> None:
        self._take_signals()
        store = self.installation.store
        asyncio.get_running_loop().set_exception_handler(_on_fault)
        self.writer = Writer(store)
        epoch = await self.writer.submit(self._begin)
        here = self.installation
        self.gate = Gate(here.people, here.auditor, here.vault, here.settings.environment, epoch)
        await self._recover(epoch)
        with store.read() as connection:
            self._refusal_id = newest_refusal_id(connection)
        self._lines = [_Line(card, self) for card in self._cards.values()]
        self._alarm = Alarm(self._see)
        senders = {line.card.code: line.sender for line in self._lines}
        self._campaigns = Campaigns(self.installation, self.writer, senders, now=self.now, planned=self._alarm.plan)
        self._alarm.start()
        links = [asyncio.create_task(line.run()) for line in self._lines]
        log.info("started", epoch=epoch, carriers=len(self._lines))
        try:
            await self._live(store.watch())
        finally:
            await self._shut_down(links)

    def _begin(self, connection: Connection) -> int:
        epoch = next_epoch(connection)
        self.installation.auditor.record(connection, "service-start", f"epoch {epoch}")
        return epoch

    async def _recover(self, epoch: int) -> None:
        """Name what the former process left unknown, before anything is sent (protocol step T0)."""
        settled = 0
        while step := await self.writer.submit(lambda connection: messages.recover(connection, epoch, now_ms(), RECOVER_ROWS)):
            settled += step
        if settled:
            log.warning("recovered", count=settled)

    async def _live(self, changed: Callable[[], bool]) -> None:
        beat_at = sweep_at = 0.0
        while not self._stop.is_set():
            self._see(changed)
            moment = time.monotonic()
            if moment >= beat_at:
                beat_at = moment + BEAT_S
                self._beat()
            if moment >= sweep_at:
                sweep_at = moment + ORPHAN_SWEEP_S
                self.writer.submit(receipts.match).add_done_callback(_note_failure)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOOK_S)

    def _see(self, changed: Callable[[], bool] = lambda: True) -> None:
        """Look, if anything has changed. A database or file that cannot be read now is looked at again; no lease is given on it."""
        try:
            if changed():
                self._look()
        except Exception as error:  # noqa: BLE001  whatever it is, what was leased goes on, and nothing more is leased unchecked
            log.warning("look-failed", error=type(error).__name__, reason=str(error))

    def _look(self) -> None:
        with self.installation.store.read() as connection:
            self._refusal_id, news = refusals_after(connection, self._refusal_id)
        for token, refuses in news:
            (self.refused.add if refuses else self.refused.discard)(token)
        _tell_refusals(news)
        self._campaigns.look()

    def _beat(self) -> None:
        rows = [line.row() for line in self._lines]
        self.writer.submit(lambda connection: put_links(connection, rows)).add_done_callback(_note_failure)
        self._see()
        self._campaigns.close_what_is_over()
        if self._until_idle and self._campaigns.idle and not any(line.sender.backlog for line in self._lines):
            self._stop.set()

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
        for line in self._lines:
            line.sender.prepare_stop()
        await asyncio.gather(*(line.sender.finish(FINISH_S) for line in self._lines))
        await asyncio.gather(*(line.client.stop(line.card.response_timeout_s) for line in self._lines))
        await asyncio.gather(*links, return_exceptions=True)
        await asyncio.gather(*(line.sender.stop() for line in self._lines))
        try:
            await self.writer.submit(self._sign_off)
        except BroadcasterError as error:
            log.warning("not-stored", error=type(error).__name__, reason=str(error))
        await self.writer.close()
        self.installation.store.close()
        log.info("stopped")

    def _sign_off(self, connection: Connection) -> None:
        put_links(connection, [line.row() for line in self._lines])
        self.installation.auditor.record(connection, "service-stop", "service")


def _tell_refusals(news: list[tuple[bytes, bool]]) -> None:
    """Log how many refusals, and how many withdrawals, came since the last look, whoever recorded them."""
    refusing = sum(refuses for _, refuses in news)
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
