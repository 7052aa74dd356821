"""Our requests that wait for answers, and the sequence numbers that tie the two together (SMPP 3.4, 5.1.4; F26)."""

from __future__ import annotations

import math
from itertools import takewhile
from typing import Any, Final, TypeAlias

from broadcaster.smpp.errors import LocalProtocolError

MOST_SEQUENCE: Final = 0x7FFFFFFF
MOST_EXPIRED: Final = 10_000
"""How many requests are remembered after their time ran out, the newest."""

Entry: TypeAlias = tuple[int, Any, float]
"""Expected response command, context, deadline."""


class Window:
    """Hold at most `size` requests; bind, unbind and enquire_link wait beside them without a slot.

    Deadlines of windowed requests must not decrease from one `put` to the next (one timeout, a monotonic clock). Expired requests
    hold no slot but are remembered, so that a late answer still finds its context (F39).
    """

    __slots__ = ("_control", "_expired", "_next", "size", "slots")

    def __init__(self, size: int, first_sequence: int = 1) -> None:
        if size < 1:
            raise LocalProtocolError(f"window: {size} is less than 1")
        if not 1 <= first_sequence <= MOST_SEQUENCE:
            raise LocalProtocolError(f"first_sequence: {first_sequence} is not within 1..{MOST_SEQUENCE}")
        self.size = size
        self._next = first_sequence
        self.slots: dict[int, Entry] = {}
        """The windowed requests by sequence number, oldest first."""
        self._control: dict[int, Entry] = {}
        self._expired: dict[int, Entry] = {}

    @property
    def room(self) -> int:
        """Count the free slots."""
        return self.size - len(self.slots)

    @property
    def outstanding(self) -> int:
        """Count the taken slots."""
        return len(self.slots)

    def reserve(self) -> int:
        """Return the next sequence number, 1..0x7FFFFFFF, that nothing outstanding or remembered holds (5.1.4)."""
        sequence = self._next
        while sequence in self.slots or sequence in self._control or sequence in self._expired:
            sequence = sequence + 1 if sequence < MOST_SEQUENCE else 1
        self._next = sequence + 1 if sequence < MOST_SEQUENCE else 1
        return sequence

    def put(self, sequence: int, expected: int, context: Any, deadline: float, *, control: bool = False) -> None:
        """Note that `sequence` waits for a response `expected` until `deadline`."""
        (self._control if control else self.slots)[sequence] = (expected, context, deadline)

    def take(self, sequence: int) -> Entry | None:
        """Remove and return what waits under `sequence`."""
        return self.slots.pop(sequence, None) or self._control.pop(sequence, None)

    def recall(self, sequence: int, expected: int) -> Entry | None:
        """Remove and return what expired under `sequence`, if it waited for a response `expected` (F39)."""
        entry = self._expired.get(sequence)
        return self._expired.pop(sequence) if entry is not None and entry[0] == expected else None

    def expire(self, now: float) -> list[Any]:
        """Free the slots of what waited too long and return the contexts."""
        late = list(takewhile(lambda item: item[1][2] <= now, self.slots.items()))
        for sequence, entry in late:
            del self.slots[sequence]
            self._expired[sequence] = entry
        for sequence in list(self._expired)[:-MOST_EXPIRED]:
            del self._expired[sequence]
        stale = [item for item in self._control.items() if item[1][2] <= now]
        for sequence, _ in stale:
            del self._control[sequence]
        return [entry[1] for _, entry in (*late, *stale)]

    def next_deadline(self) -> float:
        """Tell when the first of them is late; infinity when none is."""
        first = next(iter(self.slots.values()), None)
        return min([math.inf if first is None else first[2], *(entry[2] for entry in self._control.values())])

    def drain(self) -> list[Any]:
        """Remove everything and return the contexts, windowed requests first, oldest first."""
        contexts = [entry[1] for entry in (*self.slots.values(), *self._control.values())]
        self.slots.clear()
        self._control.clear()
        self._expired.clear()
        return contexts
