"""What becomes of one submit_sm at a simulated carrier, and how each fault of a script changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from broadcaster.link.faults import Fault
from broadcaster.link.part import Part
from broadcaster.smpp import DataSm, DeliverSm, ReceiptState, SubmitSm

NO_FAULTS: Final[Mapping[str, Fault]] = MappingProxyType({})


class Owed(NamedTuple):
    """A receipt or a subscriber's message that the client has not acknowledged yet."""

    event: str
    row: str
    """The middle of its ledger row, between ``e`` and ``acked``."""
    body: DeliverSm | DataSm
    shunned: int = 0
    """The number of the session it must not go to while there is another."""

    def ledger_row(self, wall_ns: int, *, acknowledged: bool) -> str:
        """Return the row that says how it ended."""
        return f'{{"t":{wall_ns},"e":"{self.event}",{self.row},"acked":{"true" if acknowledged else "false"}}}'


class Fate(NamedTuple):
    """What becomes of one submit; times are of the simulator's clock."""

    sequence: int
    body: SubmitSm
    part: Part
    status: int
    session: int
    wall_s: int
    """The second in which it came, Unix time."""
    message_id: str | None = None
    """As in the response; None when refused."""
    number: int = 0
    answer_due: float | None = None
    """None when the response is withheld."""
    receipt_dues: tuple[float, ...] = ()
    outcome: ReceiptState = ReceiptState.REJECTED
    passing: tuple[tuple[float, ReceiptState], ...] = ()
    """Intermediate receipts: when, and which state."""
    reply: Owed | None = None
    reply_due: float = 0.0
    oddities: Mapping[str, Fault] = NO_FAULTS
    """What is odd about its response and its receipts, by kind of fault."""

    @property
    def unanswered(self) -> bool:
        """Tell whether the client cannot know the answer, because none comes or none that it could tell for this submit's."""
        odd = self.oddities
        nack = odd.get("generic_nack")
        aside = nack is not None and nack["sequence"] == "zero"
        return self.answer_due is None or aside or "wrong_seq" in odd or "wrong_type" in odd


Bend = Callable[[Fate, Fault, float, float], Fate]
"""Change a fate: fate, fault, now, a chance in [0, 1)."""


def _delayed(fate: Fate, fault: Fault, _now: float, chance: float) -> Fate:
    wait_s = fault["ms"].at(chance)
    due = None if fate.answer_due is None else fate.answer_due + wait_s
    return fate._replace(answer_due=due, receipt_dues=tuple(due + wait_s for due in fate.receipt_dues))


def _overtaken(fate: Fate, fault: Fault, _now: float, chance: float) -> Fate:
    return fate._replace(answer_due=None if fate.answer_due is None else fate.answer_due + fault["ms"].at(chance))


def _early(fate: Fate, fault: Fault, now: float, chance: float) -> Fate:
    if not fate.receipt_dues:
        return fate
    due = None if fate.answer_due is None else max(fate.answer_due, now + fault["ms"].at(chance))
    return fate._replace(receipt_dues=(now, *fate.receipt_dues[1:]), answer_due=due)


def _repeated(fate: Fate, fault: Fault, _now: float, _chance: float) -> Fate:
    return fate._replace(receipt_dues=fate.receipt_dues + fate.receipt_dues[-1:] * fault["count"])


def _late(fate: Fate, fault: Fault, _now: float, _chance: float) -> Fate:
    return fate._replace(receipt_dues=tuple(due + fault["after_s"] for due in fate.receipt_dues))


def _only_one_part(fate: Fate, fault: Fault, _now: float, _chance: float) -> Fate:
    wanted = 1 if fault["part"] == "first" else fate.part.parts
    return fate if fate.part.part == wanted else fate._replace(receipt_dues=())


def _passing(fate: Fate, fault: Fault, now: float, _chance: float) -> Fate:
    if not fate.receipt_dues:
        return fate
    due = now if fault["when"] == "before" else fate.receipt_dues[-1]
    return fate._replace(passing=(*fate.passing, (due, ReceiptState(fault["state"]))))


def _odd(fate: Fate, fault: Fault, _now: float, _chance: float) -> Fate:
    return fate._replace(oddities={**fate.oddities, fault.kind: fault})


_BENDS: Final[Mapping[str, Bend]] = {
    "delay_resp": _delayed,
    "reorder_resp": _overtaken,
    "drop_resp": lambda fate, _fault, _now, _chance: fate._replace(answer_due=None),
    "dlr_before_resp": _early,
    "dlr_dup": _repeated,
    "dlr_late": _late,
    "dlr_missing": lambda fate, _fault, _now, _chance: fate._replace(receipt_dues=(), passing=()),
    "dlr_first_part_only": _only_one_part,
    "dlr_intermediate": _passing,
}


def bend(fate: Fate, fault: Fault, now: float, chance: float) -> Fate:
    """Return what `fault` makes of `fate`: another time, another number of receipts, or an oddity of the response or the receipt."""
    return _BENDS.get(fault.kind, _odd)(fate, fault, now, chance)
