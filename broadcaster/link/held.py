"""What a simulated carrier has taken and not yet reported on, and can therefore still be asked to drop (cancel_sm, SMPP 3.4, 4.9)."""

from __future__ import annotations

from collections.abc import Iterable

from broadcaster.link.fate import Fate
from broadcaster.smpp import CancelSm, normal_id


class Held:
    """The messages of one carrier that has not sent their final receipts, by id."""

    def __init__(self) -> None:
        self._fates: dict[str, Fate] = {}
        self._dropped: set[str] = set()

    def keep(self, fate: Fate) -> None:
        """Hold an accepted message."""
        if fate.message_id is not None:
            self._fates[normal_id(fate.message_id)] = fate

    def drop(self, body: CancelSm) -> Fate | None:
        """Drop the message, and return it; None when no such message of these two addresses is held."""
        key = normal_id(body.message_id)
        fate = self._fates.get(key)
        if fate is None or (fate.body.source, fate.body.destination) != (body.source, body.destination):
            return None
        self._dropped.add(key)
        return self._fates.pop(key)

    def without_dropped(self, fates: Iterable[Fate]) -> list[Fate]:
        """Return those of which a receipt is still to be sent; they are held no longer."""
        kept = []
        for fate in fates:
            key = normal_id(fate.message_id or "")
            if key not in self._dropped:
                self._fates.pop(key, None)
                kept.append(fate)
        return kept
