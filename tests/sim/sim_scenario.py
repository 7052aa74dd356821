"""What one seed makes of a simulation: carriers and their moods, the network, how the service dies, what people order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sim_field import CARRIERS
from sim_further import Further, draw_further
from virtual_net import Weather

from broadcaster.link.faults import KINDS, RECEIPT_FORMS, Fault, fault
from broadcaster.link.script import IdForm, SpanMs
from broadcaster.link.temperament import ReceiptBy, Temperament
from broadcaster.model import IdRule, UnknownPolicy, Variant

CRASHES: Final = 3
POINTS: Final = ("statement", "before commit", "after commit", "before write", "after write")


class Death(NamedTuple):
    """How one life of the service ends: at the `nth` point of this kind once it has lived `after_s`, or with a clean stop."""

    kind: str
    after_s: float
    nth: int
    power: bool
    """The machine dies with it: the carriers are not told."""
    away_s: float
    """How long nothing runs afterwards."""


class Deed(NamedTuple):
    """What a person does `at_s` after the start."""

    at_s: float
    kind: str
    carrier: str = ""
    many: int = 0


class DiskFault(NamedTuple):
    """A time in which nothing can be written, or this share of the writing statements and commits cannot."""

    from_s: float
    until_s: float
    words: str
    share: float


@dataclass(frozen=True)
class Scenario:
    """Everything that a seed decides; times are seconds after the start."""

    seed: int
    communes: int
    variant: Variant
    policy: UnknownPolicy
    cards: Mapping[str, Mapping[str, Any]]
    moods: Mapping[str, Temperament]
    weather: Weather
    deaths: tuple[Death, ...]
    deeds: tuple[Deed, ...]
    disk: tuple[DiskFault, ...]
    faults_end_s: float
    further: Further

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of carriers' faults in it."""
        return frozenset(each.kind for mood in self.moods.values() for each in mood.faults)


_IDS: Final = (
    (IdRule("dec", "dec"), IdForm.DECIMAL, IdForm.DECIMAL),
    (IdRule("hex", "dec"), IdForm.HEX, IdForm.DECIMAL),
    (IdRule("hex", "hex"), IdForm.UPPER, IdForm.HEX),
    (IdRule("dec", "dec"), IdForm.PADDED, IdForm.DECIMAL),
    (IdRule("raw", "raw"), IdForm.UUID, IdForm.UUID),
)
Draw = Callable[[random.Random], dict[str, Any]]

_ODD_LENGTHS: Final = (0, 3, 15, 70_000, 0x4854_5450, 0xFFFF_FFFF)
_VENDOR: Final = 0x0455
_STATUSES: Final = (_VENDOR, _VENDOR, 0x04, 0x04, 0x04, 0x61, 0xC2, 0x45, 0x64, 0x01)

_REQUEUED: Final = (0x08, 0x0B, 0x14, 0x455)
REFUSING: Final = frozenset({"queue_full", "syserr", "invdst", "vendor_status"})

