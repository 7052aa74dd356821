"""A campaign's story in the log: how far it has come at each quarter, and what became of everybody when it ended.

With the moves that `service/local.py` logs, ten lines tell a whole campaign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog
from sqlalchemy import Connection

from broadcaster.model import CampaignState, State
from broadcaster.store.gauges import totals_of_campaigns

QUARTER_PERCENT: Final = 25
_WAITING: Final = frozenset({State.READY, State.RETRY})
_FAILED: Final = frozenset({State.EXPIRED, State.DELETED, State.UNDELIVERABLE, State.REJECTED})
_GIVEN_UP: Final = frozenset({State.CANCELLED, State.LAPSED})
_LIVE: Final = frozenset({CampaignState.RUNNING, CampaignState.PAUSED})

log = structlog.get_logger("story")


class Story:
    """Tell what has changed since the last look."""

    def __init__(self) -> None:
        self._quarters: dict[str, int] = {}
        """The last quarter told of each campaign that is under way."""

    def tell(self, connection: Connection) -> None:
        """Log the quarters that campaigns have passed, and the totals of those that have ended."""
        for name, (state, counts) in totals_of_campaigns(connection, _LIVE, self._quarters).items():
            if state not in _LIVE:
                del self._quarters[name]
                log.info("totals", campaign=name, state=state.value, **_totals(counts))
                continue
            messages = sum(counts.values())
            decided = messages - sum(counts.get(waiting, 0) for waiting in _WAITING)
            quarter = 100 * decided // max(messages, 1) // QUARTER_PERCENT
            if quarter > self._quarters.setdefault(name, 0):
                self._quarters[name] = quarter
                log.info("progress", campaign=name, percent=quarter * QUARTER_PERCENT, **_totals(counts))


def _totals(counts: Mapping[State, int]) -> dict[str, int]:
    """Return what became of the messages, by words; what is nought stays out."""
    words = {
        "messages": sum(counts.values()),
        "waiting": sum(counts.get(state, 0) for state in _WAITING),
        "accepted": counts.get(State.ACCEPTED, 0),
        "delivered": counts.get(State.DELIVERED, 0),
        "failed": sum(counts.get(state, 0) for state in _FAILED),
        "refused": counts.get(State.REFUSED, 0),
        "uncertain": counts.get(State.UNCERTAIN, 0),
        "suppressed": counts.get(State.SUPPRESSED, 0),
        "given_up": sum(counts.get(state, 0) for state in _GIVEN_UP),
    }
    return {word: count for word, count in words.items() if count}
