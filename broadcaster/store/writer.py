"""The service's one writer: a thread that commits whatever is waiting as one transaction (group commit).

Callers hand in a piece of work and await its result; the result arrives only after the commit that made it durable. While one group
commits, the next gathers, so a busy service pays one fsync for hundreds of pieces.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from broadcaster.store.engine import Store

T = TypeVar("T")

GROUP_LIMIT = 64
HOLD_LIMIT_S = 0.05
"""A group stops gathering work once it has held the write lock this long, so other processes get their turn."""


class _Piece(NamedTuple):
    """One piece of work, who waits for it, and whether it gets a transaction of its own."""

    work: Callable[[Connection], Any]
    future: asyncio.Future[Any]
    apart: bool = False


class Writer:
    """Run pieces of work against the store, in order, in groups. Start it inside a running event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._apart: deque[_Piece] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Queue `work`; the future resolves after its commit, or with the error that rolled it back.

        `work` may be run twice: again by itself, after a group with a faulty piece was rolled back. RuntimeError after `close`.
        """
        return self._put(work, apart=False)

    def submit_apart(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Queue work that takes long, that nobody waits for and that can be done again; otherwise as `submit`.

        It gets a transaction of its own between two groups, so no outcome or receipt waits for its commit until that work is done.
        Nor does the work wait for the disk: a failure of the power may undo it.
        """
        return self._put(work, apart=True)

    def _put(self, work: Callable[[Connection], T], *, apart: bool) -> asyncio.Future[T]:
        if self._closing:
            raise RuntimeError("the writer is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Piece(work, future, apart))
        return future

    async def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._closing = True
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        ended = False
        while not ended:
            first = self._waiting.get()
            if first is None:
                ended = True
            elif first.apart:
                self._apart.append(first)
            else:
                ended = self._commit(first)
            while self._apart:
                self._commit_alone(self._apart.popleft())
                if not (ended or self._waiting.empty()):
                    break

    def _commit(self, first: _Piece) -> bool:
        """Commit `first` and what waits behind it; return True when the end mark was met."""
        done: list[tuple[asyncio.Future[Any], Any]] = []
        group = [first]
        ended = False
        try:
            with self._store.write() as connection:
                began = time.monotonic()
                done.append((first[1], first[0](connection)))
                while len(group) < GROUP_LIMIT and time.monotonic() - began < HOLD_LIMIT_S:
                    try:
                        item = self._waiting.get_nowait()
                    except queue.Empty:
                        break
                    if item is None:
                        ended = True
                        break
                    if item.apart:
                        self._apart.append(item)
                        continue
                    group.append(item)
                    done.append((item.future, item.work(connection)))
        except Exception as error:  # noqa: BLE001  every waiting piece must learn of it
            if len(group) == 1:
                self._loop.call_soon_threadsafe(_fail, first.future, error)
            else:
                # The group was rolled back: each by itself, so that only the faulty one fails.
                for item in group:
                    self._commit_alone(item)
        else:
            self._loop.call_soon_threadsafe(_resolve, done)
        return ended

    def _commit_alone(self, item: _Piece) -> None:
        try:
            with self._store.write(can_be_redone=item.apart) as connection:
                result = item.work(connection)
        except Exception as own:  # noqa: BLE001  handed to whoever waits for it
            self._loop.call_soon_threadsafe(_fail, item.future, own)
        else:
            self._loop.call_soon_threadsafe(_resolve, [(item.future, result)])


def _resolve(done: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in done:
        if not future.done():
            future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
