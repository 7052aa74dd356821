"""Receipts as evidence of parts whose answer never came."""

from __future__ import annotations

import datetime as dt

import pytest

from broadcaster.flow.evidence import EVIDENCE_AFTER_MS, weigh
from broadcaster.model import State
from broadcaster.store import messages, receipts
from broadcaster.store.receipts import Received
from broadcaster.store.times import to_ms

SMSC_ZONE = dt.timezone(dt.timedelta(hours=7))


def lose_everything(field) -> None:
    """Write one window, and let the connection end before anything is answered."""

    async def scene(stage):
        stage.link.lose()
        await stage.calm()

    field.play(scene)


def receive(field, position: int, *, state: State | None = State.DELIVERED, **more) -> None:
    now_ms = to_ms(field.clock.now())
    values = {"smsc_id": f"orphan-{position}", "token": field.token(position), "stat": "?", "error": None, "received_ms": now_ms}
    row = Received(**{"carrier": "viettel", "state": None if state is None else int(state), **values, **more})
    with field.store.write() as connection:
        receipts.record_receipts(connection, [row])
        messages.fold_all(connection)


def weighed(field, *, later_ms: int = EVIDENCE_AFTER_MS) -> int:
    with field.store.write() as connection:
        return weigh(connection, field.card, to_ms(field.clock.now()) + later_ms)


def reference_of(field, position: int, part: int = 1) -> int:
    return (field.lane.first_id + position - 1 + part) % 65536


def test_a_receipt_settles_the_only_unknown_part_of_its_number(field):
    field.warn(2)
    lose_everything(field)
    receive(field, 1, state=State.UNDELIVERABLE, error="9")
    assert weighed(field) == 1
    assert field.states() == {1: State.UNDELIVERABLE, 2: State.UNCERTAIN}
    assert tuple(field.sql("SELECT smsc_id, receipt_error, resolved FROM submission WHERE state = 42")[0]) == (
        "orphan-1",
        "9",
        "receipt",
    )
    assert field.sql("SELECT count(*) FROM receipt WHERE matched")[0][0] == 1
    assert weighed(field) == 0
    assert field.failing() == set()


def test_a_young_receipt_may_still_meet_its_response(field):
    field.warn(1)
    lose_everything(field)
    receive(field, 1)
    assert weighed(field, later_ms=EVIDENCE_AFTER_MS - 1) == 0
    assert field.states() == {1: State.UNCERTAIN}


@pytest.mark.parametrize("wrong", [{"token": None}, {"carrier": "mobifone"}, {"state": None}, {"received_ms": 0}])
def test_carrier_number_and_time_must_fit(field, wrong):
    field.warn(2)
    lose_everything(field)
    receive(field, 1, **wrong)
    assert weighed(field) == 0
    assert set(field.states().values()) == {State.UNCERTAIN}


def test_of_two_unknown_parts_only_the_one_it_names_is_settled(field):
    field.warn(1, text_of_body="CANH BAO " * 20)
    assert field.lane.parts == 2
    lose_everything(field)
    receive(field, 1)
    assert weighed(field) == 0
    receive(field, 1, smsc_id="named", reference=reference_of(field, 1, part=2))
    assert weighed(field) == 1
    assert [tuple(row) for row in field.sql("SELECT part, state FROM submission ORDER BY part")] == [(1, 20), (2, 50)]
    assert field.states() == {1: State.UNCERTAIN}
    assert weighed(field) == 1, "part 1 is the only unknown one now"
    assert field.states() == {1: State.DELIVERED}


def test_a_reference_to_another_part_settles_nothing(field):
    field.warn(1)
    lose_everything(field)
    receive(field, 1, reference=(reference_of(field, 1) + 1) % 65536)
    assert weighed(field) == 0


def test_the_receipt_may_be_another_parts_under_an_id_that_is_read_wrongly(field):
    field.warn(1, text_of_body="CANH BAO " * 20)

    async def scene(stage):
        stage.link.answer(0)
        stage.link.lose()
        await stage.calm()

    field.play(scene)
    receive(field, 1)
    assert weighed(field) == 0
    assert field.states() == {1: State.UNCERTAIN}


@pytest.mark.parametrize(("hours", "settled"), [(0, 1), (-1, 0), (1, 0)])
def test_the_carriers_own_date_must_not_contradict(field, hours, settled):
    field.warn(1)
    lose_everything(field)
    date = (field.clock.now() + dt.timedelta(hours=hours)).astimezone(SMSC_ZONE).strftime("%y%m%d%H%M")
    receive(field, 1, submit_date=date)
    assert weighed(field) == settled


def test_what_a_person_settled_stays(field):
    field.warn(1)
    lose_everything(field)
    field.sql("UPDATE submission SET resolved = 'settled'")
    receive(field, 1)
    assert weighed(field) == 0
    assert field.sql("SELECT count(*) FROM receipt WHERE NOT matched")[0][0] == 1
