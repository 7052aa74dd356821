"""Everything a delivery review shows, as one value: HTML, CSV and JSON are three ways to write it down.

All counts are of subscribers' messages ("thuê bao") unless the name says parts. Nothing here tells one subscriber from another.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from broadcaster.model import AreaCode, CampaignId, CampaignState, CarrierCode, Environment, Role, State
from broadcaster.rules.tally import SummaryRow, Tally, Totals, tally

HANDSET = "handset"
"""`CarrierFigures.receipt_means` of a carrier whose receipts prove that the phone itself has the text."""


NO_RECEIPTS = "none"


@dataclass(frozen=True, slots=True)
class Body:
    """One text as signed, for one carrier."""

    carrier: CarrierCode
    text: str
    coding: str
    parts: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """What was ordered, and when it happened. Times are UTC."""

    id: CampaignId
    name: str
    title: str
    state: CampaignState
    environment: Environment
    instruction: str
    sender: str
    digest: str
    bodies: tuple[Body, ...]
    window: str
    """As in the campaign file: ``07:00-22:00`` or ``all-day``."""
    submitted_by: str
    submitted_at: dt.datetime
    planned_at: dt.datetime | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    deadline_at: dt.datetime | None
    reason: str | None
    """Why it was paused, cancelled or halted, in the words of whoever did it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One approval; title and roles are those of the list of people at the time of the report."""

    person: str
    title: str
    roles: tuple[Role, ...]
    signed_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """Percentiles of a waiting time over `parts` parts, each exact to 1 %; None of nothing."""

    parts: int
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Messages of one carrier that were refused for good, by what the carrier answered; `status` None is our own `reason`."""

    status: int | None
    reason: str | None
    messages: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Messages of one carrier that a final receipt says did not arrive, by the carrier's own error code."""

    state: State
    error: str | None
    messages: int


@dataclass(frozen=True, slots=True)
class Retried:
    """Tries, in parts, that a carrier turned down for the moment."""

    status: int
    parts: int


@dataclass(frozen=True, slots=True)
class CarrierFigures:
    """What happened at one carrier."""

    code: CarrierCode
    name: str
    receipt_means: str
    """``handset``, ``smsc``, ``none`` or ``unknown``."""
    totals: Totals
    contract_tps: int | None
    """Parts per second the carrier allows, or the order's lower ceiling; None is unlimited."""
    peak_tps: int
    """Parts written in the busiest second of the clock."""
    mean_tps: float
    """Parts written, over the seconds in which any was."""
    parts_written: int
    """Parts put on the wire, second tries included."""
    response_lag: Lag
    """From writing to the carrier's answer."""
    receipt_lag: Lag
    """From writing to the final receipt."""
    refused: tuple[Refused, ...] = ()
    failed: tuple[Failed, ...] = ()
    retried: tuple[Retried, ...] = ()
    halted: str | None = None
    confirmed_duplicates: int = 0
    """Copies of parts that the carrier took though it had one already (F39)."""

    @property
    def reaches_handset(self) -> bool:
        return self.receipt_means == HANDSET


@dataclass(frozen=True, slots=True)
class AreaFigures:
    """What happened in one commune; `code` None gathers the subscribers of unknown cells."""

    code: AreaCode | None
    name: str
    lat: float | None
    lon: float | None
    totals: Totals


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """How many messages had been sent, accepted and confirmed by the end of this step of the curve."""

    at: dt.datetime
    sent: int
    accepted: int
    confirmed: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Cumulative counts in equal steps, ended a while after the last message; the last point counts whatever came after it too."""

    step_s: int
    starts_at: dt.datetime | None
    points: tuple[CurvePoint, ...] = ()
    later: int = 0
    """Of the confirmed in the last point, those whose receipt came after it."""


@dataclass(frozen=True, slots=True)
class ReplyCount:
    """Texts that subscribers sent us during the campaign; `kind` is rules/refusal.py's."""

    carrier: CarrierCode
    kind: str
    texts: int


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """Entries of the refusal log during the campaign; `refuses` False is a withdrawal."""

    source: str
    refuses: bool
    entries: int


