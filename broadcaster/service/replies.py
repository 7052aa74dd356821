"""The reply number's own link: bound to receive only, whatever becomes of the carriers' links."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from broadcaster.files.prefixes import read_plan
from broadcaster.flow.settle import Inbox
from broadcaster.link.client import Client, Inbound, LinkState
from broadcaster.model import CarrierCard
from broadcaster.service.line import REFUSE_AFTER_S, Standing
from broadcaster.smpp.bodies import BindKind
from broadcaster.store.journal import Journal
from broadcaster.store.links import LinkRow
from broadcaster.store.times import Clock
from broadcaster.store.vault import Vault
from broadcaster.store.writer import Writer

UNBIND_S = 1.0
log = structlog.get_logger("service")


class ReplyLine:
    """Take what subscribers text to the reply number, and acknowledge it once it is durable and in force."""

    def __init__(
        self, card: CarrierCard, *, writer: Writer, vault: Vault, journal: Journal, refused: set[bytes], clock: Clock
    ) -> None:
        self.standing = Standing(card.code, 1, clock)
        self.client = Client(
            card,
            on_answer=_ignore,
            on_unanswered=lambda contexts, _: _ignore(contexts),
            on_inbound=lambda inbounds: self._inbox.on_inbound(inbounds),  # noqa: PLW0108  made below
            on_state=self.standing.note,
            clock=clock.monotonic,
            kind=BindKind.RECEIVER,
        )
        self._inbox = Inbox(
            card,
            writer=writer,
            vault=vault,
            plan=read_plan(),
            refused=refused,
            acknowledge=self._acknowledge,
            now=clock.now,
            journal=journal,
        )

    async def run(self) -> None:
        """Keep the link up; a fault of our own ends this link alone, and says so."""
        try:
            await self.client.run()
        except Exception as error:  # noqa: BLE001  whatever it is, the carriers' links go on
            self.standing.note_fault(error)

    async def stop(self) -> None:
        """Unbind."""
        await self.client.stop(UNBIND_S)

    def row(self) -> LinkRow:
        """Return the row of `link_state`."""
        return self.standing.row(str(self.client.endpoint), 0, 0)

    @property
    def up(self) -> bool:
        """Whether texts can come in now."""
        return self.standing.state is LinkState.BOUND

    def _acknowledge(self, inbounds: Sequence[Inbound], status: int) -> None:
        if status:
            asyncio.get_running_loop().call_later(REFUSE_AFTER_S, self.client.acknowledge_all, inbounds, status)
        else:
            self.client.acknowledge_all(inbounds)


def _ignore(_contexts: Sequence[object]) -> None:
    """Nothing is submitted on this link."""
