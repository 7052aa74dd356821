"""The service's writer without its thread: the same groups, committed in the middle of the loop, with a place to die at each step."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError
from virtual_loop import Process, here

from broadcaster.errors import StoreError
from broadcaster.store.engine import Store, sqlite_driver
from broadcaster.store.writer import GROUP_LIMIT

T = TypeVar("T")
_Work = tuple[Callable[[Connection], Any], "asyncio.Future[Any]"]

COMMIT_S: Final = (0.001, 0.04)


class InlineWriter:
    """Run pieces of work against the store as `Writer` does: in order, in groups, each result after its commit."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self._store = store
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Work] = deque()
        self._armed = False
        self._closing = False
        self._process = here()

    def submit(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        if self._closing:
            raise RuntimeError("the writer is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((work, future))
        if not self._armed:
            self._armed = True
            self._loop.call_later(self._rng.uniform(*COMMIT_S), self._commit)
        return future

    def submit_apart(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        return self.submit(work)

    async def close(self) -> None:
        last = self.submit(lambda _connection: None)
        self._closing = True
        with contextlib.suppress(StoreError):
            await last

    def _commit(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._rng.randint(1, GROUP_LIMIT)))]
        done: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            with self._store.write() as connection:
                done += [(future, work(connection)) for work, future in group]
        except Exception as error:  # noqa: BLE001  every waiting piece must learn of it
            self._retry_alone(group, error)
        else:
            self._committed()
            self._resolve(done)
        self._armed = bool(self._waiting)
        if self._armed:
            self._loop.call_later(self._rng.uniform(*COMMIT_S), self._commit)

    def _retry_alone(self, group: list[_Work], error: Exception) -> None:
        """After a rolled-back group, run each piece by itself, so that only the faulty one fails."""
        if len(group) == 1:
            self._loop.call_soon(_fail, group[0][1], error)
            return
        for work, future in group:
            try:
                with self._store.write() as connection:
                    result = work(connection)
            except Exception as own:  # noqa: BLE001  handed to whoever waits for it
                self._loop.call_soon(_fail, future, own)
            else:
                self._committed()
                self._resolve([(future, result)])

    def _committed(self) -> None:
        if self._process is not None:
            self._process.point("after commit")

    def _resolve(self, done: list[tuple[asyncio.Future[Any], Any]]) -> None:
        self._loop.call_later(self._rng.uniform(0, COMMIT_S[0]), _tell, done)


def _tell(done: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in done:
        if not future.done():
            future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def watch_store(store: Store, process: Process, broken: Callable[[str], str | None]) -> None:
    """Make every statement and commit of a process's store a place to die, and at which the disk fails when `broken` names a fault.

    `broken` is told which of the two it is; reading never fails.
    """

    def statement(_connection: Any, _cursor: Any, words: str, *_rest: Any) -> None:
        process.point("statement")
        if not words.startswith(("SELECT", "PRAGMA", "BEGIN DEFERRED")) and (fault := broken("statement")) is not None:
            raise OperationalError(words, None, sqlite_driver.OperationalError(fault))

    def commit(connection: Connection) -> None:
        process.point("before commit")
        if not connection.get_execution_options().get("reads_only") and (fault := broken("commit")) is not None:
            raise OperationalError("COMMIT", None, sqlite_driver.OperationalError(fault))

    event.listen(store.engine, "before_cursor_execute", statement)
    event.listen(store.engine, "commit", commit)
