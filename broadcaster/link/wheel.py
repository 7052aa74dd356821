"""Things due later, by the tick: a heap of tick numbers and a list of things for each, so that a thing costs one append."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")


class Wheel(Generic[T]):
    """Keep things until they are due, in steps of `tick_s`. Times are whatever clock the caller reads, in seconds."""

    __slots__ = ("_slots", "_tick_s", "_ticks")

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._ticks: list[int] = []
        self._slots: dict[int, list[T]] = {}

    def add(self, due: float, thing: T) -> None:
        """Keep `thing` until the first tick at or after `due`."""
        tick = -int(-due // self._tick_s)
        slot = self._slots.get(tick)
        if slot is None:
            self._slots[tick] = [thing]
            heapq.heappush(self._ticks, tick)
        else:
            slot.append(thing)

    def take(self, now: float) -> list[T]:
        """Return what is due, tick by tick and in the order of adding."""
        due: list[T] = []
        while self._ticks and self._ticks[0] * self._tick_s <= now:
            due += self._slots.pop(heapq.heappop(self._ticks))
        return due

    def next_due(self) -> float | None:
        """Return the time of the next tick that holds something."""
        return self._ticks[0] * self._tick_s if self._ticks else None

    def rest(self) -> list[T]:
        """Return everything still kept, soonest first."""
        return [thing for tick in sorted(self._ticks) for thing in self._slots[tick]]
