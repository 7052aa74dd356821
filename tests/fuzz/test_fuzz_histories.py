"""Shuffled receipt histories (F07, F09, F10, F14): parsed, and folded on the lattice of rules/lifecycle.py in whatever order.

`make test` runs a dose, `make prove` the whole: more than 5,000.
"""

from __future__ import annotations

import datetime as dt
import os
import random
from typing import NamedTuple

from broadcaster.model import State
from broadcaster.rules.lifecycle import FINAL_RECEIPTS, is_final, join
from broadcaster.smpp import DeliverSm, Receipt, ReceiptState, Tag, format_receipt, parse_receipt

HISTORIES = 6_000 if os.environ.get("BROADCASTER_PROVE") == "1" else 600
FINALS = (
    ReceiptState.DELIVERED,
    ReceiptState.UNDELIVERABLE,
    ReceiptState.EXPIRED,
    ReceiptState.DELETED,
    ReceiptState.REJECTED,
)
ON_THE_WAY = (ReceiptState.ENROUTE, ReceiptState.ACCEPTED, ReceiptState.UNKNOWN, ReceiptState.SCHEDULED)
NUMBERS = {state: number for number, state in enumerate(ReceiptState)}
NOON = dt.datetime(2025, 7, 25, 12, tzinfo=dt.UTC)


class History(NamedTuple):
    """What a carrier says of one message, in the order in which it arrives."""

    final: ReceiptState | None
    receipts: list[DeliverSm]


def written(rng: random.Random, state: ReceiptState, minutes: int) -> DeliverSm:
    """Write one receipt in one of the forms carriers have."""
    text = format_receipt("77", state, NOON, NOON + dt.timedelta(minutes=minutes), error=f"{minutes:03d}", text="CANH BAO")
    tlvs = {Tag.RECEIPTED_MESSAGE_ID: b"77\0", Tag.MESSAGE_STATE: bytes((NUMBERS[state],))}
    match rng.randrange(6):
        case 0:
            return DeliverSm("84901234567", "CANHBAO", b"", esm_class=4, tlvs=tlvs)
        case 1:
            return DeliverSm("84901234567", "CANHBAO", text.encode("utf-16-be"), esm_class=4, data_coding=8)
        case 2:
            return DeliverSm("84901234567", "CANHBAO", text.lower().encode(), esm_class=4)
        case 3:
            fields = text.replace(" date:", "_date:").split(" text:")[0].split(" ")
            rng.shuffle(fields)
            return DeliverSm("84901234567", "CANHBAO", ",".join(fields).encode(), esm_class=4)
        case 4:
            return DeliverSm("84901234567", "CANHBAO", text.encode(), esm_class=4, tlvs=tlvs)
        case _:
            return DeliverSm("84901234567", "CANHBAO", text.encode(), esm_class=4)


def history(rng: random.Random) -> History:
    """Make intermediate receipts, often a final one, copies of both; shuffled."""
    receipts = [written(rng, rng.choice(ON_THE_WAY), minute) for minute in range(rng.randrange(4))]
    final = rng.choice(FINALS) if rng.random() < 0.9 else None
    if final is not None:
        receipts.append(written(rng, final, 9))
    if receipts:
        receipts += rng.choices(receipts, k=rng.choice((0, 0, 1, 5, 50)))
    rng.shuffle(receipts)
    return History(final, receipts)


def proves(receipt: Receipt) -> State | None:
    return FINAL_RECEIPTS.get(receipt.state)


def folded(receipts: list[Receipt]) -> list[State]:
    """Return the states the message passes through, from the carrier's acceptance on."""
    states = [State.ACCEPTED]
    for receipt in receipts:
        proven = proves(receipt)
        states.append(states[-1] if proven is None else join((states[-1], proven)))
    return states


def test_f09_in_whatever_order_receipts_come_the_message_ends_alike() -> None:
    rng = random.Random(9)
    finals = 0
    for _ in range(HISTORIES):
        final, bodies = history(rng)
        receipts = [receipt for body in bodies if (receipt := parse_receipt(body)) is not None]
        assert len(receipts) == len(bodies)
        assert {receipt.message_id for receipt in receipts} <= {"77"}
        states = folded(receipts)
        assert states == sorted(states)
        assert states[-1] is (State.ACCEPTED if final is None else FINAL_RECEIPTS[final])
        assert is_final(states[-1]) is (final is not None)
        assert folded(receipts[::-1])[-1] is states[-1]
        finals += final is not None
    assert 0 < finals < HISTORIES


def test_f10_copies_change_nothing() -> None:
    rng = random.Random(10)
    for _ in range(HISTORIES // 10):
        receipts = [receipt for body in history(rng).receipts if (receipt := parse_receipt(body)) is not None]
        assert folded(receipts * 3)[-1] is folded(receipts)[-1]


def test_f07_a_spoilt_history_raises_nothing_and_never_regresses() -> None:
    rng = random.Random(7)
    for _ in range(HISTORIES):
        receipts = []
        for body in history(rng).receipts[:5]:
            octets = bytearray(body.short_message)
            for _ in range(rng.randrange(4)):
                if octets:
                    octets[rng.randrange(len(octets))] = rng.randrange(256)
            receipt = parse_receipt(body._replace(short_message=bytes(octets)))
            if receipt is not None:
                receipts.append(receipt)
        states = folded(receipts)
        assert states == sorted(states)
