"""Is a carrier's new snapshot like the one before, or half a file?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

FEWEST: Final = 1_000
"""Smaller snapshots change by chance."""
LOWEST_ROWS: Final = 0.6
"""Of the snapshot before: fewer rows, or more than its inverse, are doubtful."""
LOWEST_OVERLAP: Final = 0.5
"""Of the smaller snapshot: subscribers that both hold."""
LOWEST_COMMUNE: Final = 0.3
COMMUNE_FEWEST: Final = 100


class Likeness(NamedTuple):
    """Two snapshots of one carrier compared; shares are of 1."""

    before: int
    """Subscribers of the earlier snapshot."""
    after: int
    overlap: float | None
    """Share of the smaller one that the other has too; None when the earlier one's people are no longer kept."""
    emptied: tuple[str, ...]
    """Communes that had people and have lost most of them."""

    @property
    def doubtful(self) -> bool:
        """Tell whether somebody should look before this snapshot counts."""
        if min(self.before, self.after) == 0 or self.before < FEWEST:
            return False
        ratio = self.after / self.before
        unlike = self.overlap is not None and self.overlap < LOWEST_OVERLAP
        return not LOWEST_ROWS <= ratio <= 1 / LOWEST_ROWS or unlike or bool(self.emptied)


def emptied_communes(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, ...]:
    """Return the communes with `COMMUNE_FEWEST` people or more before, and less than `LOWEST_COMMUNE` of them after."""
    return tuple(
        sorted(
            code
            for code, people in before.items()
            if code and people >= COMMUNE_FEWEST and after.get(code, 0) < people * LOWEST_COMMUNE
        )
    )