DRAWS: Final[Mapping[str, Draw]] = {
    "throttle": lambda rng: {"tps": rng.randint(1, 30)},
    "queue_full": lambda rng: {"numbers": rng.uniform(0.02, 0.3)} if rng.random() < 0.7 else {"per": "all", "share": 0.2},
    "syserr": lambda rng: {"share": rng.uniform(0.01, 0.1)},
    "invdst": lambda rng: {"share": rng.uniform(0.01, 0.04)},
    "vendor_status": lambda rng: {"share": rng.uniform(0.03, 0.12), "status": rng.choice(_STATUSES)},
    "dedup_check": lambda rng: {"within_s": 600.0},
    "umr_echo": lambda rng: {"form": "off"},
    "generic_nack": lambda rng: {"share": rng.uniform(0.01, 0.05), "sequence": rng.choice(("own", "zero"))},
    "delay_resp": lambda rng: {"share": 0.3, "ms": [0, rng.randint(10, 2500)]},
    "reorder_resp": lambda rng: {"share": 0.5, "ms": [0, rng.randint(10, 400)]},
    "drop_resp": lambda rng: {"share": rng.uniform(0.01, 0.1)},
    "dup_resp": lambda rng: {"share": 0.1},
    "wrong_seq": lambda rng: {"share": rng.uniform(0.01, 0.05)},
    "wrong_type": lambda rng: {"share": rng.uniform(0.01, 0.05)},
    "empty_id": lambda rng: {"share": rng.uniform(0.01, 0.1), "form": rng.choice(("empty", "missing"))},
    "id_format": lambda rng: {"share": 0.1, "form": "no_nul"},
    "id_reuse": lambda rng: {"count": rng.randint(20, 200)},
    "dlr_before_resp": lambda rng: {"share": 0.3, "ms": [0, 500]},
    "dlr_other_bind": lambda rng: {"share": 0.5},
    "dlr_dup": lambda rng: {"share": 0.1, "count": rng.randint(1, 5)},
    "dlr_late": lambda rng: {"share": 0.1, "after_s": float(rng.randint(5, 60))},
    "dlr_missing": lambda rng: {"share": 0.1},
    "dlr_first_part_only": lambda rng: {"part": rng.choice(("first", "last"))},
    "dlr_intermediate": lambda rng: {
        "share": 0.3,
        "state": rng.choice(("enroute", "accepted", "unknown", "scheduled")),
        "when": rng.choice(("before", "after")),
    },
    "dlr_as_mo": lambda rng: {"share": 0.3},
    "dlr_data_sm": lambda rng: {"share": 0.3},
    "dlr_grammar": lambda rng: {"share": 0.5, "form": rng.choice(RECEIPT_FORMS)},
    "clock_skew": lambda rng: {"s": float(rng.choice((-86_400, -25_200, 3600, 25_200)))},
    "mo_storm": lambda rng: {
        "at": rng.randint(5, 40),
        "count": rng.randint(5, 40),
        "text": rng.choice(("TC", "Từ chối", "xin chào")),
    },
    "unbind_now": lambda rng: {"at": rng.randint(3, 60)},
    "rst_after": lambda rng: {"at": rng.randint(3, 60), "octets": rng.randint(0, 200)},
    "fin_after": lambda rng: {"at": rng.randint(3, 60), "pdus": rng.randint(0, 5)},
    "stop_reading": lambda rng: {"at": rng.randint(3, 60), "for_s": rng.uniform(1, 40)},
    "half_open": lambda rng: {"at": rng.randint(3, 60)},
    "restart": lambda rng: {"at": rng.randint(3, 60), "forget": rng.randint(0, 5), "down_s": rng.uniform(0, 8)},
    "enquire_flood": lambda rng: {"at": rng.randint(3, 60), "count": rng.randint(10, 200)},
    "byte_drip": lambda rng: {"share": 0.05, "ms": rng.uniform(0.5, 4)},
    "coalesce": lambda rng: {"share": 0.2, "ms": rng.uniform(5, 100)},
    "bad_length": lambda rng: {"share": 0.02, "times": 2, "value": rng.choice(_ODD_LENGTHS)},
    "mutate_pdu": lambda rng: {"share": 0.01, "octets": rng.randint(1, 3)},
    "no_enquire_resp": lambda rng: {"share": 0.5},
    "bind_error": lambda rng: {"share": 0.4, "times": 4, "status": rng.choice((0x05, 0x08, 0x0D, 0x0E, _VENDOR))},
    "bind_silence": lambda rng: {"share": 0.3, "times": 2},
    "pre_bind_pdu": lambda rng: {"share": 0.5, "form": rng.choice(("deliver_sm", "enquire_link"))},
    "outbind": lambda rng: {"share": 0.5},
    "accept_then_silence": lambda rng: {"share": 0.3, "times": 2},
}
"""How each kind of fault is ordered. `tls_bad` is not here: there is no TLS on a virtual clock."""

NOT_SIMULATED: Final = frozenset({"tls_bad"})
assert DRAWS.keys() | NOT_SIMULATED == KINDS.keys()


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    rng = random.Random(f"scenario/{seed}")
    end_s = rng.uniform(6, 20)
    policy = rng.choice((*UnknownPolicy, UnknownPolicy.AT_MOST_ONCE))
    further = draw_further(seed, end_s)
    return Scenario(
        seed,
        communes=rng.choice((1, 1, 2, 2, 2, 4)),
        variant=Variant.ACCENTED if rng.random() < 0.25 else Variant.UNACCENTED,
        policy=policy,
        cards=(cards := {code: {**_card(rng), **further.terms[code]} for code in CARRIERS}),
        moods=(moods := {code: _mood(rng, seed, cards[code], end_s, further.faults[code]) for code in CARRIERS}),
        weather=_weather(rng, end_s),
        deaths=_deaths(rng),
        deeds=tuple(sorted((*_deeds(rng, policy), *_requeues(seed, moods)))),
        disk=_disk(rng),
        faults_end_s=end_s,
        further=further,
    )


def _card(rng: random.Random) -> dict[str, Any]:
    rule, response, receipt = rng.choice(_IDS)
    return {
        "tps": rng.choice((5, 20, 20, 50, 50, 100, 300, None)),
        "window": rng.choice((2, 5, 5, 10, 10, 20, 20)),
        "binds": rng.choice((1, 2, 2, 2)),
        "response_timeout_s": rng.choice((2.0, 5.0)),
        "enquire_link_s": rng.choice((3.0, 8.0)),
        "throttle_pause_s": rng.choice((0.2, 1.0)),
        "retry_after_s": (2, 4, 8),
        "long_text": rng.choice(("udh8", "udh8", "udh16", "sar", "payload")),
        "receipt_scope": rng.choice(("all", "all", "first", "last")),
        "user_message_reference": rng.random() < 0.5,
        "ids": rule,
        "response_id": response,
        "receipt_id": receipt,
    }


