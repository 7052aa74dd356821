"""The campaigns of one process: what is due starts, what runs is handed to the senders, what is over is closed."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, select

from broadcaster.errors import BroadcasterError
from broadcaster.flow import enlist
from broadcaster.flow.judgement import readable_order
from broadcaster.flow.send import Sender
from broadcaster.flow.underway import Job
from broadcaster.lang import Said
from broadcaster.model import CampaignId, CampaignState, CarrierCode, MessageClass, Order, State
from broadcaster.rules import windows
from broadcaster.rules.lifecycle import MOVES, Action, move
from broadcaster.service.installation import Installation
from broadcaster.store import messages
from broadcaster.store.campaigns import Campaign, Lane, campaigns, change_campaign, find_campaign, lanes
from broadcaster.store.schema import campaign as table
from broadcaster.store.times import from_ms, to_ms
from broadcaster.store.writer import Writer

CLOSE_ROWS = 5_000
LIVE = (CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.PAUSED)
ENDED = (CampaignState.CANCELLED, CampaignState.HALTED)

log = structlog.get_logger("service")


class Campaigns:
    """Move campaigns along; `planned` is called with the planned starts whenever they may have changed."""

    def __init__(
        self,
        installation: Installation,
        writer: Writer,
        senders: Mapping[CarrierCode, Sender],
        *,
        now: Callable[[], dt.datetime],
        planned: Callable[[Mapping[str, dt.datetime]], None],
    ) -> None:
        self._store = installation.store
        self._auditor = installation.auditor
        self._writer = writer
        self._senders = senders
        self._now = now
        self._planned = planned
        self._assigned: dict[CarrierCode, dict[int, Job]] = {code: {} for code in senders}
        self._enlisting: dict[str, asyncio.Task[None]] = {}
        self._closing: asyncio.Task[None] | None = None
        self._stood: dict[int, str] = {}
        self._live = True
        self._unsettled = True

    @property
    def idle(self) -> bool:
        """Whether nothing is scheduled, running or paused, and what ended early is settled."""
        return not self._live and not self._unsettled

    def look(self) -> None:
        """Read the campaigns, start and expire what is due, and hand the running lanes to the senders. Raises `StoreError`."""
        now = self._now()
        with self._store.read() as connection:
            live = campaigns(connection, *LIVE)
            stand = _standing(connection, self._stood.keys())
            running = {item.id: item for item in live if item.state is CampaignState.RUNNING}
            open_lanes = lanes(connection, *running)
        self._tell(stand)
        scheduled = [item for item in live if item.state is CampaignState.SCHEDULED]
        self._planned({item.name: from_ms(item.planned_ms) for item in scheduled if item.planned_ms})
        for item in scheduled:
            self._see_to(item, now)
        self._assign(running, open_lanes)
        self._live = bool(live)

    def _tell(self, stand: list[_Standing]) -> None:
        """Log what has become of campaigns since the last look, whoever moved them."""
        for campaign_id, name, state, reason in stand:
            before = self._stood.get(campaign_id)
            if state != before:
                say = log.warning if state == CampaignState.HALTED else log.info
                action = next((done for (old, done), new in MOVES.items() if (old, new) == (before, state)), None)
                known = {"action": action, "reason": None if action is Action.FINISH else reason}
                say("campaign", campaign=name, state=state, **{key: value for key, value in known.items() if value})
        self._stood = {item.id: item.state for item in stand if item.state in LIVE}

    def _see_to(self, item: Campaign, now: dt.datetime) -> None:
        order = readable_order(item)
        if order is None:
            self._halt(item, now)
            return
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
        """Write the messages out, unless the campaign is cancelled meanwhile: each step looks anew."""
        try:
            for step in enlist.steps(self._store, item):
                if not await self._writer.submit(lambda connection, step=step: _while_scheduled(connection, item, step)):  # type: ignore[misc]
                    return
            log.info("enlisted", campaign=item.name, recipients=item.recipients)
        except BroadcasterError as error:
            log.warning("not-enlisted", campaign=item.name, error=type(error).__name__, reason=str(error))
        finally:
            del self._enlisting[item.name]

    def _halt(self, item: Campaign, now: dt.datetime) -> None:
        reason = Said("nội dung lưu trữ không đọc được", "what is stored cannot be read")
        self._move(item, Action.HALT, reason=str(reason), finished_ms=to_ms(now))

    def _move(self, item: Campaign, action: Action, **values: Any) -> None:
        def change(connection: Connection) -> bool:
            found = find_campaign(connection, str(item.id))
            if found.state is not item.state:
                return False
            change_campaign(connection, item.id, move(found.state, action), **values)
            self._auditor.record(connection, action, item.name, {})
            return True

        def changed(done: asyncio.Future[bool]) -> None:
            if error := done.exception():
                log.error("not-stored", campaign=item.name, action=action, error=type(error).__name__)

        self._writer.submit(change).add_done_callback(changed)

    def _assign(self, running: Mapping[CampaignId, Campaign], open_lanes: list[Lane]) -> None:
        jobs: dict[CarrierCode, dict[int, Job]] = {code: {} for code in self._senders}
        orders = {campaign_id: readable_order(item) for campaign_id, item in running.items()}
        for campaign_id, order in orders.items():
            if order is None:
                self._halt(running[campaign_id], self._now())
        for lane in open_lanes:
            order = orders[lane.campaign_id]
            if order is not None and lane.carrier in jobs and not lane.halted:
                jobs[lane.carrier][lane.id] = _job(running[lane.campaign_id], order, lane)
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
        unsettled = False
        try:
            with self._store.read() as connection:
                items = campaigns(connection, CampaignState.RUNNING, CampaignState.PAUSED, *ENDED)
                by_campaign = {item.id: lanes(connection, item.id) for item in items}
                left = {item.id: sum(messages.open_count(connection, lane.id) for lane in by_campaign[item.id]) for item in items}
            for item in items:
                over = self._is_over(item, now)
                if left[item.id] and (over or item.state in ENDED):
                    unsettled = True
                    state = State.LAPSED if over and item.state not in ENDED else State.CANCELLED
                    await self._close_rest(item, by_campaign[item.id], state)
                elif not left[item.id] and item.state not in ENDED and item.enlisted:
                    self._move(item, Action.FINISH, finished_ms=to_ms(now))
            self._unsettled = unsettled
        except BroadcasterError as error:
            log.warning("not-closed", error=type(error).__name__, reason=str(error))

    @staticmethod
    def _is_over(item: Campaign, now: dt.datetime) -> bool:
        order = readable_order(item)
        return (
            order is not None
            and item.started_ms is not None
            and windows.sending_allowed(order, from_ms(item.started_ms), now) == "over"
        )

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


def _job(campaign: Campaign, order: Order, lane: Lane) -> Job:
    return Job(lane.id, campaign.name, lane.parts, order.max_tps.get(lane.carrier), order.message_class is MessageClass.URGENT)


class _Standing(NamedTuple):
    id: int
    name: str
    state: str
    reason: str | None


def _standing(connection: Connection, stood: Collection[int]) -> list[_Standing]:
    """Return the live campaigns and those that `stood` live before; their contents, which may be damaged, are not read."""
    columns = (table.c.id, table.c.name, table.c.state, table.c.reason)
    rows = connection.execute(select(*columns).where(table.c.state.in_(LIVE) | table.c.id.in_(stood)).order_by(table.c.id))
    return [_Standing(*row) for row in rows]


def _while_scheduled(connection: Connection, item: Campaign, step: Callable[[Connection], None]) -> bool:
    """Take one step of enlisting if the campaign still waits to start."""
    if find_campaign(connection, str(item.id)).state is not CampaignState.SCHEDULED:
        return False
    step(connection)
    return True
