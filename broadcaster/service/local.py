"""The campaigns of one process: what is due starts, what runs is handed to the senders, what is over is closed."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, Protocol

import structlog
from sqlalchemy import Connection, bindparam, select

from broadcaster.errors import BroadcasterError
from broadcaster.flow import enlist
from broadcaster.flow.judgement import readable_order
from broadcaster.flow.underway import Job
from broadcaster.lang import Said
from broadcaster.model import CampaignId, CampaignState, CarrierCard, CarrierCode, MessageClass, Order, State, UnknownPolicy
from broadcaster.rules import windows
from broadcaster.rules.lifecycle import MOVES, Action, move
from broadcaster.service.installation import Installation
from broadcaster.service.withdrawals import Withdrawals
from broadcaster.store import messages, unknown
from broadcaster.store.campaigns import Campaign, Lane, campaigns, change_campaign, find_campaign, lanes
from broadcaster.store.control import AccountOrder, Stop, account_orders, standing_stop
from broadcaster.store.schema import campaign as table
from broadcaster.store.times import from_ms, to_ms
from broadcaster.store.writer import Writer

CLOSE_ROWS = 5_000
UNKNOWN_WAIT_MS: Final = 120_000
"""How long receipts and late answers have to settle what is unknown before ``at-least-once`` sends it again."""
LIVE = (CampaignState.SCHEDULED, CampaignState.RUNNING, CampaignState.PAUSED)
ENDED = (CampaignState.CANCELLED, CampaignState.HALTED)
FINISH_BEGUN_S: Final = 0.5
"""How long the other parts of messages begun are still written after a lane was taken away: nothing is after a second (I12)."""

log = structlog.get_logger("service")


class Account(Protocol):
    """What sends one carrier's lanes (flow/account.py)."""

    card: CarrierCard

    def assign(self, jobs: Mapping[int, Job]) -> None: ...
    def give_back(self, lane_ids: set[int]) -> None: ...
    def cut_short(self, lane_ids: set[int]) -> None: ...
    async def cancel(self, smsc_id: str, source: str, destination: str) -> int | None: ...


class _Control(NamedTuple):
    """What people ordered across all campaigns."""

    stop: Stop | None
    accounts: Mapping[str, AccountOrder]


