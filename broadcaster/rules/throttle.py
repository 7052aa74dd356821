"""The rate limiter of one carrier account, in parts: a sliding log that never exceeds the contract, under an even pace.

All instants are integer nanoseconds of one clock that never runs backwards; floats at the window's edge once let 105 parts
through instead of 100.
"""

from __future__ import annotations

from collections import deque
from typing import Final

SECOND_NS: Final = 1_000_000_000
GUARD_NS: Final = 1_001_000_000
"""A permit counts for this long: one second, and a millisecond for the way to the wire."""
BURST_NS: Final = 10_000_000
"""Permits unused for longer than this are lost, so that no pause is made good by a flood."""
RECOVERY_STEP_NS: Final = 10 * SECOND_NS
RECOVERY_PERCENT: Final = 5
"""Share of the contract's pace that comes back with each step after a throttling (docs/delivery.md F50)."""

_MILLI: Final = 1_000
_COST: Final = _MILLI * SECOND_NS
"""One permit, in thousandths of a permit per second times nanoseconds: the unit in which credit is kept."""


class Limiter:
    """Say how many parts may be written now to a carrier account.

    `tps` is the contract rate in parts per second, None for unlimited; `pace` the share of it that is used. In no half-open
    window of one second are more than `tps` permits taken (docs/delivery.md I9); within it they are spread evenly, with at most one
    permit more than 10 ms' worth at once.
    """

    def __init__(self, tps: int | None, pace: float = 0.98) -> None:
        if not 0 < pace <= 1:
            raise ValueError(f"pace must be in (0, 1]: {pace}")
        self._pace = pace
        self._tps = tps
        self._full_mtps = self._base_mtps = self._pace_of(tps)
        self._recovers_from_ns: int | None = None
        self._log: deque[tuple[int, int]] = deque()
        self._in_window = 0
        self._credit = _COST
        self._seen_ns: int | None = None
        self._held_until_ns: int | None = None
        self._paused_until_ns: int | None = None

    @property
    def tps(self) -> int | None:
        """Return the rate that is not exceeded; None for unlimited."""
        return self._tps

    def change(self, now_ns: int, tps: int | None) -> None:
        """Obey another rate from now on: what the last second took counts against it, and a throttling stays in force.

        Of an unlimited account nobody knows what the last second took: then nothing is permitted for a second.
        """
        mtps = self._pace_of(tps)
        if self._tps is None:
            self.hold(now_ns + GUARD_NS)
            self._recovers_from_ns = None
        else:
            self._advance(now_ns)
            # A throttled account keeps its share of the pace, whatever the new one is.
            self._base_mtps = max(_MILLI, self._base_mtps * mtps // self._full_mtps)
        self._tps, self._full_mtps = tps, mtps
        if self._recovers_from_ns is None:
            self._base_mtps = mtps
        self._credit = min(self._credit, _COST)

    def hold(self, until_ns: int) -> None:
        """Give no permit before this instant; a hold is never shortened."""
        self._held_until_ns = until_ns if self._held_until_ns is None else max(self._held_until_ns, until_ns)

    def throttled(self, now_ns: int, pause_s: float) -> None:
        """Obey a throttling answer: pause, halve the rate, and come back by 5 % of the contract each 10 s (docs/delivery.md F50).

        Further such answers during the pause belong to parts written before it: they lengthen it and halve nothing.
        """
        paused = self._paused_until_ns is not None and now_ns < self._paused_until_ns
        until_ns = now_ns + round(pause_s * SECOND_NS)
        if not paused and self._tps is not None:
            self._base_mtps = min(self._full_mtps, max(_MILLI, self._rate_mtps(now_ns) // 2))
        self._paused_until_ns = until_ns if self._paused_until_ns is None else max(self._paused_until_ns, until_ns)
        self._recovers_from_ns = self._paused_until_ns
        self.hold(until_ns)

    def rate_tps(self, now_ns: int) -> float | None:
        """Return the pace in parts per second that holds now, pauses aside; None for unlimited."""
        return None if self._tps is None else self._rate_mtps(now_ns) / _MILLI

    def permits(self, now_ns: int, wanted: int) -> int:
        """Return how many parts, at most `wanted`, may be written now; nothing is taken yet."""
        if self._held_until_ns is not None and now_ns < self._held_until_ns:
            return 0
        if self._tps is None:
            return wanted
        self._advance(now_ns)
        return max(0, min(wanted, self._credit // _COST, self._tps - self._in_window))

    def take(self, now_ns: int, count: int) -> None:
        """Record that `count` parts are being written now; ValueError when that is more than is permitted."""
        if count < 0 or self.permits(now_ns, count) < count:
            raise ValueError(f"{count} parts are more than may be written now")
        if self._tps is None or count == 0:
            return
        self._credit -= count * _COST
        self._in_window += count
        self._log.append((self._clock(now_ns), count))

    def next_ns(self, now_ns: int) -> int:
        """Return the first instant at which at least one part may be written: `now_ns` itself when one may go at once."""
        at_ns = now_ns if self._held_until_ns is None else max(now_ns, self._held_until_ns)
        if self._tps is None:
            return at_ns
        self._advance(now_ns)
        if self._credit < _COST:
            wait_ns = -((self._credit - _COST) // self._rate_mtps(now_ns))
            at_ns = max(at_ns, self._clock(now_ns) + wait_ns)
        over = self._in_window - self._tps
        for taken_ns, count in self._log:
            if over < 0:
                break
            at_ns = max(at_ns, taken_ns + GUARD_NS)
            over -= count
        return at_ns

    def _pace_of(self, tps: int | None) -> int:
        if tps is not None and tps < 1:
            raise ValueError(f"tps must be at least 1: {tps}")
        return 0 if tps is None else max(1, round(tps * self._pace * _MILLI))

    def _clock(self, now_ns: int) -> int:
        return now_ns if self._seen_ns is None else max(now_ns, self._seen_ns)

    def _rate_mtps(self, now_ns: int) -> int:
        """Return the pace in thousandths of a part per second."""
        if self._recovers_from_ns is None:
            return self._full_mtps
        steps = max(0, now_ns - self._recovers_from_ns) // RECOVERY_STEP_NS
        return min(self._full_mtps, self._base_mtps + self._full_mtps * RECOVERY_PERCENT * steps // 100)

    def _advance(self, now_ns: int) -> None:
        """Forget permits older than the guard and earn credit for the time passed, up to 10 ms' worth and one permit."""
        now_ns = self._clock(now_ns)
        while self._log and self._log[0][0] + GUARD_NS <= now_ns:
            self._in_window -= self._log.popleft()[1]
        if self._seen_ns is not None and now_ns > self._seen_ns:
            rate_mtps = self._rate_mtps(now_ns)
            earned = (now_ns - self._seen_ns) * rate_mtps
            self._credit = min(self._credit + earned, _COST + BURST_NS * rate_mtps)
        self._seen_ns = now_ns
