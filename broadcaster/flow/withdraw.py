"""What a carrier still holds of a campaign that was cancelled, halted or stopped is asked back, where it knows how (cancel_sm, 4.9).

Asking changes no state: what the carrier drops comes back as a receipt, and what it does not, arrives. Asking twice does no harm, so
a service that dies in the middle begins anew at its next start.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import Connection, Row, text

from broadcaster.model import CarrierCard, State
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import Lane
from broadcaster.store.control import audited_since
from broadcaster.store.engine import Store
from broadcaster.store.schema import LANE_SHIFT
from broadcaster.store.vault import Vault
from broadcaster.store.writer import Writer

WITHDRAW: Final = "withdraw"

_HELD = text(
    "SELECT s.message_id, s.part, coalesce(s.raw_id, s.smsc_id) AS smsc_id, m.token FROM submission s CROSS JOIN message m "
    "WHERE s.message_id >= :message AND s.message_id < :high AND (s.message_id > :message OR s.part > :part) "
    "AND s.state = :accepted AND s.smsc_id IS NOT NULL AND s.answered_ms >= :since AND m.id = s.message_id "
    "ORDER BY s.message_id, s.part LIMIT :limit"
)

log = structlog.get_logger("withdraw")


class Canceller(Protocol):
    """What is needed of a carrier's account (flow/account.py)."""

    card: CarrierCard

    async def cancel(self, smsc_id: str, source: str, destination: str) -> int | None: ...


class Withdrawal:
    """Ask one lane's carrier for what it holds; `run` again and again until it says that it is done.

    `source` is the campaign's sender address, `since_ms` when the order to end it came.
    """

    def __init__(
        self,
        lane: Lane,
        campaign: str,
        source: str,
        since_ms: int,
        *,
        store: Store,
        writer: Writer,
        auditor: Auditor,
        vault: Vault,
    ) -> None:
        self._lane = lane
        self._campaign = campaign
        self._source = source
        self._since_ms = since_ms
        self._store = store
        self._writer = writer
        self._auditor = auditor
        self._vault = vault
        self._answered_from_ms = 0
        self._after = (lane.id << LANE_SHIFT, 0)
        self._answers: Counter[str] = Counter()

    async def run(self, account: Canceller, now_ms: int) -> bool:
        """Ask for everything accepted without a final receipt, and record in the audit chain what came of it.

        True when that was all. False when the carrier did not answer, or parts were still on their way to it: those come next time.
        """
        with self._store.read() as connection:
            if audited_since(connection, WITHDRAW, self._campaign, self._since_ms, carrier=self._lane.carrier):
                return True
            under_way = _under_way(connection, self._lane)
        while rows := self._page(account.card.window):
            answers = await asyncio.gather(*(self._ask(account, row) for row in rows))
            if all(status is None for status in answers):
                return False
            self._answers.update("unanswered" if status is None else "refused" if status else "dropped" for status in answers)
            self._after = (rows[-1].message_id, rows[-1].part)
        if under_way:
            self._answered_from_ms, self._after = now_ms, (self._lane.id << LANE_SHIFT, 0)
            return False
        if self._answers:
            log.warning("withdrawn", campaign=self._campaign, carrier=account.card.code, count=self._answers["dropped"])
            await self._writer.submit(self._record)
        return True

    def _page(self, limit: int) -> Sequence[Row[Any]]:
        message, part = self._after
        values = {
            "high": (self._lane.id + 1) << LANE_SHIFT,
            "message": message,
            "part": part,
            "accepted": int(State.ACCEPTED),
            "since": self._answered_from_ms,
            "limit": limit,
        }
        with self._store.read() as connection:
            return connection.execute(_HELD, values).all()

    async def _ask(self, account: Canceller, row: Row[Any]) -> int | None:
        (number,) = self._vault.reveal([row.token])
        try:
            return await account.cancel(row.smsc_id, self._source, str(number))
        except LocalProtocolError:
            # The link went down meanwhile, or this id cannot be one: nothing was asked.
            return None

    def _record(self, connection: Connection) -> None:
        counted = {name: self._answers[name] for name in ("dropped", "refused", "unanswered")}
        self._auditor.record(connection, WITHDRAW, self._campaign, {"carrier": self._lane.carrier, **counted})


def _under_way(connection: Connection, lane: Lane) -> bool:
    query = text("SELECT 1 FROM lease WHERE closed_ms IS NULL AND lane_id = :lane LIMIT 1")
    return connection.execute(query, {"lane": lane.id}).first() is not None
