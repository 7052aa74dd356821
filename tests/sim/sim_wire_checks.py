"""What must hold on the wire: when each part was handed to the network, on which connection, and what people had ordered by then."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from sim_field import NAME, URGENT
from sim_record import Record, Written

from broadcaster.model import CarrierCard
from broadcaster.rules.windows import is_open
from broadcaster.store.times import from_ms

SECOND_NS: Final = 1_000_000_000
OBEYED_NS: Final = SECOND_NS
"""How soon a pause, a stop or a refusal by a person holds."""
HOLD_NS: Final = 1_001_000_000
REVIEW_NS: Final = SECOND_NS
"""How often an account looks at the hours of its contract."""
SHORT_JUMP_NS: Final = 2 * SECOND_NS
"""By how much the clock may be set without anybody minding: so far off may hours be kept."""
NOTICED_NS: Final = 20_000_000
"""How soon a clock set wrong stops the writing."""


def judge_wire(record: Record) -> Iterator[str]:
    """Yield everything that is wrong with what was written."""
    for check in (
        _rates,
        _holds,
        _hours,
        _window,
        _clocks,
        _refusals,
        _stops,
        _urgent_first,
        _sequences,
        _parts_together,
        _references,
    ):
        yield from check(record)


class _Message(NamedTuple):
    """One recipient's message of one campaign."""

    carrier: str
    number: str
    campaign: str


def message_of(record: Record, each: Written) -> _Message:
    """Return the message that a part belongs to."""
    return _Message(each.carrier, each.number.lstrip("+"), record.texts.get((each.carrier, each.sha), "?"))


def _most(times: Sequence[int]) -> int:
    """Return the most events in any half-open second."""
    start = most = 0
    for end, at in enumerate(times):
        while times[start] <= at - SECOND_NS:
            start += 1
        most = max(most, end - start + 1)
    return most


def _rates(record: Record) -> Iterator[str]:
    """I9: in no half-open second was more handed to the network than contract and hour allow, over all lives and binds."""
    for code, card in record.cards.items():
        times = [each.ns for each in record.written if each.carrier == code]
        if card.tps is not None and (most := _most(times)) > card.tps:
            yield f"I9: {code}: {most} parts in one second, {card.tps} are allowed"
        for window, tps in card.hourly_tps:
            settled_ns = REVIEW_NS + SECOND_NS + SHORT_JUMP_NS
            inside = [at for at in times if all(is_open(window, _at(record, at - before)) for before in (0, settled_ns))]
            record.hits["rate of the hour"] += len(inside)
            if (most := _most(inside)) > tps:
                yield f"I9: {code}: {most} parts in one second, {tps} are allowed in these hours"


def _holds(record: Record) -> Iterator[str]:
    """I9: no life writes in its first second, for the former one may have used it up."""
    early = [each for each in record.written if each.ns < record.began_ns[each.life] + HOLD_NS]
    if early:
        yield f"I9: {len(early)} parts within a second of a start"


