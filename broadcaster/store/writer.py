"""The service's one writer: a thread that commits whatever is waiting as one transaction (group commit).

Callers hand in a piece of work and await its result; the result arrives only after the commit that made it durable. While one group
commits, the next gathers, so a busy service pays one fsync for hundreds of pieces.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from broadcaster.store.engine import Store

T = TypeVar("T")
_Work = tuple[Callable[[Connection], Any], "asyncio.Future[Any]"]

GROUP_LIMIT = 64
HOLD_LIMIT_S = 0.05
"""A group stops gathering work once it has held the write lock this long, so other processes get their turn."""


class Writer:
    """Run pieces of work against the store, in order, in groups. Start it inside a running event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Queue `work`; the future resolves after its commit, or with the error that rolled it back.

        `work` may be run twice: again by itself, after a group with a faulty piece was rolled back. RuntimeError after `close`.
        """
        if self._closing:
            raise RuntimeError("the writer is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put((work, future))
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
                return
            ended = self._commit(first)

    def _commit(self, first: _Work) -> bool:
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
                    group.append(item)
                    done.append((item[1], item[0](connection)))
        except Exception as error:  # noqa: BLE001  every waiting piece must learn of it
            self._retry_alone(group, error)
        else:
            self._loop.call_soon_threadsafe(_resolve, done)
        return ended

    def _retry_alone(self, group: list[_Work], error: Exception) -> None:
        """After a rolled-back group, run each piece by itself, so that only the faulty one fails."""
        if len(group) == 1:
            self._loop.call_soon_threadsafe(_fail, group[0][1], error)
            return
        for work, future in group:
            try:
                with self._store.write() as connection:
                    result = work(connection)
            except Exception as own:  # noqa: BLE001  handed to whoever waits for it
                self._loop.call_soon_threadsafe(_fail, future, own)
            else:
                self._loop.call_soon_threadsafe(_resolve, [(future, result)])


def _resolve(done: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in done:
        if not future.done():
            future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
