"""A campaign with one lane of messages, ready to be leased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, insert, select, text

from broadcaster.model import AreaCode, CarrierCode
from broadcaster.store.campaigns import Lane, change_lane, insert_campaign, insert_lane, lanes
from broadcaster.store.engine import Store, append
from broadcaster.store.schema import installation, message, tally

AREAS = (AreaCode("21025"), AreaCode("21040"), AreaCode("21548"))


def token_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def write_lane(store: Store, messages: int, parts: int = 1, *, carrier: str = "viettel", name: str = "mot") -> Lane:
    """Write a lane whose n-th message goes to `token_of(n)` in turn through `AREAS`."""
    with store.write() as connection:
        if not connection.execute(select(installation.c.id)).first():
            names = {"environment": "rehearsal", "vault_fingerprint": "", "audit_fingerprint": ""}
            connection.execute(insert(installation).values(id=1, created_ms=0, epoch=1, **names))
        campaign_id = insert_campaign(
            connection, name=name, content_json="{}", digest="", recipients=messages, submitted_by="", submitted_ms=0, roster_ids=[]
        )
        lane_id = insert_lane(connection, campaign_id, CarrierCode(carrier), "body", parts)
        change_lane(connection, lane_id, messages=messages)
        first = (lane_id << 32) + 1
        rows = [(first + at, token_of(at + 1), AREAS[at % len(AREAS)], 0, 0) for at in range(messages)]
        append(connection, message, ("id", "token", "area_code", "state", "exclusion"), rows)
        counts = Counter(row[2] for row in rows)
        append(
            connection,
            tally,
            ("lane_id", "area_code", "state", "exclusion", "messages"),
            [(lane_id, area, 0, 0, count) for area, count in counts.items()],
        )
        return lanes(connection, campaign_id)[0]


def assert_tally_agrees(connection: Connection) -> None:
    """Check that the tally says what counting the messages says, for every lane, commune, state and exclusion."""
    kept = connection.execute(text("SELECT lane_id, area_code, state, exclusion, messages FROM tally WHERE messages <> 0"))
    counted = connection.execute(text("SELECT id >> 32, area_code, state, exclusion, count(*) FROM message GROUP BY 1, 2, 3, 4"))
    assert sorted(map(tuple, kept)) == sorted(map(tuple, counted))


@pytest.fixture
def lane_of(store: Store) -> Callable[..., Lane]:
    """`write_lane` in this test's database."""

    def write(messages: int, parts: int = 1, **more: str) -> Lane:
        return write_lane(store, messages, parts, **more)

    return write


@pytest.fixture
def lane_in() -> Callable[..., Lane]:
    """`write_lane` in any database."""
    return write_lane


@pytest.fixture
def tally_agrees() -> Callable[[Connection], None]:
    return assert_tally_agrees
