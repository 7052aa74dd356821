"""What can go wrong at a simulated carrier, as data: the kinds of fault, when one strikes, and how a script orders it.

A script orders a fault by a table of its own, as many as wanted, alone or together::

    [[fault]]
    kind = "drop_resp"
    share = 0.01

Every kind takes the same trigger; all that is given must hold, and without any the fault strikes on every occasion:

``share``
    the chance on each occasion
``at``
    the occasion's ordinal, or a list of them; the first is 1
``after_n``
    only after so many occasions
``from_s``, ``until_s``
    only within this time after the carrier's start
``every_s``
    at most once in so many seconds
``times``
    at most so often in all

What an occasion is depends on the kind (`KINDS`). Faults of a link strike when a submit_sm comes; ordered by time alone (``from_s``
or ``every_s``, neither ``share``, ``at`` nor ``after_n``) they strike every link by the clock, once unless ``every_s`` is given.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

from broadcaster.errors import Problem
from broadcaster.lang import Said
from broadcaster.link.script import (
    SECONDS,
    SHARE,
    STATUS,
    IdForm,
    Read,
    SpanMs,
    WrongValueError,
    choice,
    number,
    ordinals,
    span,
    text,
    whole,
)

MOST_COUNT: Final = 1_000_000


class Occasion(Enum):
    """What a fault waits for."""

    RUN = "the whole run"
    CONNECT = "a connection"
    BIND = "a bind"
    SUBMIT = "a submit_sm"
    LINK = "a submit_sm, or the clock"
    WRITE = "a PDU written"
    ENQUIRE = "an answer to enquire_link written"


class Kind(NamedTuple):
    """One kind of fault: its occasion, and its own keys with how each is read and its default."""

    occasion: Occasion
    keys: Mapping[str, tuple[Read, Any]] = {}


RECEIPT_FORMS: Final = ("short", "swapped", "unix", "seconds", "comma", "capitals", "ucs2", "nonsense")
_COUNT: Final = whole(1, MOST_COUNT)
_HALF_SECOND: Final = SpanMs(0, 500)
_DEFAULT_STORM: Final = 100

KINDS: Final[Mapping[str, Kind]] = {
    # What is answered to a submit_sm.
    "throttle": Kind(Occasion.SUBMIT, {"tps": (whole(0, MOST_COUNT), 0)}),
    "queue_full": Kind(Occasion.SUBMIT, {"per": (choice(("destination", "all")), "destination"), "numbers": (SHARE, 0.5)}),
    "syserr": Kind(Occasion.SUBMIT),
    "invdst": Kind(Occasion.SUBMIT),
    "vendor_status": Kind(Occasion.SUBMIT, {"status": (STATUS, 0x0400)}),
    "dedup_check": Kind(Occasion.SUBMIT, {"status": (STATUS, 0x0401), "within_s": (SECONDS, 60.0)}),
    "umr_echo": Kind(Occasion.SUBMIT, {"form": (choice(("off", "reject")), "off")}),
    "generic_nack": Kind(Occasion.SUBMIT, {"sequence": (choice(("own", "zero")), "own"), "status": (STATUS, 0x08)}),
    # When and how it is answered.
    "delay_resp": Kind(Occasion.SUBMIT, {"ms": (span, _HALF_SECOND)}),
    "reorder_resp": Kind(Occasion.SUBMIT, {"ms": (span, SpanMs(0, 50))}),
    "drop_resp": Kind(Occasion.SUBMIT),
    "dup_resp": Kind(Occasion.SUBMIT),
    "wrong_seq": Kind(Occasion.SUBMIT),
    "wrong_type": Kind(Occasion.SUBMIT),
    "empty_id": Kind(Occasion.SUBMIT, {"form": (choice(("empty", "missing")), "empty")}),
    "id_format": Kind(Occasion.SUBMIT, {"form": (choice((*IdForm, "no_nul")), IdForm.HEX)}),
    "id_reuse": Kind(Occasion.SUBMIT, {"count": (_COUNT, 10_000)}),
    # The receipt that follows.
    "dlr_before_resp": Kind(Occasion.SUBMIT, {"ms": (span, SpanMs(100, 100))}),
    "dlr_other_bind": Kind(Occasion.SUBMIT),
    "dlr_dup": Kind(Occasion.SUBMIT, {"count": (_COUNT, 1)}),
    "dlr_late": Kind(Occasion.SUBMIT, {"after_s": (SECONDS, 86_400.0)}),
    "dlr_missing": Kind(Occasion.SUBMIT),
    "dlr_first_part_only": Kind(Occasion.SUBMIT, {"part": (choice(("first", "last")), "first")}),
    "dlr_intermediate": Kind(
        Occasion.SUBMIT,
        {
            "state": (choice(("enroute", "accepted", "unknown", "scheduled")), "enroute"),
            "when": (choice(("before", "after")), "before"),
        },
    ),
    "dlr_as_mo": Kind(Occasion.SUBMIT),
    "dlr_data_sm": Kind(Occasion.SUBMIT),
    "dlr_grammar": Kind(Occasion.SUBMIT, {"form": (choice(RECEIPT_FORMS), "short")}),
    "clock_skew": Kind(Occasion.SUBMIT, {"s": (number(31_536_000, -31_536_000), 3600.0)}),
    # What befalls a link.
    "mo_storm": Kind(Occasion.LINK, {"count": (_COUNT, _DEFAULT_STORM), "text": (text, "TC")}),
    "unbind_now": Kind(Occasion.LINK),
    "rst_after": Kind(Occasion.LINK, {"octets": (whole(0, MOST_COUNT), 0)}),
    "fin_after": Kind(Occasion.LINK, {"pdus": (whole(0, MOST_COUNT), 0)}),
    "stop_reading": Kind(Occasion.LINK, {"for_s": (SECONDS, 31_536_000.0)}),
    "half_open": Kind(Occasion.LINK),
    "restart": Kind(Occasion.LINK, {"forget": (whole(0, MOST_COUNT), 0), "down_s": (SECONDS, 0.0)}),
    "enquire_flood": Kind(Occasion.LINK, {"count": (_COUNT, 1000)}),
    # What becomes of bytes.
    "byte_drip": Kind(Occasion.WRITE, {"ms": (number(60_000), 1.0)}),
    "coalesce": Kind(Occasion.WRITE, {"ms": (number(60_000), 20.0)}),
    "bad_length": Kind(Occasion.WRITE, {"value": (whole(0, 0xFFFF_FFFF), 0xFFFF_FFFF)}),
    "mutate_pdu": Kind(Occasion.WRITE, {"octets": (_COUNT, 1)}),
    "no_enquire_resp": Kind(Occasion.ENQUIRE),
    # Before a session begins.
    "bind_error": Kind(Occasion.BIND, {"status": (STATUS, 0x0D)}),
    "bind_silence": Kind(Occasion.BIND),
    "pre_bind_pdu": Kind(Occasion.BIND, {"form": (choice(("deliver_sm", "enquire_link")), "deliver_sm")}),
    "outbind": Kind(Occasion.CONNECT),
    "accept_then_silence": Kind(Occasion.CONNECT),
    "tls_bad": Kind(Occasion.RUN, {"form": (choice(("expired", "wrong_host", "self_signed", "old_version", "none")), "expired")}),
}
"""Every kind of fault by its name."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a fault strikes; what is left out does not matter."""

    share: float = 1.0
    at: tuple[int, ...] = ()
    after_n: int = 0
    from_s: float = 0.0
    until_s: float = math.inf
    every_s: float | None = None
    times: int | None = None


