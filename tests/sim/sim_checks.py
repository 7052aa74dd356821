"""What must hold after every simulation: the program's own `verify`, and the same promises asked of carriers, database and files.

The checks here and in `sim_wire_checks` know nothing of the program's reckoning: they compare what was handed to the network, what
the carriers put on their ledgers, and what the database, the logs and the reports hold.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sim_field import master, open_at
from sim_record import Record
from sim_wire_checks import SHORT_JUMP_NS, judge_wire
from sqlalchemy import text

from broadcaster.flow import control
from broadcaster.flow.report import review
from broadcaster.flow.verify import verify
from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.model import CarrierCode, State
from broadcaster.rules.windows import local_day
from broadcaster.service.installation import Installation
from broadcaster.service.logs import ALLOWED
from broadcaster.store.audit import entries
from broadcaster.store.schema import LANE_SHIFT
from broadcaster.store.times import from_ms

SPOILT: Final[Mapping[str, str]] = {
    "mutate_pdu": "",
    "dlr_grammar": "acknowledged receipts that we show otherwise",
}
"""Faults after which nobody can agree with the carrier's ledger, and about which of its words."""
ORDERS: Final[Mapping[str, str]] = {
    "stop-all": control.STOP_ALL,
    "lift": control.LIFT_STOP,
    "pause carrier": control.PAUSE_CARRIER,
    "resume carrier": control.RESUME_CARRIER,
    "rate": control.SET_RATE,
}
"""The orders whose audit entry has another name."""
_STATES: Final = text(
    "SELECT c.name, m.state, count(*) FROM message m JOIN lane l ON l.id = m.id >> :shift JOIN campaign c ON c.id = l.campaign_id "
    "GROUP BY c.name, m.state"
)
_AGAIN: Final = text(
    "SELECT c.name, m.token, s.part FROM submission s JOIN message m ON m.id = s.message_id JOIN lane l ON l.id = m.id >> :shift "
    "JOIN campaign c ON c.id = l.campaign_id WHERE s.dup_risk"
)
_CRASHED: Final = text(
    "SELECT s.carrier, l.epoch, count(DISTINCT s.message_id) FROM submission s JOIN lease l ON l.id = s.lease_id "
    "WHERE s.reason = 'crash' GROUP BY s.carrier, l.epoch"
)
_NEVER_BEGUN: Final = text("SELECT name FROM campaign WHERE state IN ('cancelled', 'expired') AND NOT enlisted")
_SHIFT: Final = {"shift": LANE_SHIFT}


def judge(record: Record) -> list[str]:
    """Return everything that is wrong with what happened."""
    wrong: list[str] = []
    installed = open_at(record.folder, actor="auditor")
    try:
        again = _sent_again(installed)
        for name in record.recipients:
            wrong += _verified(record, installed, name)
        wrong += _states(record, installed)
        wrong += _crash_bound(record, installed)
        wrong += _audited(record, installed)
        wrong += _reported(record, installed)
    finally:
        installed.store.close()
    rows = {code: [row for row in read_ledger(path) if row.event == "submit"] for code, path in record.ledgers.items()}
    for code, submits in rows.items():
        wrong += _taken_once(record, code, submits, again)
        wrong += _quotas(record, code, submits)
    wrong += judge_wire(record)
    wrong += _privacy(record)
    return wrong


def _verified(record: Record, installed: Installation, name: str) -> Iterator[str]:
    """Ask the program's own proof (I1 to I3, I5 to I12, I15)."""
    spoilt = [words for kind, words in SPOILT.items() if kind in record.scenario.kinds]
    checks = verify(
        installed.store,
        installed.vault,
        installed.audit_key,
        name,
        cards=record.cards,
        people=master().people,
        ledgers=record.ledgers,
    )
    for check in checks:
        details = [detail.en for detail in check.details]
        if check.id == "I5":
            details = [detail for detail in details if not any(words in detail for words in spoilt)]
        if details:
            yield f"{check.id} (verify): {name}: {check.said.en}: {'; '.join(details)}"


def _states(record: Record, installed: Installation) -> Iterator[str]:
    """I1, I2: everybody of each audience has ended, and is counted once."""
    found: Counter[str] = Counter()
    with installed.store.read() as connection:
        never_begun = set(connection.execute(_NEVER_BEGUN).scalars())
        for name, state, count in connection.execute(_STATES, _SHIFT):
            found[name] += count
            if state in {State.READY, State.RETRY}:
                yield f"I2: {name}: {count} messages wait for ever"
    for name, recipients in record.recipients.items():
        if found[name] != recipients and name not in never_begun:
            yield f"I1: {name}: {found[name]} people for the {recipients} of the audience"


def _crash_bound(record: Record, installed: Installation) -> Iterator[str]:
    """I4: a crash leaves no more uncertain than the account's binds may hold open."""
    with installed.store.read() as connection:
        for carrier, epoch, count in connection.execute(_CRASHED):
            card = record.cards[CarrierCode(carrier)]
            if count > (most := 2 * card.window * card.binds):
                yield f"I4: {carrier}: {count} messages uncertain after the crash of epoch {epoch}, at most {most} may be"


