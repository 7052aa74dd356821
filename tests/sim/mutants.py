"""Promises broken on purpose, one at a time: the simulations must notice each of them (`replay.py --mutants`).

Each mutant is a patch of the program that is in force while a simulation runs; nothing of it touches the sources.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from unittest import mock

from inline_writer import InlineWriter

from broadcaster.flow import account, lease, outcomes
from broadcaster.flow.send import Sender
from broadcaster.flow.settle import Inbox
from broadcaster.flow.underway import Message
from broadcaster.model import CarrierCard, State
from broadcaster.store import messages, receipts
from broadcaster.store.messages import Leased, Outcome

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def _sent_before_commit() -> Iterator[None]:
    """Hand leases out before the commit that makes them durable."""
    submit = InlineWriter.submit

    def early(self: InlineWriter, work: Callable[[Any], Any]) -> Any:
        if "Sender" not in work.__qualname__:
            return submit(self, work)
        future = self._loop.create_future()
        with self._store.write() as connection:
            result = work(connection)
            connection.rollback()
        future.set_result(result)
        self._waiting.append((work, self._loop.create_future()))
        if not self._armed:
            self._armed = True
            self._loop.call_later(0.05, self._commit)
        return future

    with mock.patch.object(InlineWriter, "submit", early):
        yield


@contextlib.contextmanager
def _recovered_as_unsent() -> Iterator[None]:
    """Take what a crash left open for never sent."""
    recover, record = messages.recover, messages.record_outcomes

    def forgetful(connection: Any, epoch: int, now_ms: int, limit: int) -> int:
        def unsent(connection: Any, lost: Sequence[Outcome]) -> None:
            record(connection, [each._replace(state=int(State.RETRY), reason="released") for each in lost])
            messages.defer(connection, [(now_ms, message_id) for message_id in {each.message_id for each in lost}])

        with mock.patch.object(messages, "record_outcomes", unsent):
            return recover(connection, epoch, now_ms, limit)

    with mock.patch.object(messages, "recover", forgetful):
        yield


@contextlib.contextmanager
def _leases_without_measure() -> Iterator[None]:
    """Lease ten windows at once."""
    take = lease.Gate.take

    def greedy(self: Any, connection: Any, campaign: str, lane_id: int, limit: int, now: Any) -> Any:
        return take(self, connection, campaign, lane_id, 10 * limit, now)

    with mock.patch.object(lease.Gate, "take", greedy):
        yield


@contextlib.contextmanager
def _acknowledged_before_commit() -> Iterator[None]:
    """Acknowledge receipts as they come."""
    on_inbound = Inbox.on_inbound

    def hasty(self: Any, inbounds: list[Any]) -> None:
        here = asyncio.get_running_loop()
        if not hasattr(self, "answer"):
            self.answer, self._acknowledge = self._acknowledge, lambda _batch, _status: None
        # On the next turn: the client counts what is not acknowledged once this returns.
        here.call_soon(self.answer, list(inbounds), 0)
        on_inbound(self, inbounds)

    with mock.patch.object(Inbox, "on_inbound", hasty):
        yield


def _blind(opened: Callable[..., tuple[int, list[Leased]]]) -> Callable[..., tuple[int, list[Leased]]]:
    def without_refusals(*args: Any) -> tuple[int, list[Leased]]:
        lease_id, leased = opened(*args)
        return lease_id, [each._replace(refuses=False) for each in leased]

    return without_refusals


@contextlib.contextmanager
def _leased_without_refusals() -> Iterator[None]:
    """Lease without looking who has refused."""
    with (
        mock.patch.object(messages, "open_range", _blind(messages.open_range)),
        mock.patch.object(messages, "open_list", _blind(messages.open_list)),
    ):
        yield


@contextlib.contextmanager
def _outcomes_given_up() -> Iterator[None]:
    """Forget outcomes that could not be stored."""
    settle = outcomes.Outcomes.settle

    def careless(self: Any) -> None:
        settle(self)
        self._noted = [each for at, each in enumerate(self._noted) if at % 7]

    with mock.patch.object(outcomes.Outcomes, "settle", careless):
        yield


@contextlib.contextmanager
def _unanswered_sent_again() -> Iterator[None]:
    """Take a part that was not answered for one that was refused for now."""
    note = Sender._note

    def hopeful(self: Any, message: Message, part: int, attempt: int, state: State, **more: Any) -> None:
        if state is State.UNCERTAIN:
            state = State.RETRY
            message.later.append((part, attempt + 1))
        note(self, message, part, attempt, state, **more)

    with mock.patch.object(Sender, "_note", hopeful):
        yield


def _a_third_more(card: CarrierCard, _now: dt.datetime) -> int | None:
    return None if card.tps is None else card.tps * 4 // 3 + 2


@contextlib.contextmanager
def _receipts_lost() -> Iterator[None]:
    """Acknowledge receipts and lose every third."""
    record = receipts.record_receipts

    def lossy(connection: Any, received: Sequence[Any]) -> None:
        record(connection, [each for at, each in enumerate(received) if (at + len(received)) % 3])

    with mock.patch.object(receipts, "record_receipts", lossy):
        yield


@contextlib.contextmanager
def _campaigns_finished_early() -> Iterator[None]:
    """Finish a campaign whose second tries are not due yet."""
    with mock.patch("broadcaster.service.local.messages.open_count", return_value=0):
        yield


@contextlib.contextmanager
def _half_sent() -> Iterator[None]:
    """Let a pause cut a message in two."""
    with mock.patch.object(Message, "begun", property(lambda _self: False)):
        yield


MUTANTS: Final[Mapping[str, Patch]] = {
    "sent before the lease is durable": _sent_before_commit,
    "recovered as never sent": _recovered_as_unsent,
    "leases without measure": _leases_without_measure,
    "acknowledged before it is durable": _acknowledged_before_commit,
    "leased without looking at refusals": _leased_without_refusals,
    "no hold after a start": lambda: mock.patch.object(account, "START_HOLD_NS", 0),
    "an unanswered part sent again": _unanswered_sent_again,
    "faster than the contract": lambda: mock.patch.object(account, "tps_now", _a_third_more),
    "outcomes given up": _outcomes_given_up,
    "receipts acknowledged and lost": _receipts_lost,
    "finished while some still wait": _campaigns_finished_early,
    "half a message given back": _half_sent,
}
"""What is broken → the patch that breaks it."""
