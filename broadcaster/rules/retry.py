"""What follows a carrier's answer to one part, and when a carrier's refusals are too many to go on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from broadcaster.smpp.status import Verdict


class Kind(StrEnum):
    """What the sender does with the part."""

    ACCEPT = "accept"
    RETRY_LINK = "retry-link"
    """The link is at fault, not the part: after the link's pause the same part goes first. Not counted as a try."""
    RETRY_LATER = "retry-later"
    REFUSE = "refuse"


class Next(NamedTuple):
    """The step that follows; `wait_s` counts for `RETRY_LATER` only."""

    kind: Kind
    wait_s: int = 0


def after(verdict: str, tries: int, retry_after_s: Sequence[int]) -> Next:
    """Return what follows the `tries`-th counted try (1 is the first) of a part (docs/delivery.md F50–F57).

    `verdict` is the value of an SMPP `Verdict`, `retry_after_s` the card's waits: when they are used up the refusal is final.
    A `duplicate` answer to a repeated part says that the earlier one was taken. ValueError for an unknown verdict or `tries` < 1.
    """
    if tries < 1:
        raise ValueError(f"tries start at 1: {tries}")
    match Verdict(verdict):
        case Verdict.ACCEPTED:
            return Next(Kind.ACCEPT)
        case Verdict.THROTTLED | Verdict.REBIND:
            return Next(Kind.RETRY_LINK)
        case Verdict.QUEUE_FULL | Verdict.TEMPORARY | Verdict.MISCONFIGURED:
            if tries <= len(retry_after_s):
                return Next(Kind.RETRY_LATER, retry_after_s[tries - 1])
            return Next(Kind.REFUSE)
        case Verdict.DUPLICATE:
            return Next(Kind.ACCEPT if tries > 1 else Kind.REFUSE)
        case Verdict.REFUSED:
            return Next(Kind.REFUSE)


FIRST: Final = 20
FIRST_AT_LEAST: Final = 10
"""Answers before the share among the first means anything."""
RECENT: Final = 1_000
RECENT_AT_LEAST: Final = 200
"""Answers before the share among the recent means anything."""


class CodeWatch:
    """Watch the share of each refusal code among a carrier's first 20 and last 1,000 answers (docs/delivery.md F53, F55).

    A wrong sender, number form or quota refuses everybody with one code: it must stop the carrier before it burns the audience.
    Once raised the alarm stays; resuming the carrier begins a new watch.
    """

    def __init__(self, first_percent: int = 50, recent_percent: int = 20) -> None:
        self._first_percent = first_percent
        self._recent_percent = recent_percent
        self._answers = 0
        self._recent: deque[int] = deque()
        self._counts: Counter[int] = Counter()
        self._alarm: int | None = None

    def note(self, code: int) -> None:
        """Count one answer: its command_status, 0 for an acceptance. Throttling is no refusal and is not noted."""
        self._answers += 1
        self._recent.append(code)
        if code:
            self._counts[code] += 1
        if len(self._recent) > RECENT and (oldest := self._recent.popleft()):
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        # Between these no share can rise: acceptances only dilute the refusals.
        telling = code != 0 or self._answers in (FIRST_AT_LEAST, RECENT_AT_LEAST)
        if telling and self._alarm is None and self._counts:
            self._alarm = self._excess()

    def alarm(self) -> int | None:
        """Return the refusal code that exceeded its share, else None."""
        return self._alarm

    def _excess(self) -> int | None:
        code = max(self._counts, key=lambda each: self._counts[each])
        size = len(self._recent)
        share = 100 * self._counts[code]
        early = FIRST_AT_LEAST <= self._answers <= FIRST and share >= self._first_percent * size
        late = size >= RECENT_AT_LEAST and share >= self._recent_percent * size
        return code if early or late else None