class Campaigns:
    """Move campaigns along; `planned` is called with the planned starts whenever they may have changed."""

    def __init__(
        self,
        installation: Installation,
        writer: Writer,
        accounts: Mapping[CarrierCode, Account],
        *,
        now: Callable[[], dt.datetime],
        planned: Callable[[Mapping[str, dt.datetime]], None],
    ) -> None:
        self._store = installation.store
        self._auditor = installation.auditor
        self._writer = writer
        self._accounts = accounts
        self._now = now
        self._planned = planned
        self._assigned: dict[CarrierCode, dict[int, Job]] = {code: {} for code in accounts}
        self._control = _Control(None, {})
        self._withdrawals = Withdrawals(installation, writer, accounts)
        self._enlisting: dict[str, asyncio.Task[None]] = {}
        self._closing: asyncio.Task[None] | None = None
        self._stood: dict[int, str] = {}
        self._live = True
        self._unsettled = True

    @property
    def idle(self) -> bool:
        """Whether nothing is scheduled, running or paused, and what ended early is settled and asked back."""
        return not (self._live or self._unsettled or self._withdrawals.tasks)

    def look(self) -> None:
        """Read the campaigns, start and expire what is due, and hand the running lanes to the senders. Raises `StoreError`."""
        now = self._now()
        with self._store.read() as connection:
            live = campaigns(connection, *LIVE)
            stand = _standing(connection, self._stood.keys())
            running = {item.id: item for item in live if item.state is CampaignState.RUNNING}
            open_lanes = lanes(connection, *running)
            control = _Control(standing_stop(connection), account_orders(connection))
        self._tell(stand)
        self._tell_orders(control)
        scheduled = [item for item in live if item.state is CampaignState.SCHEDULED]
        self._planned({item.name: from_ms(item.planned_ms) for item in scheduled if item.planned_ms})
        for item in scheduled:
            self._see_to(item, now)
        self._assign(running, open_lanes, now)
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

    def _tell_orders(self, control: _Control) -> None:
        """Log what people ordered across all campaigns since the last look."""
        if control.stop != self._control.stop:
            reason = {"reason": control.stop.reason} if control.stop else {}
            log.warning("stop-all" if control.stop else "stop-lifted", **reason)
        for code, order in control.accounts.items():
            if order != self._control.accounts.get(code):
                state = "paused" if order.paused else "open"
                log.warning("account", carrier=code, state=state, limit_tps=order.tps, reason=order.reason)
        self._control = control

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
        elif self._control.stop is None and windows.may_start(order, starts_at, now):
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
            if found.state is not item.state or not _still_due(connection, found, action):
                return False
            change_campaign(connection, item.id, move(found.state, action), **values)
            self._auditor.record(connection, action, item.name, {})
            return True

        def changed(done: asyncio.Future[bool]) -> None:
            if error := done.exception():
                log.error("not-stored", campaign=item.name, action=action, error=type(error).__name__)

        self._writer.submit(change).add_done_callback(changed)

    def _assign(self, running: Mapping[CampaignId, Campaign], open_lanes: list[Lane], now: dt.datetime) -> None:
        jobs: dict[CarrierCode, dict[int, Job]] = {code: {} for code in self._accounts}
        orders = {campaign_id: readable_order(item) for campaign_id, item in running.items()}
        for campaign_id, order in orders.items():
            if order is None:
                self._halt(running[campaign_id], now)
        for lane in open_lanes:
            order = orders[lane.campaign_id]
            if order is not None and lane.carrier in jobs and not lane.halted and self._may_send(lane.carrier):
                jobs[lane.carrier][lane.id] = _job(running[lane.campaign_id], order, lane, self._control.accounts.get(lane.carrier))
        for code, account in self._accounts.items():
            before = self._assigned[code]
            if jobs[code] != before:
                self._assigned[code] = jobs[code]
                account.assign(jobs[code])
                if gone := before.keys() - jobs[code].keys():
                    asyncio.get_running_loop().call_later(FINISH_BEGUN_S, self._cut_short, code, gone)

    def _may_send(self, code: CarrierCode) -> bool:
        order = self._control.accounts.get(code)
        return self._control.stop is None and not (order is not None and order.paused)

    def _cut_short(self, code: CarrierCode, lane_ids: set[int]) -> None:
        """Have nothing more written of lanes that were taken away and not given back, other parts of messages begun included."""
        if gone := lane_ids - self._assigned[code].keys():
            self._accounts[code].cut_short(gone)

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
                elif item.state not in ENDED and item.enlisted:
                    waits = not over and await self._waits_on_unknown(item, by_campaign[item.id], to_ms(now))
                    if not left[item.id] and not waits:
                        self._move(item, Action.FINISH, finished_ms=to_ms(now))
            self._unsettled = unsettled
            self._withdrawals.look([(item, by_campaign[item.id]) for item in items], self._control.stop, now)
        except BroadcasterError as error:
            log.warning("not-closed", error=type(error).__name__, reason=str(error))

    async def _waits_on_unknown(self, item: Campaign, every: list[Lane], now_ms: int) -> bool:
        """Carry out ``at-least-once``: what is unknown for long goes out again while the campaign runs. Tell whether any is left."""
        order = readable_order(item)
        if order is None or order.unknown_policy is not UnknownPolicy.AT_LEAST_ONCE:
            return False
        with self._store.read() as connection:
            waiting = [lane for lane in every if unknown.waiting(connection, lane.id, now_ms, 1)]
        for lane in waiting if item.state is CampaignState.RUNNING else ():

            def again(connection: Connection, lane_id: int = lane.id) -> int:
                return unknown.retry(connection, lane_id, now_ms - UNKNOWN_WAIT_MS, now_ms, CLOSE_ROWS)

            if released := await self._writer.submit(again):
                log.warning("unknown-sent-again", campaign=item.name, carrier=lane.carrier, messages=released)
        return bool(waiting)

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
        for account in self._accounts.values():
            account.give_back({lane.id for lane in every})
        for lane in every:
            while True:

                def close(connection: Connection, lane_id: int = lane.id) -> int:
                    fresh = next(one for one in lanes(connection, item.id) if one.id == lane_id)
                    messages.close_rest(connection, fresh, state, CLOSE_ROWS)
                    return fresh.messages - fresh.next_position + 1

                if await self._writer.submit(close) <= 0:
                    break


def _job(campaign: Campaign, order: Order, lane: Lane, account: AccountOrder | None) -> Job:
    ceilings = (order.max_tps.get(lane.carrier), account.tps if account else None)
    tps = min((tps for tps in ceilings if tps is not None), default=None)
    return Job(lane.id, campaign.name, lane.parts, tps, order.message_class is MessageClass.URGENT)


def _still_due(connection: Connection, found: Campaign, action: Action) -> bool:
    """Tell whether the service's own move is still right: nothing starts once all is stopped, nothing finishes with messages left."""
    match action:
        case Action.START:
            return standing_stop(connection) is None
        case Action.FINISH:
            return not any(messages.open_count(connection, lane.id) for lane in lanes(connection, found.id))
        case _:
            return True


_STANDING = (
    select(table.c.id, table.c.name, table.c.state, table.c.reason)
    .where(table.c.state.in_(bindparam("live", expanding=True)) | table.c.id.in_(bindparam("stood", expanding=True)))
    .order_by(table.c.id)
)


class _Standing(NamedTuple):
    id: int
    name: str
    state: str
    reason: str | None


def _standing(connection: Connection, stood: Collection[int]) -> list[_Standing]:
    """Return the live campaigns and those that `stood` live before; their contents, which may be damaged, are not read."""
    return [_Standing(*row) for row in connection.execute(_STANDING, {"live": [*LIVE], "stood": [*stood]})]


def _while_scheduled(connection: Connection, item: Campaign, step: Callable[[Connection], None]) -> bool:
    """Take one step of enlisting if the campaign still waits to start."""
    if find_campaign(connection, str(item.id)).state is not CampaignState.SCHEDULED:
        return False
    step(connection)
    return True
