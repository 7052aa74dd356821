"""What follows a carrier's answer to one part, and when a carrier's refusals are too many to go on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from broadcaster.smpp.status import RINVDSTADR, RINVSRCADR, RX_P_APPN, Verdict, verdict

RINVMSGLEN: Final = 0x01
RX_R_APPN: Final = 0x66
PERMANENT: Final = frozenset({RINVMSGLEN, RINVDSTADR, RX_P_APPN, RX_R_APPN})
"""Refusals that no further try can change (docs/delivery.md F53)."""
BURNING: Final = PERMANENT | {RINVSRCADR}
"""Refusals that a wrong sender or form of number gives to everybody (F53): the card bears few of them."""


class Kind(StrEnum):
    """What the sender does with the part."""

    ACCEPT = "accept"
    RETRY_LINK = "retry-link"
    """The link is at fault, not the part: after the link's pause the same part goes first. Not counted as a try."""
    RETRY_LATER = "retry-later"
    REFUSE = "refuse"


class Waits(NamedTuple):
    """How long a part waits before its second try, its third and so on, in seconds; when they are used up a refusal is final."""

    later_s: Sequence[int]
    """After a passing trouble of the gateway (F52); the one more try of an unknown code waits as long as the first (F55)."""
    queue_full_s: Sequence[int]
    """While the queue of that one number is full (F51)."""


class Next(NamedTuple):
    """The step that follows; `wait_s` counts for `RETRY_LATER` only; `halts` stops the carrier at once, and burns no row (F54)."""

    kind: Kind
    wait_s: int = 0
    halts: bool = False


def after(status: int, overrides: Mapping[int, str], tries: int, waits: Waits, *, repeated: bool = False) -> Next:
    """Return what follows the `tries`-th counted try (1 is the first) of a part that was answered `status` (F50–F57).

    `overrides` are the card's own verdicts, `waits` its waits. A code that nobody explains is final after one more try (F55). A
    `duplicate` answer to a repeated part says that the earlier one was taken. ValueError for an override that names no verdict, or
    `tries` < 1.
    """
    if tries < 1:
        raise ValueError(f"tries start at 1: {tries}")
    meaning = verdict(status, overrides)
    waits_s = waits.queue_full_s if meaning is Verdict.QUEUE_FULL else waits.later_s
    match meaning:
        case Verdict.ACCEPTED:
            return Next(Kind.ACCEPT)
        case Verdict.THROTTLED | Verdict.REBIND:
            return Next(Kind.RETRY_LINK)
        case Verdict.DUPLICATE:
            return Next(Kind.ACCEPT if repeated or tries > 1 else Kind.REFUSE)
        case Verdict.REFUSED:
            last = 0 if status in PERMANENT or status in overrides else 1
        case _:
            last = len(waits_s)
    if meaning is Verdict.MISCONFIGURED and status != RINVSRCADR:
        return Next(Kind.RETRY_LATER, waits_s[0] if waits_s else 0, halts=True)
    if tries <= min(last, len(waits_s)):
        return Next(Kind.RETRY_LATER, waits_s[tries - 1])
    return Next(Kind.REFUSE)


FIRST: Final = 20
FIRST_AT_LEAST: Final = 10
"""Answers before the share among the first means anything."""
RECENT: Final = 1_000
RECENT_AT_LEAST: Final = 200
"""Answers before the share among the recent means anything."""
FULL_RECENT: Final = 100
FULL_AT_LEAST: Final = 20
"""Answers before the share of full queues among the last 100 means anything."""
TROUBLE_RECENT: Final = 200
TROUBLE_AT_LEAST: Final = 40
"""Answers before the share of passing troubles among the last 200 means anything."""
TROUBLE_PAUSE_S: Final = 60
"""How long a bind in trouble rests when its card names no waits."""


