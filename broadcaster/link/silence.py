"""When answers that do not come are more than an accident (docs/delivery.md F34)."""

from __future__ import annotations

from collections import deque
from typing import Final

EXPIRIES_IN_A_ROW: Final = 3


class Silence:
    """Count the answers of one session that did not come in time; all instants are seconds of one monotonic clock."""

    def __init__(self, window: int, response_timeout_s: float) -> None:
        self._most = max(1, window / 2)
        self._within_s = response_timeout_s
        self._in_a_row = 0
        self._times: deque[float] = deque()

    def broken(self) -> None:
        """Note that an answer came."""
        self._in_a_row = 0

    def grown(self, now: float, count: int) -> bool:
        """Note that so many did not come; True when the session is to be given up.

        That is after three without an answer between them, or more than half the window within one response timeout.
        """
        self._in_a_row += count
        self._times.extend([now] * count)
        while self._times and self._times[0] < now - self._within_s:
            self._times.popleft()
        return self._in_a_row >= EXPIRIES_IN_A_ROW or len(self._times) > self._most