_TRIGGER: Final[Mapping[str, Read]] = {
    "share": SHARE,
    "at": ordinals,
    "after_n": whole(1, 2**63 - 1),
    "from_s": SECONDS,
    "until_s": SECONDS,
    "every_s": number(31_536_000, 0.001),
    "times": _COUNT,
}
_COUNTED: Final = frozenset({"share", "at", "after_n"})
_TIMED: Final = frozenset({"from_s", "every_s"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that a script orders; `values` holds all keys of its kind."""

    kind: str
    trigger: Trigger = Trigger()
    values: Mapping[str, Any] = field(default_factory=dict)
    by_clock: bool = False
    """A fault of a link that strikes without a submit_sm."""

    @property
    def occasion(self) -> Occasion:
        """Name what it waits for."""
        return KINDS[self.kind].occasion

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


def fault(kind: str, **keys: Any) -> Fault:
    """Order a fault as a script does. Raises KeyError for an unknown kind or key, ValueError for a wrong value."""
    found = KINDS[kind]
    triggers = {key: _TRIGGER[key](value) for key, value in keys.items() if key not in found.keys}
    values = {key: default for key, (_, default) in found.keys.items()}
    values |= {key: found.keys[key][0](value) for key, value in keys.items() if key in found.keys}
    by_clock = found.occasion is Occasion.LINK and bool(keys.keys() & _TIMED) and not keys.keys() & _COUNTED
    if by_clock and "every_s" not in keys:
        triggers.setdefault("times", 1)
    return Fault(kind, Trigger(**triggers), values, by_clock)


def read_faults(tables: Any, path: str, lines: Mapping[str, int]) -> tuple[list[Fault], list[Problem]]:
    """Read a script's ``[[fault]]`` tables; keys in problems and in `lines` are ``fault[1].share`` and so on."""
    found: list[Fault] = []
    problems: list[Problem] = []
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        message = Said(vi="phải là các bảng [[fault]]", en="must be tables [[fault]]")
        return found, [Problem(path, message, lines.get("fault"), "fault")]
    for place, table in enumerate(tables, 1):
        wrong = _wrong_keys(table)
        problems += [
            Problem(path, message, lines.get(f"fault[{place}].{key}", lines.get(f"fault[{place}]")), f"fault[{place}].{key}")
            for key, message in wrong.items()
        ]
        if not wrong:
            found.append(fault(**table))
    return found, problems


def _wrong_keys(table: Mapping[str, Any]) -> dict[str, Said]:
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        listed = ", ".join(KINDS)
        return {"kind": Said(vi=f"phải là một trong: {listed}", en=f"must be one of: {listed}")}
    own = KINDS[kind]
    readers = {key: read for key, (read, _) in own.keys.items()}
    if own.occasion is not Occasion.RUN:
        readers = {**_TRIGGER, **readers}
    wrong: dict[str, Said] = {}
    for key, value in table.items():
        if key == "kind":
            continue
        if key not in readers:
            listed = ", ".join(readers)
            wrong[key] = Said(vi=f"«{kind}» chỉ có các khóa: {listed}", en=f"“{kind}” has only the keys: {listed}")
            continue
        try:
            readers[key](value)
        except WrongValueError as error:
            wrong[key] = error.expected
    if not wrong and table.get("until_s", math.inf) <= table.get("from_s", 0):
        wrong["until_s"] = Said(vi="phải lớn hơn from_s", en="must be greater than from_s")
    return wrong


class Armed:
    """One fault of a running carrier: its trigger's counts and its own chances, so that no other fault changes them."""

    __slots__ = ("_fault", "_period", "_random", "_seen", "_struck")

    def __init__(self, ordered: Fault, seed: int, place: int) -> None:
        self._fault = ordered
        self._random = random.Random(f"{seed}/{place}/{ordered.kind}")  # noqa: S311 - choices must repeat with the seed
        self._seen = 0
        self._struck = 0
        self._period = -1

    def strikes(self, since_start_s: float) -> bool:
        """Count one occasion and tell whether the fault strikes on it."""
        trigger = self._fault.trigger
        self._seen += 1
        if not trigger.from_s <= since_start_s < trigger.until_s or self._seen <= trigger.after_n:
            return False
        if trigger.at and self._seen not in trigger.at:
            return False
        if trigger.times is not None and self._struck >= trigger.times:
            return False
        period = self._period
        if trigger.every_s is not None:
            period = int((since_start_s - trigger.from_s) / trigger.every_s)
            if period == self._period:
                return False
        if trigger.share < 1 and self._random.random() >= trigger.share:
            return False
        self._period = period
        self._struck += 1
        return True

    @property
    def ordered(self) -> Fault:
        """Return the fault as the script orders it."""
        return self._fault


class Faults:
    """All faults of a running carrier, by occasion."""

    def __init__(self, ordered: Sequence[Fault], seed: int, now: float) -> None:
        self._started = now
        armed = [Armed(each, seed, place) for place, each in enumerate(ordered)]
        self._by_occasion = {
            occasion: [each for each in armed if each.ordered.occasion is occasion and not each.ordered.by_clock]
            for occasion in Occasion
        }
        self._by_clock = [each for each in armed if each.ordered.by_clock]

    def has(self, *occasions: Occasion) -> bool:
        """Tell whether any fault waits for one of these."""
        return any(self._by_occasion[occasion] for occasion in occasions)

    @property
    def by_clock(self) -> bool:
        """Tell whether any fault strikes by the clock."""
        return bool(self._by_clock)

    def strike(self, occasion: Occasion, now: float) -> list[Fault]:
        """Return the faults that strike on this occasion, in the script's order."""
        since_start_s = now - self._started
        return [each.ordered for each in self._by_occasion[occasion] if each.strikes(since_start_s)]

    def strike_by_clock(self, now: float) -> list[Fault]:
        """Return the faults that the clock strikes now."""
        since_start_s = now - self._started
        return [each.ordered for each in self._by_clock if each.strikes(since_start_s)]