def _mood(rng: random.Random, seed: int, card: dict[str, Any], end_s: float, more: tuple[Fault, ...]) -> Temperament:
    faults = list(more)
    for kind in rng.sample(sorted(DRAWS), rng.choice((0, 1, 2, 3, 4, 6))):
        keys = DRAWS[kind](rng)
        faults.append(fault(kind, **{"until_s": end_s, **keys}))
    return Temperament(
        seed=seed * 10 + rng.randrange(10),
        response_id=card.pop("response_id"),
        receipt_id=card.pop("receipt_id"),
        # Two of the odd forms of a text are made of the plain one.
        receipt_by=ReceiptBy.BOTH if "dlr_grammar" in {each.kind for each in faults} else rng.choice(tuple(ReceiptBy)),
        response_delay_ms=SpanMs(0, rng.choice((0, 20, 300))),
        receipt_delay_ms=SpanMs(0, rng.choice((10, 500, 4000))),
        undeliverable_share=rng.choice((0.0, 0.05)),
        expired_share=rng.choice((0.0, 0.05)),
        reply_share=rng.choice((0.0, 0.0, 0.1)),
        faults=tuple(faults),
    )


def _weather(rng: random.Random, end_s: float) -> Weather:
    if rng.random() < 0.4:
        return Weather(latency_ms=(0.2, rng.choice((1.0, 30.0))), cut_share=rng.choice((0.0, 0.3, 0.9)))
    return Weather(
        latency_ms=(0.2, rng.choice((1.0, 80.0))),
        jitter_ms=rng.choice((0.0, 20.0)),
        cut_share=rng.choice((0.3, 0.9)),
        window_octets=rng.choice((65_536, 2_048, 300)),
        refuse_share=rng.choice((0.0, 0.2)),
        unanswered_share=rng.choice((0.0, 0.1)),
        reset_share=rng.choice((0.0, 0.5)),
        lost_share=rng.choice((0.0, 0.2)),
        strike_s=(0.2, rng.choice((2.0, 20.0))),
        until_s=end_s,
    )


def _deaths(rng: random.Random) -> tuple[Death, ...]:
    deaths = [_death(rng, rng.choice(POINTS)) for _ in range(CRASHES)]
    if rng.random() < 0.4:
        deaths.insert(rng.randrange(CRASHES + 1), _death(rng, "stop"))
    return tuple(deaths)


def _death(rng: random.Random, kind: str) -> Death:
    return Death(
        kind,
        after_s=rng.choice((0.0, 1.0, 1.2, rng.uniform(0, 3), rng.uniform(0, 12), rng.uniform(5, 15))),
        nth=rng.choice((1, 1, rng.randint(1, 40), rng.randint(1, 300))),
        power=rng.random() < 0.2,
        away_s=rng.choice((0.05, 0.5, rng.uniform(0, 5), rng.uniform(0, 25))),
    )


def _deeds(rng: random.Random, policy: UnknownPolicy) -> tuple[Deed, ...]:
    deeds: list[Deed] = []

    def span(first: str, last: str, carrier: str = "") -> None:
        at_s = rng.uniform(1, 15)
        deeds.extend((Deed(at_s, first, carrier), Deed(at_s + rng.uniform(0.3, 8), last, carrier)))

    if rng.random() < 0.5:
        deeds += [Deed(rng.uniform(0.5, 20), "refuse", rng.choice(CARRIERS), rng.randint(1, 8)) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.2:
        span("pause", "resume")
    if rng.random() < 0.15:
        span("stop-all", "lift")
    if rng.random() < 0.2:
        span("pause carrier", "resume carrier", rng.choice(CARRIERS))
    if rng.random() < 0.15:
        deeds.append(Deed(rng.uniform(0.5, 15), "rate", rng.choice(CARRIERS), rng.randint(1, 30)))
    if rng.random() < 0.3:
        deeds += [Deed(rng.uniform(4, 25), "requeue", code, status) for code in CARRIERS for status in _REQUEUED]
    if policy is UnknownPolicy.OPERATOR or rng.random() < 0.1:
        deeds += [Deed(rng.uniform(4, 25), rng.choice(("release", "release", "settle")), code) for code in CARRIERS]
    if rng.random() < 0.1:
        deeds.append(Deed(rng.uniform(1.5, 15), "cancel"))
    deeds += [Deed(rng.uniform(0.3, 3), "refuse leased", code, rng.randint(1, 5)) for code in CARRIERS if rng.random() < 0.1]
    return tuple(deeds)


def _requeues(seed: int, moods: Mapping[str, Temperament]) -> Iterator[Deed]:
    """Yield what lets those be tried again whom a carrier refused for good, where one does."""
    rng = random.Random(f"requeues/{seed}")
    for code, mood in moods.items():
        if rng.random() < 0.5 and REFUSING & {each.kind for each in mood.faults}:
            yield from (Deed(rng.uniform(5, 40), "requeue", code, status) for status in _REQUEUED)


def _disk(rng: random.Random) -> tuple[DiskFault, ...]:
    if rng.random() < 0.75:
        return ()
    from_s = rng.uniform(1, 12)
    words = rng.choice(("database is locked", "database or disk is full", "disk I/O error"))
    return (DiskFault(from_s, from_s + rng.uniform(0.1, 5), words, rng.choice((1.0, 0.4, 0.1))),)
