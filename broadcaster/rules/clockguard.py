"""Whether the clocks can be trusted: the window of a warning is judged by the wall clock, so a wall clock that jumps must stop it.

The wall clock is held against one that only ever runs forward and goes on while the machine sleeps. Where the two part by more than
`MOST_DRIFT_NS`, somebody or something set the wall clock: only urgent warnings go on until both agree again or a person confirms the
time. A start earlier than the last moment known to have been lived through waits until that moment has come (protocol.md §1.5).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

MOST_DRIFT_NS: Final = 2_000_000_000
MOST_EARLIER_NS: Final = 5_000_000_000
"""How much earlier than the last moment seen a start may be: what an ordinary correction by the network amounts to."""
SUSPENDED_NS: Final = 10_000_000_000
"""A process that has not looked for so long was stopped or its machine slept: what it believes of its links is out of date (T7)."""


class Trust(Enum):
    """What the clocks allow."""

    SOUND = "sound"
    JUMPED = "the wall clock was set"
    EARLY = "the wall clock is earlier than a moment that has already been"


class ClockGuard:
    """Judge each look at the clocks; all times are nanoseconds, the wall's since 1970 UTC.

    `seen_ns` is the last moment an earlier process knew to be sound, and `anchor_ns` what it held the clocks to be apart, if the
    machine has not been started since; None where they are not known.
    """

    def __init__(self, wall_ns: int, running_ns: int, seen_ns: int | None = None, anchor_ns: int | None = None) -> None:
        self.anchor_ns = wall_ns - running_ns if anchor_ns is None else anchor_ns
        self._earliest_ns = wall_ns if seen_ns is None else seen_ns - MOST_EARLIER_NS
        self._least_apart_ns = (wall_ns if seen_ns is None else seen_ns) - running_ns
        self.trust = Trust.SOUND
        if anchor_ns is None and wall_ns < self._earliest_ns:
            self.trust = Trust.EARLY
        self.look(wall_ns, running_ns)

    def look(self, wall_ns: int, running_ns: int) -> Trust:
        """Return what the clocks allow now."""
        if self.trust is Trust.EARLY:
            # Nothing was sent by this clock yet, so it may still be set: where it then stands is where it is held.
            self.anchor_ns = wall_ns - running_ns
            if wall_ns >= self._earliest_ns:
                self.trust = Trust.SOUND
        else:
            self.trust = Trust.SOUND if self._agree(wall_ns, running_ns) else Trust.JUMPED
        return self.trust

    def drift_ns(self, wall_ns: int, running_ns: int) -> int:
        """Return by how much the wall clock is ahead of where it would stand had nobody set it."""
        return wall_ns - running_ns - self.anchor_ns

    def still(self, wall_ns: int, running_ns: int) -> bool:
        """Tell whether the clocks stand as the last look judged them."""
        return self.trust is not Trust.SOUND or self._agree(wall_ns, running_ns)

    def steady_ns(self, wall_ns: int, running_ns: int) -> int:
        """Return the time to judge by: the wall clock, or where it would stand had nobody set it.

        While the wall clock is early, no earlier than what was lived through: so much is known.
        """
        if self.trust is Trust.EARLY:
            return max(wall_ns, running_ns + self._least_apart_ns)
        if self._agree(wall_ns, running_ns):
            return wall_ns
        return running_ns + self.anchor_ns

    def _agree(self, wall_ns: int, running_ns: int) -> bool:
        return abs(self.drift_ns(wall_ns, running_ns)) <= MOST_DRIFT_NS