@dataclass(frozen=True, slots=True)
class Uncertain:
    """Messages of which nobody can know whether the carrier has them, by the start of the service (`epoch`) that sent them."""

    carrier: CarrierCode
    epoch: int
    reason: str
    """``crash`` or ``no answer``, as the outcome has it."""
    messages: int
    leases: int
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    """When the first and the last of the leases were opened."""


@dataclass(frozen=True, slots=True)
class ControlEvent:
    """One audit entry about the campaign."""

    seq: int
    at: dt.datetime
    actor: str
    action: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Chapter:
    """One campaign of a story: each later one went to those whom an earlier one did not reach, so nobody is delivered to twice."""

    name: str
    state: CampaignState
    remainder_of: str | None
    planned: int
    not_reached: int
    """Refused, failed, lapsed or cancelled: whom a remainder may go to."""
    delivered: int


@dataclass(frozen=True, slots=True)
class Review:
    """The delivery review of one campaign. `rows` is the one source of every count of messages; the rest details it."""

    campaign: CampaignFacts
    made_at: dt.datetime
    signatures: tuple[Signature, ...]
    rows: tuple[SummaryRow, ...]
    carriers: tuple[CarrierFigures, ...]
    areas: tuple[AreaFigures, ...]
    curve: Curve
    replies: tuple[ReplyCount, ...]
    refusals: tuple[RefusalCount, ...]
    uncertain: tuple[Uncertain, ...]
    events: tuple[ControlEvent, ...]
    audit_head: str
    audit_entries: int
    unmatched_receipts: Mapping[CarrierCode, int] = field(default_factory=dict)
    """Receipts during the campaign for which no submission is known, by carrier."""
    story: tuple[Chapter, ...] = ()
    """This campaign with those it is a remainder of and its own remainders, oldest first; empty when it stands alone."""
    approximate: int = 0
    """Recipients, as counted before signing, whose cell only the nearest commune's centre places."""
    totals: Totals = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "totals", self.tally().whole)

    def tally(self) -> Tally:
        """Return the totals computed anew from `rows`."""
        return tally(self.rows)

    @property
    def story_delivered(self) -> int:
        """Subscribers for whom delivery is confirmed, by whichever campaign of the story."""
        return sum(chapter.delivered for chapter in self.story)

    @property
    def provisional(self) -> bool:
        """Tell whether these numbers can still change: something is to be sent, or a receipt may come."""
        ended = self.campaign.state in {
            CampaignState.FINISHED,
            CampaignState.CANCELLED,
            CampaignState.HALTED,
            CampaignState.EXPIRED,
        }
        return not ended or self.receipts_due > 0

    @property
    def receipts_due(self) -> int:
        """Accepted messages that may still get a final receipt: those of carriers that send any."""
        return sum(item.totals.awaiting for item in self.carriers if item.receipt_means != NO_RECEIPTS)

    @property
    def on_handset(self) -> int:
        """Confirmed messages of the carriers whose receipts prove the phone has them."""
        return sum(item.totals.delivered for item in self.carriers if item.reaches_handset)

    @property
    def at_carrier(self) -> int:
        """Confirmed messages of the other carriers: their word that they delivered, no more."""
        return self.totals.delivered - self.on_handset

    def adds_up(self) -> bool:
        """Tell whether every number of the review agrees with every other."""
        split = self.tally()
        last = self.curve.points[-1] if self.curve.points else CurvePoint(self.made_at, 0, 0, 0)
        return (
            split.adds_up()
            and {item.code: item.totals for item in self.carriers if item.totals.audience} == dict(split.per_carrier)
            and {item.code: item.totals for item in self.areas} == dict(split.per_area)
            and all(_details_agree(item) for item in self.carriers)
            and sum(item.messages for item in self.uncertain) == self.totals.uncertain
            and (last.sent, last.accepted, last.confirmed) == (self.totals.sent, self.totals.accepted, self.totals.delivered)
        )


def _details_agree(carrier: CarrierFigures) -> bool:
    by_state = dict.fromkeys(carrier.totals.failed, 0)
    for item in carrier.failed:
        by_state[item.state] += item.messages
    return by_state == carrier.totals.failed and sum(item.messages for item in carrier.refused) == carrier.totals.refused
