"""The campaigns of one process: what is due starts, what runs is handed to the senders, what is over is closed."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from sqlalchemy import Connection

from broadcaster.flow import enlist
from broadcaster.flow.send import Job, Sender
from broadcaster.lang import Said
from broadcaster.model import CampaignState, CarrierCode, MessageClass, State
from broadcaster.rules import windows
from broadcaster.rules.lifecycle import Action, move
from broadcaster.rules.order import order_from_json
from broadcaster.service.installation import Installation
from broadcaster.store import messages
from broadcaster.store.campaigns import Campaign, Lane, campaigns, change_campaign, find_campaign, lanes
from broadcaster.store.times import from_ms, to_ms
from broadcaster.store.writer import Writer

CLOSE_ROWS = 5_000
LIVE = (CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.PAUSED)
ENDED = (CampaignState.CANCELLED, CampaignState.HALTED)

log = structlog.get_logger("service")


class Campaigns:
    """Move campaigns along; `changed` is called with the planned starts whenever they may have changed."""

    def __init__(
        self,
        installation: Installation,
        writer: Writer,
        senders: Mapping[CarrierCode, Sender],
        *,
        now: Callable[[], dt.datetime],
        planned: Callable[[Mapping[str, dt.datetime]], None],
    ) -> None:
        self._installation = installation
        self._store = installation.store
        self._auditor = installation.auditor
        self._writer = writer
        self._senders = senders
        self._now = now
        self._planned = planned
        self._assigned: dict[CarrierCode, dict[int, Job]] = {code: {} for code in senders}
        self._enlisting: dict[str, asyncio.Task[None]] = {}
        self._closing: asyncio.Task[None] | None = None
        self.idle = False
        """Whether nothing is scheduled, running or paused."""

    def look(self) -> None:
        """Read the campaigns, start and expire what is due, and hand the running lanes to the senders."""
        now = self._now()
        with self._store.read() as connection:
            live = campaigns(connection, *LIVE)
            running = {item.id: item for item in live if item.state is CampaignState.RUNNING}
            open_lanes = lanes(connection, *running)
        scheduled = [item for item in live if item.state is CampaignState.SCHEDULED]
        self._planned({item.name: from_ms(item.planned_ms) for item in scheduled if item.planned_ms})
        for item in scheduled:
            self._see_to(item, now)
        self._assign([(running[lane.campaign_id], lane) for lane in open_lanes])
        self.idle = not live

    def _see_to(self, item: Campaign, now: dt.datetime) -> None:
        order = order_from_json(item.content["order"])
        starts_at = from_ms(item.planned_ms or 0)
        if windows.start_is_void(order, starts_at, now):
            reason = Said("không bắt đầu được trong thời hạn đã ký", "it did not start within the signed time")
            self._move(item, Action.EXPIRE, reason=str(reason), finished_ms=to_ms(now))
        elif not item.enlisted:
            if item.name not in self._enlisting:
                self._enlisting[item.name] = asyncio.create_task(self._enlist(item))
        elif windows.may_start(order, starts_at, now):
            deadline = now + dt.timedelta(hours=order.deadline_h)
            self._move(item, Action.START, started_ms=to_ms(now), deadline_ms=to_ms(deadline))

    async def _enlist(self, item: Campaign) -> None:
        try:
            for step in enlist.steps(self._store, item):
                await self._writer.submit(step)
            log.info("enlisted", campaign=item.name, recipients=item.recipients)
        finally:
            del self._enlisting[item.name]
        self.look()

    def _move(self, item: Campaign, action: Action, **values: Any) -> None:
        def change(connection: Connection) -> None:
            found = find_campaign(connection, item.name)
            if found.state is not item.state:
                return
            change_campaign(connection, item.id, move(found.state, action), **values)
            self._auditor.record(connection, action, item.name, {})

        def changed(done: asyncio.Future[None]) -> None:
            if error := done.exception():
                log.error("not-stored", campaign=item.name, action=action, error=type(error).__name__)
            else:
                log.info("campaign", campaign=item.name, action=action)
                self.look()

        self._writer.submit(change).add_done_callback(changed)

    def _assign(self, running: list[tuple[Campaign, Lane]]) -> None:
        jobs: dict[CarrierCode, dict[int, Job]] = {code: {} for code in self._senders}
        for campaign, lane in running:
            if lane.carrier in jobs and not lane.halted:
                order = campaign.content["order"]
                urgent = order["message_class"] == MessageClass.URGENT
                jobs[lane.carrier][lane.id] = Job(lane.id, campaign.name, lane.parts, order["max_tps"].get(lane.carrier), urgent)
        for code, sender in self._senders.items():
            if jobs[code] != self._assigned[code]:
                self._assigned[code] = jobs[code]
                sender.assign(jobs[code])

    def close_what_is_over(self) -> None:
        """Finish campaigns with nothing left to send, and settle what cancelled, halted or overdue ones will never send."""
        if self._closing is None or self._closing.done():
            self._closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        now = self._now()
        with self._store.read() as connection:
            items = campaigns(connection, CampaignState.RUNNING, CampaignState.PAUSED, *ENDED)
            by_campaign = {item.id: lanes(connection, item.id) for item in items}
            left = {item.id: sum(messages.open_count(connection, lane.id) for lane in by_campaign[item.id]) for item in items}
        for item in items:
            over = self._is_over(item, now)
            if left[item.id] and (over or item.state in ENDED):
                state = State.LAPSED if over and item.state not in ENDED else State.CANCELLED
                await self._close_rest(item, by_campaign[item.id], state)
            elif not left[item.id] and item.state not in ENDED and item.enlisted:
                log.info("finished", campaign=item.name)
                self._move(item, Action.FINISH, finished_ms=to_ms(now))

    @staticmethod
    def _is_over(item: Campaign, now: dt.datetime) -> bool:
        if item.started_ms is None:
            return False
        return windows.sending_allowed(order_from_json(item.content["order"]), from_ms(item.started_ms), now) == "over"

    async def _close_rest(self, item: Campaign, every: list[Lane], state: State) -> None:
        """Settle what will never be sent; what senders still hold is given back first and settled at the next look."""
        for sender in self._senders.values():
            sender.give_back({lane.id for lane in every})
        for lane in every:
            while True:

                def close(connection: Connection, lane_id: int = lane.id) -> int:
                    fresh = next(one for one in lanes(connection, item.id) if one.id == lane_id)
                    messages.close_rest(connection, fresh, state, CLOSE_ROWS)
                    return fresh.messages - fresh.next_position + 1

                if await self._writer.submit(close) <= 0:
                    break