def _sent_again(installed: Installation) -> Counter[tuple[str, str, int]]:
    """Return how often each part was written again on purpose, at the risk of a second copy: by campaign, number and part."""
    with installed.store.read() as connection:
        rows = connection.execute(_AGAIN, _SHIFT).all()
    numbers = installed.vault.reveal([row.token for row in rows])
    return Counter((row.name, str(number), row.part) for number, row in zip(numbers, rows, strict=True))


def _taken_once(
    record: Record, code: CarrierCode, submits: Iterable[LedgerRow], again: Counter[tuple[str, str, int]]
) -> Iterator[str]:
    """I3: the carrier took no part twice, unless it was sent again with that risk on record."""
    taken = Counter(
        (record.texts.get((code, row.sha or ""), "?"), row.dst.lstrip("+"), row.part or 1) for row in submits if row.status == 0
    )
    if twice := sum(count > 1 + again[key] for key, count in taken.items()):
        yield f"I3: {code} took {twice} parts more often than they were sent on purpose"


def _quotas(record: Record, code: CarrierCode, submits: Iterable[LedgerRow]) -> Iterator[str]:
    """No carrier took more parts on a day or in a month of Vietnam's than its contract allows."""
    card = record.cards[code]
    # By a clock that is off by a little midnight is off by as much.
    spare_ns = SHORT_JUMP_NS if record.clock_set_ns else 0
    days: Counter[dt.date] = Counter()
    for row in submits:
        day, late, early = (local_day(from_ms((row.t + off) // 1_000_000)) for off in (0, -spare_ns, spare_ns))
        days[day] += row.status == 0 and late == early
    months: Counter[tuple[int, int]] = Counter()
    for day, parts in days.items():
        months[day.year, day.month] += parts
    for what, quota, used in (("day", card.parts_per_day, days), ("month", card.parts_per_month, months)):
        if quota is not None and (most := max(used.values(), default=0)) > quota:
            yield f"quota: {code} took {most} parts in one {what}, {quota} are allowed"


def _audited(record: Record, installed: Installation) -> Iterator[str]:
    """I15: each order that was not refused has exactly one entry in the audit chain, and each start and clean stop too."""
    with installed.store.read() as connection:
        found = Counter((entry.subject, entry.action, entry.actor) for entry in entries(connection))
    for (subject, order), count in record.ordered.items():
        if (there := found[subject, ORDERS.get(order, order), "test"]) != count:
            yield f"I15: {there} entries for {count} times {order} of {subject}"
    if (starts := sum(count for (_, action, _), count in found.items() if action == "service-start")) > record.lives:
        yield f"I15: {starts} starts on record, the service lived {record.lives} times"


def _reported(record: Record, installed: Installation) -> Iterator[str]:
    """I6: the report counts the whole audience, each once, and lists everything unknown."""
    for name, recipients in record.recipients.items():
        made = review(
            installed.store,
            name,
            cards=record.cards,
            areas=installed.areas(),
            now=from_ms(record.ended_ms),
            people=installed.people(),
        )
        by_state: Counter[State] = Counter()
        for row in made.rows:
            by_state[State(row.state)] += row.messages
        if sum(by_state.values()) < recipients and made.rows:
            yield f"I6: the report of {name} counts {sum(by_state.values())} of {recipients} people"
        listed = sum(each.messages for each in made.uncertain)
        if listed != by_state[State.UNCERTAIN]:
            yield f"I6: the report of {name} lists {listed} unknown messages of {by_state[State.UNCERTAIN]}"
        said = repr(made)
        if shown := sum(number in said for number in _numbers(record)):
            yield f"I16: {shown} numbers in the report"


def _numbers(record: Record) -> set[str]:
    """Return the subscribers' numbers, each in the ways it may be written."""
    numbers = {each.number.lstrip("+") for each in record.written} | record.refused_ns.keys()
    return numbers | {"0" + number.removeprefix("84") for number in numbers}


def _privacy(record: Record) -> Iterator[str]:
    """I16: no number of a subscriber, no text of a warning and no password was logged; no file here holds a number."""
    logged = [str(value) for _, _, values in record.events for value in values.values()]
    said = "\n".join([*logged, *record.told])
    numbers = _numbers(record)
    kinds: tuple[tuple[str, Iterable[str]], ...] = (
        ("numbers", numbers),
        ("texts", record.bodies),
        ("passwords", [card.password.reveal() for card in record.cards.values()]),
    )
    for what, known in kinds:
        if found := sum(each in said for each in known):
            yield f"I16: {found} {what} in the log"
    if strange := sorted({key for _, _, values in record.events for key in values} - ALLOWED):
        yield f"I16: logged under names that no log lets through: {', '.join(strange)}"
    wanted = [number.encode() for number in numbers if number.startswith("84")]
    for path in sorted(record.folder.rglob("*")):
        octets = path.read_bytes() if path.is_file() else b""
        if found := sum(number in octets for number in wanted):
            yield f"I16: {found} numbers in {path.name}"
