"""Our requests that wait for answers, and the sequence numbers that tie the two together (F26)."""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

from broadcaster.smpp.errors import LocalProtocolError

MOST_SEQUENCE: Final = 0x7FFFFFFF

Entry: TypeAlias = tuple[int, Any, float]
"""Expected response command, context, deadline."""


class Window:
    """Hold at most `size` requests; bind, unbind and enquire_link wait beside them without a slot.

    Deadlines of windowed requests must not decrease from one `put` to the next (one timeout, a monotonic clock).
    """

    __slots__ = ("_control", "_next", "_slots", "size")

    def __init__(self, size: int, first_sequence: int = 1) -> None:
        if size < 1:
            raise LocalProtocolError(f"window: {size} is less than 1")
        if not 1 <= first_sequence <= MOST_SEQUENCE:
            raise LocalProtocolError(f"first_sequence: {first_sequence} is not within 1..{MOST_SEQUENCE}")
        self.size = size
        self._next = first_sequence
        self._slots: dict[int, Entry] = {}
        self._control: dict[int, Entry] = {}

    @property
    def room(self) -> int:
        """Count the free slots."""
        return self.size - len(self._slots)

    @property
    def outstanding(self) -> int:
        """Count the taken slots."""
        return len(self._slots)

    def reserve(self) -> int:
        """Return the next sequence number, 1..0x7FFFFFFF, that no outstanding request holds."""
        sequence = self._next
        while sequence in self._slots or sequence in self._control:
            sequence = sequence + 1 if sequence < MOST_SEQUENCE else 1
        self._next = sequence + 1 if sequence < MOST_SEQUENCE else 1
        return sequence

    def put(self, sequence: int, expected: int, context: Any, deadline: float, *, control: bool = False) -> None:
        """Note that `sequence` waits for a response `expected` until `deadline`."""
        (self._control if control else self._slots)[sequence] = (expected, context, deadline)

    def take(self, sequence: int) -> Entry | None:
        """Remove and return what waits under `sequence`."""
        return self._slots.pop(sequence, None) or self._control.pop(sequence, None)

    def expire(self, now: float) -> list[Any]:
        """Remove what waited too long and return the contexts."""
        late = []
        for sequence, (_, _, deadline) in self._slots.items():
            if deadline > now:
                break
            late.append(sequence)
        late += [sequence for sequence, (_, _, deadline) in self._control.items() if deadline <= now]
        return [entry[1] for sequence in late if (entry := self.take(sequence)) is not None]

    def next_deadline(self) -> float:
        """Tell when the first of them is late; infinity when none is."""
        first = next(iter(self._slots.values()), None)
        return min([math.inf if first is None else first[2], *(entry[2] for entry in self._control.values())])

    def drain(self) -> list[Any]:
        """Remove everything and return the contexts, windowed requests first, oldest first."""
        contexts = [entry[1] for entry in (*self._slots.values(), *self._control.values())]
        self._slots.clear()
        self._control.clear()
        return contexts
