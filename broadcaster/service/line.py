"""One carrier's line: its account, and for each of the account's binds a link with its sender and inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from broadcaster.files.prefixes import read_plan
from broadcaster.flow.account import Account
from broadcaster.flow.idwatch import IdWatch
from broadcaster.flow.send import Sender
from broadcaster.flow.settle import Inbox
from broadcaster.lang import Said
from broadcaster.link.backoff import Backoff, Pace
from broadcaster.link.client import Client, Inbound, LinkState
from broadcaster.model import CarrierCard, CarrierCode
from broadcaster.store.journal import Journal
from broadcaster.store.links import LinkRow
from broadcaster.store.times import Clock, to_ms
from broadcaster.store.vault import Vault

REFUSE_AFTER_S = 1.0
"""How long a carrier waits for our answer when the store failed, so that it does not deliver the same again and again."""

log = structlog.get_logger("service")


class Standing:
    """Where one bind stands, for people."""

    def __init__(self, carrier: CarrierCode, bind: int, clock: Clock) -> None:
        self.state = LinkState.CONNECTING
        self.reason = ""
        self._carrier = carrier
        self._bind = bind
        self._clock = clock
        self._since_ms = to_ms(clock.now())
        self._counted = (clock.monotonic(), 0)

    def note(self, state: LinkState, reason: str) -> None:
        """Take a change from the link, and log it."""
        if state is LinkState.BOUND:
            reason = str(Said(f"nhà mạng xưng tên «{reason}»", f"the carrier calls itself “{reason}”"))
        self._enter(state, reason)
        say = log.warning if state in {LinkState.LOST, LinkState.REFUSED} else log.info
        say("link", carrier=self._carrier, bind=self._bind, state=state.value, reason=reason)

    def note_given_up(self) -> None:
        """Take that the link ended by itself: nobody but a person can mend its cause."""
        log.error("bind-given-up", carrier=self._carrier, bind=self._bind, reason=self.reason)

    def note_fault(self, error: Exception) -> None:
        """Take a fault of our own, which ended the link."""
        log.warning("link-failed", carrier=self._carrier, bind=self._bind, error=type(error).__name__)
        self._enter(LinkState.STOPPED, f"internal error: {type(error).__name__}")

    def _enter(self, state: LinkState, reason: str) -> None:
        self.state, self.reason, self._since_ms = state, reason, to_ms(self._clock.now())

    def row(self, endpoint: str, sent: int, outstanding: int) -> LinkRow:
        """Return the row of `link_state`; `sent` counts all parts written so far."""
        moment = self._clock.monotonic()
        before, counted = self._counted
        self._counted = (moment, sent)
        return LinkRow(
            self._carrier,
            self.state.value,
            self.reason,
            self._since_ms,
            to_ms(self._clock.now()),
            (sent - counted) / max(moment - before, 0.001),
            outstanding,
            self._bind,
            endpoint,
        )


class Bind:
    """One connection of the account; `number` counts from 1."""

    def __init__(self, number: int, account: Account, vault: Vault, journal: Journal | None, pace: Pace, ids: IdWatch) -> None:
        card, clock = account.card, account.clock
        self.account = account
        self.standing = Standing(card.code, number, clock)
        self.client = Client(
            card,
            on_answer=lambda answers: self.sender.on_answer(answers),  # noqa: PLW0108  made below
            on_unanswered=lambda flights, reason: self.sender.on_unanswered(flights, reason),  # noqa: PLW0108
            on_inbound=lambda inbounds: self.inbox.on_inbound(inbounds),  # noqa: PLW0108
            on_late=lambda answers: self.sender.on_late(answers),  # noqa: PLW0108
            on_state=self._on_state,
            clock=clock.monotonic,
            pace=pace,
        )
        self.sender = Sender(account, self.client)
        self.inbox = Inbox(
            card,
            writer=account.writer,
            vault=vault,
            plan=read_plan(),
            refused=account.refused,
            acknowledge=self._acknowledge,
            now=clock.now,
            ids=ids,
            journal=journal,
        )

    async def run(self) -> None:
        """Keep the link up; it ends alone, and says so, by a fault of our own or a carrier that will not have us (F30)."""
        try:
            await self.client.run()
            if not self.account.stopping:
                self.standing.note_given_up()
        except Exception as error:  # noqa: BLE001  whatever it is, the other links go on
            self.standing.note_fault(error)

    def _on_state(self, state: LinkState, reason: str) -> None:
        self.standing.note(state, reason)
        # A link that is up has room; one that is down gives back what was not begun, for the other binds to send.
        self.sender.pump()

    def _acknowledge(self, inbounds: Sequence[Inbound], status: int) -> None:
        if status:
            asyncio.get_running_loop().call_later(REFUSE_AFTER_S, self.client.acknowledge_all, inbounds, status)
        else:
            self.client.acknowledge_all(inbounds)

    def row(self) -> LinkRow:
        return self.standing.row(str(self.client.endpoint), self.sender.sent, self.client.outstanding)


class Line:
    """One carrier with all its binds."""

    def __init__(self, account: Account, vault: Vault, journal: Journal | None = None) -> None:
        self.card: CarrierCard = account.card
        self.account = account
        self.ids = IdWatch(account.card)
        pace = Pace(Backoff().spacing_s)
        self.binds = [Bind(number, account, vault, journal, pace, self.ids) for number in range(1, account.card.binds + 1)]

    def start(self) -> list[asyncio.Task[None]]:
        """Begin to keep every bind up."""
        return [asyncio.create_task(bind.run()) for bind in self.binds]

    async def finish(self, limit_s: float) -> None:
        """Lease no more, and wait up to `limit_s` until the other parts of every message begun are written."""
        self.account.prepare_stop()
        await asyncio.gather(*(bind.sender.finish(limit_s) for bind in self.binds))

    async def unbind(self) -> None:
        """Wait for what is outstanding, as long as the card's response timeout, and end the links."""
        await asyncio.gather(*(bind.client.stop(self.card.response_timeout_s) for bind in self.binds))

    async def settle(self) -> None:
        """Give back what was not written and store every outcome; the links must have ended."""
        await asyncio.gather(*(bind.sender.stop() for bind in self.binds))
        self.account.end()

    def rows(self) -> list[LinkRow]:
        """Return the rows of `link_state`."""
        return [bind.row() for bind in self.binds]
