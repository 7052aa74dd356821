"""Were orders to stop obeyed: after a pause, a cancellation, a halt or the stop of everything, nobody's message is begun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from broadcaster.flow.control import LIFT_STOP, PAUSE_CARRIER, RESUME_CARRIER, STOP_ALL
from broadcaster.flow.invariant import Check
from broadcaster.lang import Said
from broadcaster.model import State
from broadcaster.rules.lifecycle import Action
from broadcaster.store.audit import Entry
from broadcaster.store.campaigns import Campaign, Lane

OBEY_MS: Final = 1_000
_FOREVER_MS: Final = 1 << 62

# A message is begun with the first of its parts that the carrier took, may have taken, or had not answered yet; once begun, its
# other parts follow whatever is ordered.
_BEGUN = text(
    "SELECT count(DISTINCT s.message_id) FROM submission s WHERE s.message_id >= :first AND s.message_id < :end "
    "AND s.sent_ns / 1000000 > :after AND s.sent_ns / 1000000 < :until AND NOT EXISTS ("
    "  SELECT 1 FROM submission b WHERE b.message_id = s.message_id AND b.sent_ns < s.sent_ns "
    "  AND (b.state >= :uncertain OR b.answered_ms >= s.sent_ns / 1000000))"
)


class _Standstill(NamedTuple):
    order: str
    since_ms: int
    until_ms: int


def orders_obeyed(connection: Connection, found: Campaign, every: Sequence[Lane], entries: Sequence[Entry]) -> Check:
    """I12: no message is begun later than one second after an order to stop, until the order to go on."""
    details = []
    orders = 0
    for lane in every:
        for stand in _standstills(found, lane, entries):
            orders += 1
            values = {"first": lane.first_id, "end": lane.end_id, "uncertain": int(State.UNCERTAIN)}
            spans = {"after": stand.since_ms + OBEY_MS, "until": stand.until_ms}
            if begun := int(connection.execute(_BEGUN, values | spans).scalar_one()):
                details.append(
                    Said(
                        f"{lane.carrier}: {begun} tin bắt đầu gửi sau lệnh {stand.order} hơn một giây",
                        f"{lane.carrier}: {begun} messages were begun more than a second after {stand.order}",
                    )
                )
    said = Said(f"Mọi lệnh dừng được tuân thủ trong một giây: {orders}", f"Every order to stop was obeyed within a second: {orders}")
    return Check("I12", not details, said, details)


def _standstills(found: Campaign, lane: Lane, entries: Sequence[Entry]) -> Iterator[_Standstill]:
    kinds: tuple[tuple[str, set[str], set[str]], ...] = (
        (found.name, {Action.PAUSE, Action.CANCEL, Action.HALT}, {Action.RESUME}),
        (lane.carrier, {PAUSE_CARRIER}, {RESUME_CARRIER}),
        ("service", {STOP_ALL}, {LIFT_STOP}),
    )
    for subject, stops, starts in kinds:
        open_order: Entry | None = None
        for entry in entries:
            if entry.subject != subject:
                continue
            if entry.action in stops and open_order is None:
                open_order = entry
            elif entry.action in starts and open_order is not None:
                yield _Standstill(open_order.action, open_order.at_ms, entry.at_ms)
                open_order = None
        if open_order is not None:
            yield _Standstill(open_order.action, open_order.at_ms, _FOREVER_MS)