def _at(record: Record, ns: int) -> dt.datetime:
    """Return the true time at an instant of the loop's clock."""
    return from_ms((record.start_ns + ns) // 1_000_000)


def _shut(card: CarrierCard, at: dt.datetime) -> bool:
    return any(is_open(window, at) for window in card.closed) or any(start <= at < end for start, end in card.maintenance)


def _hours(record: Record) -> Iterator[str]:
    """Nothing is written while a carrier's contract says that it is closed; the account looks every second."""
    spare_ns = REVIEW_NS + (SHORT_JUMP_NS if record.clock_set_ns else 0)
    for code, card in record.cards.items():
        if not card.closed and not card.maintenance:
            continue
        late = [
            each
            for each in record.written
            if each.carrier == code and all(_shut(card, _at(record, each.ns - before)) for before in (0, spare_ns))
        ]
        if late:
            yield f"hours: {code}: {len(late)} parts while it was closed"


def _window(record: Record) -> Iterator[str]:
    """I10: every message is begun inside the signed window, by the true time and by the machine's clock."""
    window = record.scenario.further.window
    outside = sum(not is_open(window, _at(record, each.ns + off)) for _, each in _begun(record) for off in {0, each.skew_ns})
    if outside:
        yield f"I10: {outside} messages begun outside the window by one of the clocks"


def _clocks(record: Record) -> Iterator[str]:
    """I10: while the clock stands wrong only urgent warnings are begun; of what was begun the rest may follow."""
    for message, each in _begun(record):
        if abs(each.skew_ns) <= SHORT_JUMP_NS:
            continue
        set_ns = max(at for at, _ in record.clock_set_ns if at <= each.ns)
        if message.campaign == URGENT:
            record.hits["urgent by a wrong clock"] += 1
        elif each.ns > set_ns + NOTICED_NS:
            yield f"I10: a message begun {(each.ns - set_ns) / SECOND_NS:.2f} s after the clock was set wrong"


def _begun(record: Record) -> Iterator[tuple[_Message, Written]]:
    """Yield each message with its first part written."""
    seen: set[_Message] = set()
    for each in record.written:
        if (message := message_of(record, each)) not in seen:
            seen.add(message)
            yield message, each


def _refusals(record: Record) -> Iterator[str]:
    """I7: nobody's message was begun later than the grace after a person had recorded their refusal."""
    late = sum(each.ns > record.refused_ns.get(message.number, each.ns) + OBEYED_NS for message, each in _begun(record))
    if late:
        yield f"I7: {late} messages begun after their subscriber's refusal"


def _stops(record: Record) -> Iterator[str]:
    """I12: nobody's message was begun later than a second after everything, its campaign or its carrier was stopped."""
    begun = list(_begun(record))
    for what, from_ns, until_ns in record.stopped_ns:
        late = [
            each
            for message, each in begun
            if what in {"everything", message.campaign, message.carrier} and from_ns + OBEYED_NS < each.ns < until_ns
        ]
        if late:
            after_s = (late[-1].ns - from_ns) / SECOND_NS
            yield f"I12: {len(late)} messages begun up to {after_s:.2f} s after the order to stop {what}"


def _urgent_first(record: Record) -> Iterator[str]:
    """While urgent messages wait that nothing holds up, no other is begun at that carrier; what a crash gave back waits a minute."""
    begun = list(_begun(record))
    for code in record.cards:
        urgent = [each.ns for message, each in begun if message.carrier == code and message.campaign == URGENT]
        others = [each.ns for message, each in begun if message.carrier == code and message.campaign == NAME]
        if not urgent:
            continue
        if any(urgent[0] < at < urgent[-1] for at in record.began_ns.values()):
            continue
        record.hits["urgent overtakes"] += any(at < urgent[0] for at in others) and any(at > urgent[-1] for at in others)
        between = sum(urgent[0] + SECOND_NS < at < urgent[-1] - SECOND_NS for at in others)
        if between:
            yield f"priority: {code}: {between} messages begun while urgent ones waited"


def _sequences(record: Record) -> Iterator[str]:
    """I13: no connection carried a sequence number twice."""
    seen = Counter((each.life, each.connection, each.sequence, each.carrier) for each in record.written)
    if twice := sum(count > 1 for count in seen.values()):
        yield f"I13: {twice} sequence numbers used twice on one connection"


def _parts_together(record: Record) -> Iterator[str]:
    """I14: the parts of a message are written in order on one connection, unless that one is lost; a crash may cut them anywhere."""
    parts: dict[tuple[_Message, int], list[Written]] = defaultdict(list)
    for each in record.written:
        if each.parts > 1:
            parts[message_of(record, each), each.life].append(each)
    mixed = 0
    for (_, life), every in parts.items():
        by_part: dict[int, Written] = {}
        for each in every:
            by_part.setdefault(each.part, each)
        first = list(by_part.values())
        for before, after in pairwise(first):
            lost_ns = record.lost_ns.get(before.connection)
            together = after.connection == before.connection and after.part > before.part
            mixed += not together and not (lost_ns is not None and lost_ns <= after.ns) and not record.stopped_ns
        record.hits["cut by a crash"] += len(first) < every[0].parts and life in record.killed
    if mixed:
        yield f"I14: {mixed} messages whose parts went over several connections or out of order"


def _references(record: Record) -> Iterator[str]:
    """I14: every part and attempt of a message carries one reference, and no other message to that phone the same."""
    refs: dict[_Message, set[int | None]] = defaultdict(set)
    for each in record.written:
        if each.parts > 1:
            refs[message_of(record, each)].add(each.ref)
    if mixed := sum(len(found) > 1 for found in refs.values()):
        yield f"I14: {mixed} messages whose parts carry different references"
    met = sum(message.campaign == NAME and found == refs.get(message._replace(campaign=URGENT)) for message, found in refs.items())
    if met:
        yield f"I14: {met} phones got two warnings under one reference"
