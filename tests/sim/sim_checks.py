"""What must hold after every simulation: the program's own `verify`, and the same promises asked of the carriers and the wire.

The checks here know nothing of the program's reckoning: they compare what was handed to the network, what the carriers put on their
ledgers, and what the database holds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sim_field import NAME, master, open_at
from sim_world import Record, Written
from sqlalchemy import text

from broadcaster.flow.verify import verify
from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.model import CarrierCode, State
from broadcaster.service.installation import Installation

SECOND_NS: Final = 1_000_000_000
OBEYED_NS: Final = SECOND_NS
"""How soon a pause, a stop or a refusal by a person holds."""
SPOILT: Final[Mapping[str, str]] = {
    "mutate_pdu": "",
    "dlr_grammar": "acknowledged receipts that we show otherwise",
}
"""Faults after which nobody can agree with the carrier's ledger, and about which of its words."""
_STATES: Final = text("SELECT state, count(*) FROM message GROUP BY state")
_AGAIN: Final = text("SELECT m.token, s.part FROM submission s JOIN message m ON m.id = s.message_id WHERE s.dup_risk")


def judge(record: Record) -> list[str]:
    """Return everything that is wrong with what happened."""
    wrong: list[str] = []
    installed = open_at(record.folder, actor="auditor")
    try:
        again = _sent_again(installed)
        wrong += _verified(record, installed)
        wrong += _states(record, installed)
        wrong += _crash_bound(record, installed)
    finally:
        installed.store.close()
    rows = {code: [row for row in read_ledger(path) if row.event == "submit"] for code, path in record.ledgers.items()}
    for code, submits in rows.items():
        wrong += _taken_once(code, submits, again)
        wrong += _parts_together(code, submits)
    wrong += _rates(record)
    wrong += _refusals(record)
    wrong += _stops(record)
    wrong += _sequences(record)
    wrong += _privacy(record)
    return wrong


def _verified(record: Record, installed: Installation) -> Iterator[str]:
    """Ask the program's own proof (I1 to I3, I5 to I11, I15)."""
    spoilt = [words for kind, words in SPOILT.items() if kind in record.scenario.kinds]
    checks = verify(
        installed.store,
        installed.vault,
        installed.audit_key,
        NAME,
        cards=record.cards,
        people=master().people,
        ledgers=record.ledgers,
    )
    for check in checks:
        details = [detail.en for detail in check.details]
        if check.id == "I5":
            details = [detail for detail in details if not any(words in detail for words in spoilt)]
        if details:
            yield f"{check.id} (verify): {check.said.en}: {'; '.join(details)}"


def _states(record: Record, installed: Installation) -> Iterator[str]:
    """I2: everybody of the audience has ended, and is counted once."""
    with installed.store.read() as connection:
        found = {row[0]: row[1] for row in connection.execute(_STATES)}
    if sum(found.values()) != record.recipients:
        yield f"I1: {sum(found.values())} people for the {record.recipients} of the audience"
    if waiting := found.get(State.READY, 0) + found.get(State.RETRY, 0):
        yield f"I2: {waiting} messages wait for ever"


def _crash_bound(record: Record, installed: Installation) -> Iterator[str]:
    """I4: a crash leaves no more uncertain than the account's binds may hold open."""
    query = text(
        "SELECT s.carrier, l.epoch, count(DISTINCT s.message_id) FROM submission s JOIN lease l ON l.id = s.lease_id "
        "WHERE s.reason = 'crash' GROUP BY s.carrier, l.epoch"
    )
    with installed.store.read() as connection:
        for carrier, epoch, count in connection.execute(query):
            card = record.cards[CarrierCode(carrier)]
            if count > (most := 2 * card.window * card.binds):
                yield f"I4: {carrier}: {count} messages uncertain after the crash of epoch {epoch}, at most {most} may be"


def _sent_again(installed: Installation) -> Counter[tuple[str, int]]:
    """Return how often each part was written again on purpose, at the risk of a second copy: by number and part."""
    with installed.store.read() as connection:
        rows = connection.execute(_AGAIN).all()
    numbers = installed.vault.reveal([row.token for row in rows])
    return Counter((str(number), row.part) for number, row in zip(numbers, rows, strict=True))


def _taken_once(code: str, submits: Iterable[LedgerRow], again: Counter[tuple[str, int]]) -> Iterator[str]:
    """I3: the carrier took no part twice, unless it was sent again with that risk on record."""
    taken = Counter((row.dst.lstrip("+"), row.part or 1) for row in submits if row.status == 0)
    if twice := sum(count > 1 + again[key] for key, count in taken.items()):
        yield f"I3: {code} took {twice} parts more often than they were sent on purpose"


def _parts_together(code: str, submits: Iterable[LedgerRow]) -> Iterator[str]:
    """I14: the parts that arrive in one session come in order and under one reference."""
    seen: dict[tuple[str, int | None], list[LedgerRow]] = defaultdict(list)
    for row in submits:
        if row.status == 0 and (row.parts or 1) > 1:
            seen[row.dst, row.session].append(row)
    mixed = sum(len({row.ref for row in rows}) > 1 for rows in seen.values())
    if mixed:
        yield f"I14: {code}: {mixed} messages whose parts carry different references"


def _rates(record: Record) -> Iterator[str]:
    """I9: in no half-open second was more handed to the network than the contract allows, over all lives and binds."""
    for code, card in record.cards.items():
        if card.tps is None:
            continue
        times = [each.ns for each in record.written if each.carrier == code]
        start = most = 0
        for end, at in enumerate(times):
            while times[start] <= at - SECOND_NS:
                start += 1
            most = max(most, end - start + 1)
        if most > card.tps:
            yield f"I9: {code}: {most} parts in one second, {card.tps} are allowed"


def _begun(record: Record) -> Iterator[Written]:
    """Yield the first writing of each message's part in each life."""
    seen: set[str] = set()
    for each in record.written:
        if each.number not in seen:
            seen.add(each.number)
            yield each


def _refusals(record: Record) -> Iterator[str]:
    """I7: nobody's message was begun later than the grace after a person had recorded their refusal."""
    late = [each for each in _begun(record) if each.ns > record.refused_ns.get(each.number.lstrip("+"), each.ns) + OBEYED_NS]
    if late:
        yield f"I7: {len(late)} messages begun after their subscriber's refusal"


def _stops(record: Record) -> Iterator[str]:
    """I12: nobody's message was begun later than a second after everything was paused or cancelled."""
    for what, from_ns, until_ns in record.stopped_ns:
        late = [
            each
            for each in _begun(record)
            if what in {"everything", "campaign", each.carrier} and from_ns + OBEYED_NS < each.ns < until_ns
        ]
        if late:
            after_s = (late[-1].ns - from_ns) / SECOND_NS
            yield f"I12: {len(late)} messages begun up to {after_s:.2f} s after the order to stop"


def _sequences(record: Record) -> Iterator[str]:
    """I13: no connection carried a sequence number twice."""
    seen = Counter((each.life, each.connection, each.sequence, each.carrier) for each in record.written)
    if twice := sum(count > 1 for count in seen.values()):
        yield f"I13: {twice} sequence numbers used twice on one connection"


def _privacy(record: Record) -> Iterator[str]:
    """I16: no number of a subscriber was logged."""
    numbers = {each.number.lstrip("+") for each in record.written}
    numbers |= {"0" + number.removeprefix("84") for number in numbers}
    said = " ".join(str(value) for _, _, values in record.events for value in values.values())
    if found := sum(number in said for number in numbers):
        yield f"I16: {found} numbers in the log"