class CodeWatch:
    """Watch the share of each refusal code among a carrier's first 20 and last 1,000 answers (docs/delivery.md F53, F55).

    A wrong sender, number form or quota refuses everybody with one code: it must stop the carrier before it burns the audience.
    Once raised the alarm stays; resuming the carrier begins a new watch. `suspect` is a code that stopped the carrier already: until
    the carrier takes something, its first refusal is one too many.
    """

    def __init__(
        self, first_percent: int = 50, recent_percent: int = 20, invalid_percent: int = 5, *, suspect: int | None = None
    ) -> None:
        self._first_percent = first_percent
        self._recent_percent = recent_percent
        self._invalid_percent = invalid_percent
        self.suspect = suspect
        self._answers = 0
        self._refusals: deque[tuple[int, int]] = deque()
        """(place among all answers, code) of those among the recent."""
        self._counts: Counter[int] = Counter()
        self._alarm: int | None = None

    def note(self, code: int) -> None:
        """Count one refusal: its command_status. Throttling is no refusal and is not noted."""
        self._answers += 1
        self._refusals.append((self._answers, code))
        self._counts[code] += 1
        if code == self.suspect:
            self._alarm = code
        self._look()

    def note_accepted(self, count: int) -> None:
        """Count so many acceptances."""
        if count:
            self.suspect = None
        after = self._answers + count
        for point in (FIRST_AT_LEAST, RECENT_AT_LEAST):
            # Elsewhere no share can rise: acceptances only dilute the refusals.
            if self._answers < point <= after:
                self._answers = point
                self._look()
        self._answers = after

    def alarm(self) -> int | None:
        """Return the refusal code that exceeded its share, else None."""
        return self._alarm

    def _look(self) -> None:
        while self._refusals and self._refusals[0][0] <= self._answers - RECENT:
            _, code = self._refusals.popleft()
            self._counts[code] -= 1
            if not self._counts[code]:
                del self._counts[code]
        if self._alarm is None and self._counts:
            self._alarm = self._excess()

    def _excess(self) -> int | None:
        burning = next(
            (each for each in self._counts if each in BURNING and 100 * self._counts[each] > self._invalid_percent * RECENT), None
        )
        if burning is not None:
            return burning
        code = max(self._counts, key=lambda each: self._counts[each])
        size = min(self._answers, RECENT)
        share = 100 * self._counts[code]
        early = FIRST_AT_LEAST <= self._answers <= FIRST and share >= self._first_percent * size
        late = size >= RECENT_AT_LEAST and share >= self._recent_percent * size
        return code if early or late else None


class ShareWatch:
    """Watch how many of the last `recent` answers are of one kind; no share means anything before `at_least` answers."""

    def __init__(self, percent: int, recent: int, at_least: int) -> None:
        self._percent = percent
        self._recent = recent
        self._at_least = at_least
        self._answers = 0
        self._found: deque[int] = deque()
        """Places, among all answers, of those of the kind among the recent."""

    def note(self) -> None:
        """Count one answer of the kind."""
        self._answers += 1
        self._found.append(self._answers)
        while self._found[0] <= self._answers - self._recent:
            self._found.popleft()

    def note_others(self, count: int) -> None:
        """Count so many other answers."""
        self._answers += count

    @property
    def too_many(self) -> bool:
        """Whether those of the kind are above their share, as of the last of them."""
        size = min(self._answers, self._recent)
        return size >= self._at_least and 100 * len(self._found) > self._percent * size


def full_queues(percent: int) -> ShareWatch:
    """Watch the full queues among a carrier's last 100 answers (docs/delivery.md F51).

    A few are subscribers whose own queues are full; more than the card's share mean that the whole gateway is.
    """
    return ShareWatch(percent, FULL_RECENT, FULL_AT_LEAST)


class Breaker:
    """Tell when a bind rests: passing troubles on more than `percent` of its last 200 answers (docs/delivery.md F52).

    The rests grow as the card's waits do, while the carrier takes nothing in between.
    """

    def __init__(self, percent: int, waits_s: Sequence[int]) -> None:
        self._percent = percent
        self._rests_s = tuple(waits_s) or (TROUBLE_PAUSE_S,)
        self._rested = 0
        self._watch = self._fresh()

    def note_others(self, count: int, *, accepted: bool) -> None:
        """Count so many answers of other kinds; `accepted` when the carrier took these parts."""
        self._watch.note_others(count)
        if accepted and count:
            self._rested = 0

    def note_trouble(self) -> int:
        """Count a passing trouble; return for how many seconds the bind has to rest, mostly 0. After a rest the watch begins anew."""
        self._watch.note()
        if not self._watch.too_many:
            return 0
        rest_s = self._rests_s[min(self._rested, len(self._rests_s) - 1)]
        self._rested += 1
        self._watch = self._fresh()
        return rest_s

    def _fresh(self) -> ShareWatch:
        return ShareWatch(self._percent, TROUBLE_RECENT, TROUBLE_AT_LEAST)
