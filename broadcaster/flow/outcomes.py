"""Outcomes on their way to the store: gathered, made durable in batches, kept and tried again when the store fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from broadcaster.model import CarrierCode
from broadcaster.store import messages, unknown
from broadcaster.store.messages import Outcome
from broadcaster.store.writer import Writer

STORE_RETRY_S = 1.0
"""How long a failing store is left alone before it is asked again."""

log = structlog.get_logger("send")


class Outcomes:
    """Collect what became of the parts of one bind; `durable` is called with the number of messages whose end is stored.

    `count` is called with each batch inside the transaction that makes it durable.
    """

    def __init__(
        self,
        carrier: CarrierCode,
        writer: Writer,
        *,
        now_ms: Callable[[], int],
        durable: Callable[[int], None],
        count: Callable[[Connection, Sequence[Outcome]], None] | None = None,
    ) -> None:
        self._carrier = carrier
        self._writer = writer
        self._now_ms = now_ms
        self._durable = durable
        self._count = count
        self._noted: list[Outcome] = []
        self._late: list[Outcome] = []
        self._deferred: list[tuple[int, int]] = []
        self._closed: list[int] = []
        self.ended = 0
        """Messages that ended and are not handed over yet."""
        self.busy = False
        """Whether a batch is with the writer, or waits for a store that failed."""

    @property
    def settled(self) -> bool:
        """Whether nothing waits to be stored."""
        return not (self.busy or self._noted or self._late or self._closed or self.ended)

    def note(self, outcome: Outcome) -> None:
        self._noted.append(outcome)

    def resolve(self, outcome: Outcome) -> None:
        """Note the late answer to a part that was noted as uncertain (F39)."""
        self._late.append(outcome)

    def end(self, message_id: int, *, not_before_ms: int | None) -> None:
        """Note that a message leaves its lease, for good or until `not_before_ms`."""
        self.ended += 1
        if not_before_ms is not None:
            self._deferred.append((not_before_ms, message_id))

    def close(self, lease_id: int) -> None:
        """Note that no message of the lease is left open."""
        self._closed.append(lease_id)

    def settle(self, take: Callable[[Connection], Any] | None = None, taken: Callable[[Any], None] = lambda _result: None) -> bool:
        """Hand what has gathered to the writer, one batch at a time; tell whether anything was.

        `take` runs in the same transaction, behind the batch: what it finds is durable or fails together with the outcomes. `taken`
        gets its result, or the error with which it or the whole transaction failed.
        """
        if self.busy or (take is None and self.settled):
            return False
        outcomes, late, deferred, closed, ended = self._noted, self._late, self._deferred, self._closed, self.ended
        self._noted, self._late, self._deferred, self._closed, self.ended = [], [], [], [], 0
        now_ms = self._now_ms()

        def store(connection: Connection) -> Any:
            messages.record_outcomes(connection, outcomes)
            if self._count is not None:
                self._count(connection, outcomes)
            unknown.resolve(connection, late)
            messages.defer(connection, deferred)
            messages.close_leases(connection, closed, now_ms)
            return None if take is None else _attempt(connection, take)

        def stored(done: asyncio.Future[Any]) -> None:
            error = done.exception()
            if error is None:
                self.busy = False
                self._durable(ended)
                taken(done.result())
                return
            if ended or outcomes or late or closed:
                log.error(
                    "outcomes-not-stored", carrier=self._carrier, error=type(error).__name__, reason=str(error), parts=len(outcomes)
                )
            self._noted = outcomes + self._noted
            self._late = late + self._late
            self._deferred = deferred + self._deferred
            self._closed = closed + self._closed
            self.ended += ended
            asyncio.get_running_loop().call_later(STORE_RETRY_S, self._again)
            taken(error)

        self.busy = True
        self._writer.submit(store).add_done_callback(stored)
        return True

    def _again(self) -> None:
        self.busy = False
        self.settle()


def _attempt(connection: Connection, take: Callable[[Connection], Any]) -> Any:
    """Return what `take` finds, or the error that undid its own writing and nothing else; a fault of the store undoes everything."""
    try:
        with connection.begin_nested():
            return take(connection)
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001  the outcomes are none the worse for it
        return error
