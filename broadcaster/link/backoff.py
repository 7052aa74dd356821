"""How long to wait before the next connection to a carrier, as a pure function of how the last ones ended (F30, F41)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Ending(Enum):
    """How one try to be connected came to its end."""

    CREDENTIALS = "credentials"
    """The carrier says who we are is wrong; trying on may lock the account."""
    ALREADY_BOUND = "already-bound"
    """The carrier still holds our former session."""
    REFUSED = "refused"
    """Any other refusal of the bind."""
    UNREACHABLE = "unreachable"
    """No connection, or no answer to the bind."""
    LOST = "lost"
    """It was bound, and then ended."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits, in seconds."""

    first_s: float = 1.0
    longest_s: float = 60.0
    spacing_s: float = 5.0
    """Least time between the starts of two connections."""
    already_bound_s: tuple[float, ...] = (30.0, 60.0, 120.0)
    credential_tries: int = 2

    def wait_s(self, ending: Ending, streak: int, since_start_s: float, chance: float) -> float | None:
        """Return the wait before the next connection, or None to give up.

        `streak` counts endings of this kind in a row, this one included; `since_start_s` is the time since the last connection was
        begun; `chance` in [0, 1) is the random part (full jitter: any wait up to the doubled ceiling).
        """
        if ending is Ending.CREDENTIALS:
            if streak >= self.credential_tries:
                return None
            wait_s = self.spacing_s
        elif ending is Ending.ALREADY_BOUND:
            wait_s = self.already_bound_s[min(streak, len(self.already_bound_s)) - 1]
        else:
            wait_s = chance * min(self.longest_s, self.first_s * 2 ** min(streak - 1, 30))
        return max(wait_s, self.spacing_s - since_start_s)


class Pace:
    """Space the starts of connections that several binds of one account make to the same carrier (docs/delivery.md F41)."""

    def __init__(self, spacing_s: float) -> None:
        self._spacing_s = spacing_s
        self._free_at = -math.inf

    def wait_s(self, now: float) -> float:
        """Take the next free start and return how long to wait for it, in seconds."""
        at = max(now, self._free_at)
        self._free_at = at + self._spacing_s
        return at - now
