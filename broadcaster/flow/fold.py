"""The continuous fold: what senders and inboxes append becomes states and totals, a slice at a time, within about a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from broadcaster.store import messages
from broadcaster.store.writer import Writer

FOLD_S: Final = 0.5
"""How often to call `Fold.tick`."""
SLICE_ROWS: Final = 2_000
"""So much at once, that outcomes and receipts never wait for long behind a slice."""

log = structlog.get_logger("fold")


class Fold:
    """Fold what has been stored, one slice after the other, through the service's writer."""

    def __init__(self, writer: Writer, *, now_ms: Callable[[], int]) -> None:
        self._writer = writer
        self._now_ms = now_ms
        self._busy = False

    def tick(self) -> None:
        """Begin to fold what has gathered, unless that is under way; a failing store is asked again at the next call."""
        if self._busy:
            return
        self._busy = True
        now_ms = self._now_ms()
        folding = self._writer.submit_apart(lambda connection: messages.fold_some(connection, now_ms, SLICE_ROWS))
        folding.add_done_callback(self._folded)

    def _folded(self, done: asyncio.Future[bool]) -> None:
        self._busy = False
        if error := done.exception():
            log.error("not-folded", error=type(error).__name__, reason=str(error))
        elif done.result():
            self.tick()
