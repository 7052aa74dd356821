"""The fold on the event loop: one slice after the other, and again after a failure."""

from __future__ import annotations

import asyncio

import pytest

from broadcaster.errors import StoreError
from broadcaster.flow import fold as module
from broadcaster.flow.fold import Fold
from broadcaster.lang import Said
from broadcaster.model import State
from broadcaster.store.writer import Writer


async def rest(fold: Fold) -> None:
    for _ in range(5_000):
        if not fold._busy:
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never came to rest")


def answer_some(field) -> None:
    """Let a sender have everything answered, and forget what was folded on the way."""
    field.play(lambda stage: stage.answer_everything())
    field.sql("UPDATE message SET state = 0")
    field.sql("DELETE FROM tally")
    field.sql("INSERT INTO tally VALUES (1, '21025', 0, 0, 40)")
    field.sql("UPDATE lease SET folded = :no", no=False)


def test_one_call_folds_all_that_has_gathered(field, monkeypatch):
    monkeypatch.setattr(module, "SLICE_ROWS", 3)
    field.warn(40)
    answer_some(field)

    async def run() -> None:
        writer = Writer(field.store)
        fold = Fold(writer, now_ms=lambda: 0)
        fold.tick()
        fold.tick()
        await rest(fold)
        await writer.close()

    asyncio.run(run())
    assert set(field.states().values()) == {State.ACCEPTED}
    assert field.tallied() == 40


def test_a_store_that_fails_is_asked_again_at_the_next_call(field, monkeypatch):
    field.warn(4)
    answer_some(field)
    live, failures = module.messages.fold_some, [StoreError(Said("đầy", "full"))]

    def failing(*values):
        if failures:
            raise failures.pop()
        return live(*values)

    monkeypatch.setattr(module.messages, "fold_some", failing)

    async def run() -> None:
        writer = Writer(field.store)
        fold = Fold(writer, now_ms=lambda: 0)
        fold.tick()
        await rest(fold)
        assert set(field.states().values()) == {State.READY}
        fold.tick()
        await rest(fold)
        await writer.close()

    asyncio.run(run())
    assert set(field.states().values()) == {State.ACCEPTED}
