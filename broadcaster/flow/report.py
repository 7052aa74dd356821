"""The last stage: what the store knows about one campaign, gathered into the one value every form of the report is written from."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import accumulate

from sqlalchemy import Connection

from broadcaster.errors import NotFoundError
from broadcaster.model import Area, AreaCode, CampaignState, CarrierCard, CarrierCode, Environment, Person, Role, State
from broadcaster.review.data import (
    AreaFigures,
    Body,
    CampaignFacts,
    CarrierFigures,
    Chapter,
    ControlEvent,
    Curve,
    CurvePoint,
    Failed,
    Lag,
    RefusalCount,
    Refused,
    ReplyCount,
    Retried,
    Review,
    Signature,
    Uncertain,
)
from broadcaster.rules.tally import Tally, Totals, tally
from broadcaster.store import audit, figures
from broadcaster.store.campaigns import Campaign, Lane, approvals, find_campaign, lanes, remainder_of, remainders
from broadcaster.store.duplicates import confirmed_duplicates
from broadcaster.store.engine import Store
from broadcaster.store.messages import fold_up
from broadcaster.store.refusals import replies_between
from broadcaster.store.times import from_ms, to_ms

CURVE_STEPS = 120
_STEP_CHOICES_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_SHORTEST_TAIL_MS = 60_000
_NO_PEOPLE: Mapping[str, Person] = {}


def review(
    store: Store,
    reference: str,
    *,
    cards: Mapping[CarrierCode, CarrierCard],
    areas: Iterable[Area],
    now: dt.datetime,
    people: Mapping[str, Person] = _NO_PEOPLE,
) -> Review:
    """Gather the delivery review of a campaign from one snapshot of the store.

    `people` adds titles and roles to the signatures. Raises `NotFoundError` when there is no such campaign, `StoreError` for a fault
    of the database.
    """
    fold_up(store)
    with store.read() as connection:
        found = find_campaign(connection, reference)
        its_lanes = lanes(connection, found.id)
        rows = figures.summary_rows(connection, its_lanes)
        split = tally(rows)
        traffic = [figures.traffic(connection, item) for item in its_lanes]
        from_at, to_at = _duration(found, now)
        entries = list(audit.entries(connection))
        return Review(
            campaign=_facts(found),
            made_at=now,
            signatures=tuple(
                Signature(item.person, *_office(people.get(item.person)), item.signed_at) for item in approvals(connection, found.id)
            ),
            rows=tuple(rows),
            carriers=tuple(
                _carrier(connection, found, item, counts, split, cards.get(item.carrier))
                for item, counts in zip(its_lanes, traffic, strict=True)
            ),
            areas=_areas(split, areas),
            curve=_curve(connection, its_lanes, traffic),
            replies=tuple(
                ReplyCount(CarrierCode(carrier), kind, texts)
                for (carrier, kind), texts in sorted(replies_between(connection, from_at, to_at).items())
            ),
            refusals=tuple(RefusalCount(*item) for item in figures.refusal_log(connection, from_at, to_at)),
            uncertain=tuple(_uncertain(connection, its_lanes)),
            events=tuple(_event(entry) for entry in entries if entry.subject == found.name),
            audit_head=audit.head(connection),
            audit_entries=len(entries),
            unmatched_receipts=figures.unmatched_receipts(connection, from_at, to_at),
            story=_story(connection, found),
            approximate=found.content.get("approximate", 0),
        )


def _duration(found: Campaign, now: dt.datetime) -> tuple[int, int]:
    """Return [start, report) in ms, empty before the start: receipts and replies still come after the last message."""
    end = to_ms(now)
    return (end if found.started_ms is None else found.started_ms), end


def _facts(found: Campaign) -> CampaignFacts:
    order = found.content["order"]
    return CampaignFacts(
        id=found.id,
        name=found.name,
        title=order["title"],
        state=CampaignState(found.state),
        environment=Environment(order["environment"]),
        instruction=order["instruction"],
        sender=order["sender"],
        digest=found.digest,
        bodies=tuple(
            Body(CarrierCode(item["carrier"]), item["text"], item["coding"], item["parts"], item["sha256"])
            for item in found.content["bodies"]
        ),
        window=order["window"],
        submitted_by=found.submitted_by,
        submitted_at=from_ms(found.submitted_ms),
        planned_at=_at(found.planned_ms),
        started_at=_at(found.started_ms),
        finished_at=_at(found.finished_ms),
        deadline_at=_at(found.deadline_ms),
        reason=found.reason,
    )


def _story(connection: Connection, found: Campaign) -> tuple[Chapter, ...]:
    """Return the chapters before and after this campaign with its own, oldest first."""
    line = [found]
    # A remainder is younger than what it is the remainder of; whatever else an edit has made of the rows ends the walk.
    while (name := remainder_of(line[0])) is not None:
        try:
            before = find_campaign(connection, name)
        except NotFoundError:
            break
        if before.id >= line[0].id:
            break
        line.insert(0, before)
    after = [found]
    while after:
        after = [later for item in after for later in remainders(connection, item.name) if later.id > item.id]
        line += after
    return tuple(_chapter(connection, item) for item in line) if len(line) > 1 else ()


def _chapter(connection: Connection, item: Campaign) -> Chapter:
    totals = tally(figures.summary_rows(connection, lanes(connection, item.id))).whole
    return Chapter(item.name, item.state, remainder_of(item), totals.planned, totals.not_reached, totals.delivered)


def _at(at_ms: int | None) -> dt.datetime | None:
    return None if at_ms is None else from_ms(at_ms)


def _office(person: Person | None) -> tuple[str, tuple[Role, ...]]:
    return (person.title, tuple(role for role in Role if role in person.roles)) if person else ("", ())


def _event(entry: audit.Entry) -> ControlEvent:
    reasons = [entry.detail[key] for key in ("carrier", "reason") if entry.detail.get(key)]
    return ControlEvent(
        entry.seq, from_ms(entry.at_ms), entry.detail.get("by", entry.actor), entry.action, ": ".join(reasons) or None
    )


def _carrier(
    connection: Connection, found: Campaign, lane: Lane, counts: figures.Traffic, split: Tally, card: CarrierCard | None
) -> CarrierFigures:
    endings = figures.endings(connection, lane)
    written = counts.seconds.total()
    ceilings: list[int | None] = [card.tps if card else None, found.content["order"]["max_tps"].get(lane.carrier)]
    return CarrierFigures(
        code=lane.carrier,
        name=card.name if card else lane.carrier,
        receipt_means=card.receipt_means if card else "unknown",
        totals=split.per_carrier.get(lane.carrier, Totals()),
        contract_tps=min((tps for tps in ceilings if tps is not None), default=None),
        peak_tps=max(counts.seconds.values(), default=0),
        mean_tps=round(written / len(counts.seconds), 1) if counts.seconds else 0.0,
        parts_written=written,
        response_lag=lag(counts.responses),
        receipt_lag=lag(counts.receipts),
        refused=tuple(Refused(item.status, item.reason, item.messages) for item in endings if item.state is State.REFUSED),
        failed=tuple(Failed(item.state, item.error, item.messages) for item in endings if item.state is not State.REFUSED),
        retried=tuple(Retried(status, parts) for status, parts in counts.retried.most_common()),
        halted=lane.halted,
        confirmed_duplicates=confirmed_duplicates(connection, lane.id),
    )


def lag(histogram: Mapping[int, int]) -> Lag:
    """Return the percentiles of a histogram (milliseconds → parts): the smallest class that covers the share."""
    parts = sum(histogram.values())
    if not parts:
        return Lag(0, None, None, None)
    classes = sorted(histogram)
    reached = list(accumulate(histogram[each] for each in classes))
    found = [
        next(each for each, sofar in zip(classes, reached, strict=True) if sofar * 100 >= parts * share) for share in (50, 95, 99)
    ]
    return Lag(parts, *(max(each, 0) for each in found))


def _areas(split: Tally, areas: Iterable[Area]) -> tuple[AreaFigures, ...]:
    """Return the communes of the audience by code, the unknown last."""
    known = {item.code: item for item in areas}

    def figures_of(code: AreaCode | None, totals: Totals) -> AreaFigures:
        place = known.get(code) if code else None
        if place is None:
            return AreaFigures(code, code or "", None, None, totals)
        return AreaFigures(code, place.name, place.lat, place.lon, totals)

    return tuple(figures_of(code, totals) for code, totals in sorted(split.per_area.items(), key=lambda item: item[0] or "~"))


def _curve(connection: Connection, its_lanes: Sequence[Lane], traffic: Sequence[figures.Traffic]) -> Curve:
    """Count by steps from the first message until a while after the last; later receipts fall into the last step."""
    spans = [counts.span for counts in traffic if counts.span is not None]
    if not spans:
        return Curve(1, None)
    span = reduce(figures.Span.joined, spans)
    tail_ms = max(span.last_sent_ms - span.first_ms, _SHORTEST_TAIL_MS)
    shown_ms = min(span.last_ms, span.last_sent_ms + tail_ms) - span.first_ms
    fitting = (step for step in _STEP_CHOICES_S if shown_ms < step * 1000 * CURVE_STEPS)
    step_ms = 1000 * next(fitting, -(-shown_ms // (CURVE_STEPS * 1000)))
    last = shown_ms // step_ms
    total = figures.Steps()
    for lane in its_lanes:
        counts = figures.steps(connection, lane, span.first_ms, step_ms)
        total.sent.update(counts.sent)
        total.accepted.update(counts.accepted)
        total.confirmed.update(counts.confirmed)
    later = sum(messages for step, messages in total.confirmed.items() if step > last)
    sums = [_running(counter, last) for counter in (total.sent, total.accepted, total.confirmed)]
    ends = (from_ms(span.first_ms + step_ms * (step + 1)) for step in range(last + 1))
    points = tuple(CurvePoint(*values) for values in zip(ends, *sums, strict=True))
    return Curve(step_ms // 1000, from_ms(span.first_ms), points, later)


def _running(counter: Mapping[int, int], last: int) -> list[int]:
    """Return the running total of each step; the first and last take what lies beyond them (clocks may disagree)."""
    inside: Counter[int] = Counter()
    for step, messages in counter.items():
        inside[min(max(step, 0), last)] += messages
    return list(accumulate(inside[step] for step in range(last + 1)))


def _uncertain(connection: Connection, its_lanes: Sequence[Lane]) -> Iterable[Uncertain]:
    for lane in its_lanes:
        for item in figures.uncertain(connection, lane):
            yield Uncertain(lane.carrier, item.epoch, item.reason, item.messages, item.leases, _at(item.first_ms), _at(item.last_ms))
