"""From summary rows to the report's numbers: every person of the audience is counted once, and only once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from broadcaster.model import AreaCode, CarrierCode, Exclusion, State
from broadcaster.rules.lifecycle import is_open

FAILURES: Final = (State.EXPIRED, State.DELETED, State.UNDELIVERABLE, State.REJECTED)
"""Final receipts that say the text did not reach the phone."""

NOT_REACHED: Final = (State.CANCELLED, State.LAPSED, State.REFUSED, *FAILURES)
"""Where a message stands that certainly did not arrive whole, and whose subscriber did not refuse it."""


class SummaryRow(NamedTuple):
    """One line of a campaign's summary: how many messages, of how many parts, stand so."""

    carrier: CarrierCode
    area: AreaCode | None
    """None when the cell is unknown."""
    state: State
    exclusion: Exclusion | None
    """Why; set when, and only when, the state is `EXCLUDED`."""
    messages: int
    parts: int


class Rate(NamedTuple):
    """A share with both its numbers, so that no percentage stands without its denominator."""

    messages: int
    of: int

    @property
    def percent(self) -> float | None:
        """The share in percent, rounded to two decimals; None of nothing."""
        return round(100 * self.messages / self.of, 2) if self.of else None


@dataclass(slots=True)
class Totals:
    """Messages by what became of them. The stored fields are disjoint; the funnel's sums are properties."""

    audience: int = 0
    excluded: dict[Exclusion, int] = field(default_factory=lambda: dict.fromkeys(Exclusion, 0))
    open: int = 0
    """Waiting for the first try or the next."""
    cancelled: int = 0
    lapsed: int = 0
    suppressed: int = 0
    refused: int = 0
    uncertain: int = 0
    awaiting: int = 0
    """Accepted by the carrier, no final receipt yet."""
    delivered: int = 0
    failed: dict[State, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))
    parts: int = 0
    """Parts of all messages that were not excluded."""
    parts_sent: int = 0
    """Parts of the messages counted in `sent`."""

    @property
    def excluded_total(self) -> int:
        return sum(self.excluded.values())

    @property
    def failed_total(self) -> int:
        return sum(self.failed.values())

    @property
    def not_reached(self) -> int:
        """Messages that certainly did not arrive whole, of subscribers who did not refuse: `NOT_REACHED`."""
        return self.cancelled + self.lapsed + self.refused + self.failed_total

    @property
    def planned(self) -> int:
        """Messages made: the audience without the excluded."""
        return self.audience - self.excluded_total

    @property
    def accepted(self) -> int:
        """Messages the carrier took, whatever its receipts said later."""
        return self.awaiting + self.delivered + self.failed_total

    @property
    def sent(self) -> int:
        """Messages that were, or may have been, written to the carrier and are not waiting for another try."""
        return self.accepted + self.refused + self.uncertain

    @property
    def accepted_of_sent(self) -> Rate:
        return Rate(self.accepted, self.sent)

    @property
    def delivered_of_accepted(self) -> Rate:
        return Rate(self.delivered, self.accepted)

    @property
    def delivered_of_planned(self) -> Rate:
        return Rate(self.delivered, self.planned)

    @property
    def delivered_of_audience(self) -> Rate:
        return Rate(self.delivered, self.audience)

    def adds_up(self) -> bool:
        """Tell whether every person of the audience is in exactly one place."""
        unsent = self.open + self.cancelled + self.lapsed + self.suppressed
        return self.audience == self.excluded_total + unsent + self.sent

    def add(self, row: SummaryRow) -> None:
        """Count one row. ValueError when state and exclusion contradict each other or a count is negative."""
        if (row.state == State.EXCLUDED) != bool(row.exclusion) or row.messages < 0 or row.parts < 0:
            raise ValueError(f"a contradictory summary row: {row}")
        self.audience += row.messages
        if row.exclusion:
            self.excluded[Exclusion(row.exclusion)] += row.messages
            return
        state = State(row.state)
        self.parts += row.parts
        if state >= State.REFUSED:
            self.parts_sent += row.parts
        if state in FAILURES:
            self.failed[state] += row.messages
        else:
            name = "open" if is_open(state) else _FIELDS[state]
            setattr(self, name, getattr(self, name) + row.messages)


_FIELDS: Final[Mapping[State, str]] = {
    State.CANCELLED: "cancelled",
    State.LAPSED: "lapsed",
    State.SUPPRESSED: "suppressed",
    State.REFUSED: "refused",
    State.UNCERTAIN: "uncertain",
    State.ACCEPTED: "awaiting",
    State.DELIVERED: "delivered",
}


@dataclass(frozen=True, slots=True)
class Tally:
    """A campaign's totals: the whole, and the same split by carrier and by area."""

    whole: Totals
    per_carrier: Mapping[CarrierCode, Totals]
    per_area: Mapping[AreaCode | None, Totals]

    def adds_up(self) -> bool:
        """Tell whether whole, carriers and areas each add up, and agree with one another in every number."""
        splits = (self.per_carrier.values(), self.per_area.values())
        everything = [self.whole, *self.per_carrier.values(), *self.per_area.values()]
        return all(totals.adds_up() for totals in everything) and all(_sum(split) == self.whole for split in splits)


def tally(rows: Iterable[SummaryRow]) -> Tally:
    """Return the totals of a campaign from its summary rows. ValueError when a row contradicts itself."""
    whole = Totals()
    per_carrier: dict[CarrierCode, Totals] = {}
    per_area: dict[AreaCode | None, Totals] = {}
    for row in rows:
        for totals in (whole, per_carrier.setdefault(row.carrier, Totals()), per_area.setdefault(row.area, Totals())):
            totals.add(row)
    return Tally(whole, per_carrier, per_area)


def _sum(many: Iterable[Totals]) -> Totals:
    """Return the field-wise sum."""
    total = Totals()
    for one in many:
        for name in ("audience", "open", *_FIELDS.values(), "parts", "parts_sent"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        for reason, count in one.excluded.items():
            total.excluded[reason] += count
        for state, count in one.failed.items():
            total.failed[state] += count
    return total
