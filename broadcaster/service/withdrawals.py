"""The withdrawals under way: of each campaign that was ended before its time, one for each carrier that can."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from broadcaster.errors import BroadcasterError
from broadcaster.flow.judgement import readable_order
from broadcaster.flow.withdraw import Canceller, Withdrawal
from broadcaster.model import CampaignState, CarrierCode
from broadcaster.service.installation import Installation
from broadcaster.store.campaigns import Campaign, Lane
from broadcaster.store.control import Stop
from broadcaster.store.times import to_ms
from broadcaster.store.writer import Writer

WITHIN_MS: Final = 24 * 3_600_000
"""What ended longer ago is not asked back any more."""

log = structlog.get_logger("withdraw")


class _Key(NamedTuple):
    lane_id: int
    since_ms: int


class Withdrawals:
    """Run the withdrawals that are due, again at each look until each is done."""

    def __init__(self, installation: Installation, writer: Writer, accounts: Mapping[CarrierCode, Canceller]) -> None:
        self._installation = installation
        self._writer = writer
        self._accounts = {code: account for code, account in accounts.items() if account.card.cancels}
        self._open: dict[_Key, Withdrawal] = {}
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._done: set[_Key] = set()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Return what is being asked just now."""
        return list(self._tasks.values())

    def look(self, items: Sequence[tuple[Campaign, Sequence[Lane]]], stop: Stop | None, now: dt.datetime) -> None:
        """Begin or go on with what these campaigns need, and leave what is not wanted any more."""
        wanted: dict[_Key, tuple[Campaign, Lane]] = {}
        for item, every in items:
            since_ms = _ended_ms(item, stop)
            if since_ms is not None and to_ms(now) - since_ms < WITHIN_MS:
                wanted |= {_Key(lane.id, since_ms): (item, lane) for lane in every if lane.carrier in self._accounts}
        for key in self._tasks.keys() - wanted.keys():
            self._tasks.pop(key).cancel()
        for key, (item, lane) in wanted.items():
            if key not in self._done and key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._run(key, item, lane, to_ms(now)))

    async def _run(self, key: _Key, item: Campaign, lane: Lane, now_ms: int) -> None:
        try:
            withdrawal = self._open.get(key) or self._withdrawal(key, item, lane)
            if withdrawal is None or await withdrawal.run(self._accounts[lane.carrier], now_ms):
                self._done.add(key)
                self._open.pop(key, None)
        except BroadcasterError as error:
            log.warning("not-withdrawn", campaign=item.name, carrier=lane.carrier, error=type(error).__name__, reason=str(error))
        finally:
            if self._tasks.get(key) is asyncio.current_task():
                del self._tasks[key]

    def _withdrawal(self, key: _Key, item: Campaign, lane: Lane) -> Withdrawal | None:
        order = readable_order(item)
        if order is None:
            return None
        here = self._installation
        made = Withdrawal(
            lane,
            item.name,
            order.sender,
            key.since_ms,
            store=here.store,
            writer=self._writer,
            auditor=here.auditor,
            vault=here.vault,
        )
        self._open[key] = made
        return made


def _ended_ms(item: Campaign, stop: Stop | None) -> int | None:
    """Return when somebody decided that nothing more of the campaign is to arrive; None when nobody did."""
    if item.started_ms is None:
        return None
    if item.state in {CampaignState.CANCELLED, CampaignState.HALTED}:
        return item.finished_ms
    return stop.since_ms if stop and item.state is CampaignState.PAUSED else None
