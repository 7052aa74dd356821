"""Group commit: order, durability, and one faulty piece among many."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from broadcaster.errors import LockedError
from broadcaster.store import engine
from broadcaster.store.engine import Store, append
from broadcaster.store.schema import opt_out
from broadcaster.store.writer import GROUP_LIMIT, Writer


def insert(number: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        append(connection, opt_out, ("token", "since_ms"), [(number.to_bytes(16, "big"), number)])
        return number

    return work


def faulty(_connection: Connection) -> int:
    raise ZeroDivisionError


def stored(store: Store) -> list[int]:
    with store.read() as connection:
        return list(connection.execute(text("SELECT since_ms FROM opt_out ORDER BY since_ms")).scalars())


class Gate:
    """Holds the writer inside its first piece, so that the next ones gather."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _connection: Connection) -> None:
        self.entered.set()
        self.opened.wait()


def commits(store: Store) -> list[int]:
    """Return a list that grows by one with each commit."""
    seen: list[int] = []
    event.listen(store.engine, "commit", lambda _connection: seen.append(1))
    return seen


def with_writer(store: Store, use: Callable[[Writer], Any]) -> Any:
    async def main() -> Any:
        writer = Writer(store)
        try:
            return await use(writer)
        finally:
            await writer.close()

    return asyncio.run(main())


def test_results_come_in_order_after_few_commits(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)
    seen = commits(store)

    async def use(writer: Writer) -> list[int]:
        gate = Gate()
        writer.submit(gate)
        await asyncio.to_thread(gate.entered.wait)
        order: list[int] = []
        futures = [writer.submit(insert(number)) for number in range(40)]
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _done, number=number: order.append(number))
        gate.opened.set()
        results = await asyncio.gather(*futures)
        assert order == list(range(40))
        return results

    assert with_writer(store, use) == list(range(40))
    assert stored(store) == list(range(40))
    assert len(seen) < 10


def test_a_group_has_a_limit(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)
    seen = commits(store)

    async def use(writer: Writer) -> None:
        await asyncio.gather(*[writer.submit(insert(number)) for number in range(3 * GROUP_LIMIT)])

    with_writer(store, use)
    assert len(seen) >= 3


def test_a_result_is_durable_when_it_arrives(make_store: Callable[..., Store]) -> None:
    service, other = make_store(service=True), make_store()

    async def use(writer: Writer) -> None:
        for number in range(5):
            await writer.submit(insert(number))
            assert stored(other) == list(range(number + 1))

    with_writer(service, use)


def test_nothing_is_resolved_before_the_commit(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)

    async def use(writer: Writer) -> None:
        gate = Gate()
        blocked = writer.submit(gate)
        first = writer.submit(insert(1))
        await asyncio.to_thread(gate.entered.wait)
        assert not blocked.done()
        assert not first.done()
        gate.opened.set()
        await asyncio.gather(blocked, first)
        assert stored(store) == [1]

    with_writer(store, use)


def test_nothing_is_resolved_while_its_commit_is_under_way(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)
    commit = Gate()
    event.listen(store.engine, "commit", commit)

    async def use(writer: Writer) -> None:
        futures = [writer.submit(insert(number)) for number in range(2)]
        await asyncio.to_thread(commit.entered.wait)
        try:
            assert not any(future.done() for future in futures)
        finally:
            commit.opened.set()
        await asyncio.gather(*futures)

    with_writer(store, use)


def test_what_is_apart_holds_up_no_group(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)

    async def use(writer: Writer) -> None:
        first, long = Gate(), Gate()
        held = writer.submit(first)
        await asyncio.to_thread(first.entered.wait)
        apart = [writer.submit_apart(long), writer.submit_apart(insert(9))]
        quick = writer.submit(insert(1))
        first.opened.set()
        await asyncio.gather(held, quick)
        assert stored(store) == [1]
        assert not any(piece.done() for piece in apart)
        behind = writer.submit(insert(2))
        long.opened.set()
        assert await asyncio.gather(*apart, behind) == [None, 9, 2]

    with_writer(store, use)
    assert stored(store) == [1, 2, 9]


def test_what_is_apart_fails_alone_and_is_finished_at_the_end(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)

    async def main() -> list[Any]:
        writer = Writer(store)
        pieces = [writer.submit_apart(work) for work in (insert(1), faulty, insert(2))]
        await writer.close()
        return await asyncio.gather(*pieces, return_exceptions=True)

    assert [type(item).__name__ for item in asyncio.run(main())] == ["int", "ZeroDivisionError", "int"]
    assert stored(store) == [1, 2]


def test_a_faulty_piece_fails_alone(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)

    async def use(writer: Writer) -> list[Any]:
        gate = Gate()
        writer.submit(gate)
        await asyncio.to_thread(gate.entered.wait)
        futures = [writer.submit(work) for work in (insert(1), faulty, insert(2), insert(2), insert(3))]
        gate.opened.set()
        return await asyncio.gather(*futures, return_exceptions=True)

    results = with_writer(store, use)
    assert [type(item).__name__ for item in results] == ["int", "ZeroDivisionError", "int", "StoreError", "int"]
    assert stored(store) == [1, 2, 3]


@pytest.mark.sqlite_only(reason="PostgreSQL locks rows, not the database")
def test_a_locked_database_is_told_and_survived(make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 1)
    service, other = make_store(service=True), make_store()

    async def use(writer: Writer) -> None:
        with other.write(), pytest.raises(LockedError):
            await writer.submit(insert(1))
        await writer.submit(insert(2))

    with_writer(service, use)
    assert stored(other) == [2]


def test_close_finishes_what_is_queued(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)

    async def main() -> None:
        writer = Writer(store)
        futures = [writer.submit(insert(number)) for number in range(100)]
        await writer.close()
        assert await asyncio.gather(*futures) == list(range(100))
        with pytest.raises(RuntimeError):
            writer.submit(insert(100))

    asyncio.run(main())
    assert stored(store) == list(range(100))


def test_an_abandoned_future_disturbs_nobody(make_store: Callable[..., Store]) -> None:
    store = make_store(service=True)

    async def use(writer: Writer) -> None:
        writer.submit(insert(1)).cancel()
        writer.submit(faulty).cancel()
        await writer.submit(insert(2))

    with_writer(store, use)
    assert stored(store) == [1, 2]
