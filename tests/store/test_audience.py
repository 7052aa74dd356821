"""Who is to be warned: the queries against a plain model in Python."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import pytest
from sqlalchemy import text

from broadcaster.model import AreaCode, CarrierCode, Exclusion, RosterId, State
from broadcaster.store import audience
from broadcaster.store.audience import Count, Rule
from broadcaster.store.campaigns import change_lane, insert_campaign, insert_lane, lanes
from broadcaster.store.engine import Store, append
from broadcaster.store.ports import put_ports
from broadcaster.store.schema import EXCLUDED_FROM, cell, opt_out, roster, subscriber

CARRIERS = ("gmobile", "mobifone", "viettel")
AREAS = ("21025", "21040", "21548", None)
HOUR_S = 3600
OBSERVED_S = 1_000_000


class Row(NamedTuple):
    roster_id: int
    token: bytes
    area: str | None
    seen_s: int


class World(NamedTuple):
    rows: list[Row]
    refusing: set[bytes]
    moved: dict[bytes, tuple[str, int]]
    """Token → carrier moved to, since when."""


def a_world(store: Store, seed: int, people: int) -> World:
    """Write three carriers' rosters: people in one or several, some stale, some in cells nobody knows, some refusing."""
    chance = random.Random(seed)
    tokens = [chance.randbytes(16) for _ in range(people)]
    rows = [
        Row(roster_id, token, chance.choice(AREAS), OBSERVED_S - chance.choice([0, 1, 24, 47, 48, 49]) * HOUR_S)
        for token in tokens
        for roster_id in sorted(chance.sample([1, 2, 3], chance.choice([1, 1, 1, 2, 3])))
    ]
    moved = {
        token: (chance.choice(CARRIERS), OBSERVED_S - chance.choice([0, 24, 60]) * HOUR_S)
        for token in chance.sample(tokens, people // 3)
    }
    world = World(rows, set(chance.sample(tokens, people // 5)), moved)
    cells = {(carrier, area): number for number, (carrier, area) in enumerate(((c, a) for c in CARRIERS for a in AREAS), 1)}
    with store.write() as connection:
        append(
            connection,
            cell,
            ("id", "carrier", "key", "area_code", "placed"),
            [(number, carrier, str(number), area, "file") for (carrier, area), number in cells.items()],
        )
        for roster_id, carrier in enumerate(CARRIERS, 1):
            mine = [row for row in rows if row.roster_id == roster_id]
            values = (roster_id, carrier, "f", "s", "b", "2026-01-01", OBSERVED_S * 1000 + 999, 0, len(mine), len(mine), True, b"")
            names = [name.name for name in roster.columns if name.name != "commitment"]
            append(connection, roster, names, [values])
            append(
                connection,
                subscriber,
                ("roster_id", "token", "cell_id", "seen_s"),
                [(roster_id, row.token, cells[carrier, row.area], row.seen_s) for row in mine],
            )
        append(connection, opt_out, ("token", "since_ms"), [(token, 1) for token in world.refusing])
        put_ports(connection, [(token, *move) for token, move in world.moved.items()])
    return world


def expected(world: World, rule: Rule) -> dict[bytes, list[Count]]:
    """Return token → what each of its rows counts as."""
    told: dict[bytes, list[Count]] = {}
    for row in world.rows:
        if row.roster_id not in rule.roster_ids:
            continue
        rivals = [other for other in world.rows if other.token == row.token and other.roster_id in rule.roster_ids]
        carrier, since_s = world.moved.get(row.token, ("", 0))
        first = min(
            rivals,
            key=lambda other: (
                not (CARRIERS[other.roster_id - 1] == carrier and since_s <= other.seen_s),
                -other.seen_s,
                other.roster_id,
            ),
        )
        if rule.communes and row.area is not None and row.area not in rule.communes:
            continue
        if row is not first:
            exclusion = int(Exclusion.DUPLICATE)
        elif row.area is None:
            exclusion = int(Exclusion.UNKNOWN_CELL)
        elif row.seen_s < OBSERVED_S - rule.active_within_h * HOUR_S:
            exclusion = int(Exclusion.STALE)
        elif row.token in world.refusing and rule.obey_refusals:
            exclusion = int(Exclusion.REFUSED)
        else:
            exclusion = 0
        told.setdefault(row.token, []).append(Count(CARRIERS[row.roster_id - 1], row.area or "", exclusion, 1))
    return told


def totals(counts: list[Count]) -> Counter[tuple[str, str, int]]:
    found: Counter[tuple[str, str, int]] = Counter()
    for item in counts:
        found[item.carrier, item.area_code, item.exclusion] += item.messages
    return found


def some_rule(seed: int) -> Rule:
    chance = random.Random(seed)
    return Rule(
        roster_ids=[RosterId(number) for number in sorted(chance.sample([1, 2, 3], chance.choice([1, 2, 3, 3])))],
        communes=[AreaCode(code) for code in chance.sample(["21025", "21040", "21548"], chance.choice([0, 1, 2, 3]))],
        active_within_h=chance.choice([1, 24, 48, 999]),
        obey_refusals=chance.random() < 0.7,
    )


@pytest.mark.parametrize("seed", range(25))
def test_counts_agree_with_the_model(store: Store, seed: int) -> None:
    world = a_world(store, seed, 120)
    for attempt in range(4):
        rule = some_rule(100 * seed + attempt)
        with store.read() as connection:
            audience.prepare(connection, rule)
            found = [item for low, high in audience.token_slices(40_000) for item in audience.count(connection, rule, low, high)]
        assert totals(found) == totals([item for items in expected(world, rule).values() for item in items])


@pytest.mark.parametrize("seed", range(5))
def test_nobody_gets_two_messages(store: Store, seed: int) -> None:
    world = a_world(store, seed, 200)
    told = expected(world, Rule([RosterId(1), RosterId(2), RosterId(3)], [], 999, obey_refusals=False))
    assert all(sum(item.exclusion != Exclusion.DUPLICATE for item in items) == 1 for items in told.values())


@pytest.mark.parametrize("seed", range(5))
def test_enlisting_writes_what_was_counted(store: Store, seed: int) -> None:
    world = a_world(store, seed, 300)
    rule = some_rule(seed)
    with store.write() as connection:
        campaign_id = insert_campaign(
            connection, name="a", content_json="{}", digest="", recipients=0, submitted_by="", submitted_ms=0, roster_ids=[]
        )
        for carrier in CARRIERS:
            insert_lane(connection, campaign_id, CarrierCode(carrier), "body", 1)
    for low, high in audience.token_slices(30_000):
        with store.write() as connection:
            audience.prepare(connection, rule)
            before = lanes(connection, campaign_id)
            for lane_id, (send, skip) in audience.enlist(connection, rule, before, low, high).items():
                lane = next(item for item in before if item.id == lane_id)
                change_lane(connection, lane_id, messages=lane.messages + send, excluded=lane.excluded + skip)
    told = [(token, item) for token, items in expected(world, rule).items() for item in items]
    with store.read() as connection:
        after = lanes(connection, campaign_id)
        carriers = {lane.id: lane.carrier for lane in after}
        rows = connection.execute(text("SELECT id, token, area_code, state, exclusion, not_before_ms FROM message ORDER BY id")).all()
        tally = connection.execute(text("SELECT lane_id, area_code, exclusion, state, messages FROM tally")).all()
    assert sorted((row.token, carriers[row.id >> 32], row.area_code, row.exclusion) for row in rows) == sorted(
        (token, item.carrier, item.area_code, item.exclusion) for token, item in told
    )
    assert {(carriers[row.lane_id], row.area_code, row.exclusion): row.messages for row in tally} == totals(
        [item for _, item in told]
    )
    assert all(row.state == (State.EXCLUDED if row.exclusion else State.READY) for row in [*rows, *tally])
    for lane in after:
        mine = [row for row in rows if row.id >> 32 == lane.id]
        positions = [row.id - (lane.id << 32) for row in mine if not row.exclusion]
        skipped = [row.id - (lane.id << 32) - EXCLUDED_FROM for row in mine if row.exclusion]
        assert positions == list(range(1, lane.messages + 1))
        assert skipped == list(range(1, lane.excluded + 1))
        assert [row.token for row in mine if not row.exclusion] == sorted(row.token for row in mine if not row.exclusion)


@pytest.mark.parametrize("subscribers", [0, 1, 4_999, 10_000, 123_456, 10**9])
def test_slices_cover_every_token_once(subscribers: int) -> None:
    slices = list(audience.token_slices(subscribers))
    assert slices[0][0] == b""
    assert all(high == low for (_, high), (low, _) in pairwise(slices))
    assert slices[-1][1] > b"\xff" * 16
    assert all(low < high for low, high in slices)
    assert len(slices) == min(max(subscribers // audience.SLICE_ROWS, 1), 1 << 16)


def test_a_cut_off_lane_is_discarded_in_slices(store: Store, lane_of: Callable[..., object]) -> None:
    first, second = lane_of(10), lane_of(3, name="hai", carrier="mobifone")
    done = []
    while not done or not done[-1]:
        with store.write() as connection:
            done.append(audience.discard(connection, first, limit=4))  # type: ignore[arg-type]
    assert done == [False, False, True]
    with store.read() as connection:
        assert connection.execute(text("SELECT DISTINCT id >> 32 FROM message")).scalars().all() == [second.id]  # type: ignore[attr-defined]
        assert connection.execute(text("SELECT DISTINCT lane_id FROM tally")).scalars().all() == [second.id]  # type: ignore[attr-defined]
