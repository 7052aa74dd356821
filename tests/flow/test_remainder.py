"""A second order for those whom a campaign certainly did not reach: who is in it, who never is, and what it must not collide with."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from broadcaster.errors import NotFoundError, RefusedError
from broadcaster.flow import admit, enlist
from broadcaster.flow.refuse import refuse
from broadcaster.flow.verify_people import people_signed_for
from broadcaster.model import CampaignState, CarrierCard, CarrierCode, Exclusion, Order, Person, State
from broadcaster.rules.order import order_to_json, remainder_order
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import (
    Campaign,
    change_campaign,
    find_campaign,
    insert_campaign,
    lanes,
    refuse_second_remainder,
    remainders,
)
from broadcaster.store.engine import Store, append
from broadcaster.store.rosters import Roster
from broadcaster.store.schema import submission
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault

REACHED = (State.SUPPRESSED, State.UNCERTAIN, State.ACCEPTED, State.DELIVERED)
NOT_REACHED = (
    State.CANCELLED,
    State.LAPSED,
    State.REFUSED,
    State.EXPIRED,
    State.DELETED,
    State.UNDELIVERABLE,
    State.REJECTED,
)
NAME = "dien-tap-con-lai"
FIRST_OF_ROSTER = " WHERE roster_id = 1 AND token = (SELECT token FROM subscriber WHERE roster_id = 1 ORDER BY token LIMIT 1)"


class World:
    """A campaign that has ended with its 36 people in every state, and the desk that orders its remainder."""

    def __init__(self, store: Store, vault: Vault, order: Order, rosters: list[Roster], now: dt.datetime) -> None:
        self.store, self.vault, self.order, self.now = store, vault, order, now
        self.first = self.write(order, rosters)
        self.enlist(self.first)
        self.states: dict[bytes, State] = {}
        every = [*REACHED, *NOT_REACHED]
        with store.write() as connection:
            rows = connection.execute(text("SELECT id, token FROM message WHERE exclusion = 0 ORDER BY id")).all()
            for at, row in enumerate(rows):
                self.states[row.token] = state = every[at % len(every)]
                connection.execute(text("UPDATE message SET state = :state WHERE id = :id"), {"state": int(state), "id": row.id})
                values = (row.id, 1, 1, 1, "viettel", int(state), to_ms(now) - 1000)
                append(
                    connection, submission, ("message_id", "part", "attempt", "lease_id", "carrier", "state", "answered_ms"), [values]
                )
            connection.execute(text("DELETE FROM tally"))
            change_campaign(connection, self.first.id, CampaignState.FINISHED, started_ms=1)

    def write(self, order: Order, rosters: list[Roster], **content: Any) -> Campaign:
        bodies = [{"carrier": code, "text": f"to {code}", "parts": 1} for code in order.audience.carriers]
        signed = [{"carrier": item.carrier, "commitment": item.commitment} for item in rosters]
        with self.store.write() as connection:
            campaign_id = insert_campaign(
                connection,
                name=order.name,
                content_json=json.dumps({"order": order_to_json(order), "bodies": bodies, "rosters": signed, **content}),
                digest="d1",
                recipients=1,
                submitted_by="",
                submitted_ms=0,
                roster_ids=[item.id for item in rosters],
            )
            change_campaign(connection, campaign_id, CampaignState.SCHEDULED)
            return find_campaign(connection, order.name)

    def enlist(self, campaign: Campaign) -> None:
        for step in enlist.steps(self.store, campaign):
            with self.store.write() as connection:
                step(connection)

    def remainder(self, **fields: Any) -> Order:
        made = remainder_order(self.order, name=NAME, max_recipients=900)
        return replace(made, **fields)

    def follow(self) -> Campaign:
        """Order the remainder as `submit` would store it, and write its messages out."""
        order = self.remainder()
        counted = enlist.count(self.store, order, self.now)
        assert counted.earlier is not None
        made = self.write(order, counted.rosters, earlier=counted.earlier._asdict())
        self.enlist(made)
        return made

    def people(self, campaign: Campaign, exclusion: int = 0) -> set[bytes]:
        query = "SELECT token FROM message m JOIN lane l ON l.id = m.id >> 32 WHERE campaign_id = :id AND exclusion = :exclusion"
        with self.store.read() as connection:
            return set(connection.execute(text(query), {"id": campaign.id, "exclusion": exclusion}).scalars())

    def sql(self, statement: str, **values: Any) -> None:
        with self.store.write() as connection:
            connection.execute(text(statement), values)


@pytest.fixture
def world(installed_store: Store, load: Callable[..., Roster], vault: Vault, order: Order, now: dt.datetime) -> World:
    rosters = [load("mobifone", 16), load("viettel", 32)]
    return World(installed_store, vault, order, rosters, now)


def expected(world: World) -> set[bytes]:
    return {token for token, state in world.states.items() if state in NOT_REACHED}


def test_exactly_those_not_reached_get_it(world: World) -> None:
    counted = enlist.count(world.store, world.remainder(), world.now)
    made = world.follow()
    assert world.people(made) == expected(world)
    assert counted.recipients == len(expected(world)) > 10
    with world.store.read() as connection:
        assert {item.carrier: item.messages for item in lanes(connection, made.id)} == {
            carrier: sum(item.messages for item in counted.counts if item.carrier == carrier) for carrier in ("mobifone", "viettel")
        }


def test_who_refused_since_is_left_out_with_the_reason(world: World, auditor: Auditor) -> None:
    token = min(expected(world))
    number = world.vault.reveal([token])
    refuse(world.store, auditor, world.vault, number, refuses=True, source="cli", evidence="đơn", now=world.now)
    made = world.follow()
    assert world.people(made) == expected(world) - {token}
    assert world.people(made, Exclusion.REFUSED) == {token}


def test_what_a_carrier_says_after_the_signed_moment_makes_it_no_larger(world: World) -> None:
    order = world.remainder()
    counted = enlist.count(world.store, order, world.now)
    late = next(token for token, state in world.states.items() if state is State.ACCEPTED)
    after = to_ms(world.now) + 1
    world.sql("UPDATE message SET state = 42 WHERE token = :token", token=late)
    world.sql("UPDATE submission SET receipt_ms = :at WHERE message_id = (SELECT id FROM message WHERE token = :t)", at=after, t=late)
    assert counted.earlier is not None
    made = world.write(order, counted.rosters, earlier=counted.earlier._asdict())
    world.enlist(made)
    assert world.people(made) == expected(world)


def test_only_the_asked_carriers_and_communes(world: World, order_for: Callable[..., Order]) -> None:
    order = order_for(world.remainder(), carriers=(CarrierCode("viettel"),), communes=("21025",))
    counted = enlist.count(world.store, order, world.now)
    assert {(item.carrier, item.area_code) for item in counted.counts} == {("viettel", "21025")}
    assert [item.carrier for item in counted.rosters] == ["viettel"]


@pytest.mark.parametrize("state", [CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.SCHEDULED])
def test_a_campaign_that_may_still_send_has_no_remainder(world: World, state: CampaignState) -> None:
    world.sql("UPDATE campaign SET state = :state", state=state)
    with pytest.raises(RefusedError, match="chưa kết thúc"):
        enlist.count(world.store, world.remainder(), world.now)


def test_one_that_is_still_being_settled_has_none_either(world: World) -> None:
    world.sql("INSERT INTO tally VALUES (1, '21025', 0, 0, 1)")
    with pytest.raises(RefusedError, match="chưa kết thúc"):
        enlist.count(world.store, world.remainder(), world.now)


def test_a_campaign_that_is_not_there(world: World, order_for: Callable[..., Order]) -> None:
    for name in ("khong-co", str(world.first.id)):
        with pytest.raises(NotFoundError):
            enlist.count(world.store, order_for(world.remainder(), remainder_of=name), world.now)


def test_old_rosters_are_refused_unless_the_order_says_otherwise(world: World, order_for: Callable[..., Order]) -> None:
    later = world.now + dt.timedelta(hours=60)
    with pytest.raises(RefusedError, match="48 giờ"):
        enlist.count(world.store, world.remainder(), later)
    assert enlist.count(world.store, order_for(world.remainder(), roster_max_age_h=90), later).recipients


def test_a_second_remainder_of_the_same_campaign_is_refused(world: World) -> None:
    made = world.follow()
    with pytest.raises(RefusedError, match=NAME):
        enlist.count(world.store, world.remainder(name="lan-hai"), world.now)
    with world.store.read() as connection:
        assert [item.name for item in remainders(connection, world.order.name)] == [NAME]
        with pytest.raises(RefusedError, match=NAME):
            refuse_second_remainder(connection, world.order.name)
        refuse_second_remainder(connection, NAME)
    world.sql("UPDATE campaign SET state = 'cancelled' WHERE id = :id", id=made.id)
    assert enlist.count(world.store, world.remainder(name="lan-hai"), world.now).recipients
    world.sql("UPDATE campaign SET started_ms = 5 WHERE id = :id", id=made.id)
    with pytest.raises(RefusedError, match=NAME):
        enlist.count(world.store, world.remainder(name="lan-hai"), world.now)


def test_the_moment_and_the_earlier_campaign_are_signed(
    world: World, cards: dict[CarrierCode, CarrierCard], people: dict[str, Person], auditor: Auditor
) -> None:
    order = world.remainder()
    counted = enlist.count(world.store, order, world.now)
    made = admit.draft(order, [], counted.rosters, counted.counts, cards, world.now, counted.earlier)
    assert made.content["earlier"] == {"name": world.order.name, "digest": "d1", "until_ms": to_ms(world.now)}
    world.follow()
    with pytest.raises(RefusedError, match=NAME):
        admit.submit(
            world.store,
            auditor,
            made._replace(order=replace(order, name="lan-hai")),
            submitter=people["van-thu"],
            hours=order.window,
            now=world.now,
        )


def failing(world: World, campaign: Campaign) -> list[str]:
    with world.store.read() as connection:
        check = people_signed_for(connection, world.vault, find_campaign(connection, campaign.name), lanes(connection, campaign.id))
    assert check.ok is not bool(check.details)
    return [detail.en for detail in check.details]


def test_the_people_of_both_are_those_signed_for(world: World) -> None:
    made = world.follow()
    assert failing(world, world.first) == []
    assert failing(world, made) == []


def test_a_stranger_in_somebody_s_place_is_found(world: World) -> None:
    world.sql("UPDATE message SET token = :token WHERE id = (SELECT min(id) FROM message)", token=world.vault.token(84_900_999_999))
    assert failing(world, world.first) == ["mobifone: 1 recipients are not in the signed roster"]


def test_somebody_of_another_carrier_in_somebody_s_place_is_found(world: World) -> None:
    world.sql(
        "UPDATE message SET token = (SELECT token FROM subscriber WHERE roster_id = 2 ORDER BY token DESC LIMIT 1) "
        "WHERE id = (SELECT min(id) FROM message)"
    )
    assert "mobifone: 1 recipients are not in the signed roster" in failing(world, world.first)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subscriber SET token = :token" + FIRST_OF_ROSTER,
        "DELETE FROM subscriber" + FIRST_OF_ROSTER,
        "UPDATE subscriber SET token = zeroblob(16)" + FIRST_OF_ROSTER,
    ],
)
def test_an_edited_roster_is_found(world: World, statement: str) -> None:
    world.sql(statement, **({"token": world.vault.token(84_900_999_999)} if ":token" in statement else {}))
    assert "mobifone: roster #1 is not what was signed" in failing(world, world.first)


def test_another_roster_in_its_place_is_found(world: World) -> None:
    world.sql("DELETE FROM campaign_roster WHERE roster_id = 1")
    assert "the rosters are not the signed ones" in failing(world, world.first)


def test_somebody_reached_before_in_the_remainder_is_found(world: World) -> None:
    made = world.follow()
    reached = next(token for token, state in world.states.items() if state is State.DELIVERED)
    world.sql("UPDATE message SET token = :token WHERE id = (SELECT max(id) FROM message WHERE exclusion = 0)", token=reached)
    (detail,) = (text for text in failing(world, made) if "did not reach" in text)
    assert " 1 recipients" in detail


def test_another_campaign_under_the_signed_name_is_found(world: World) -> None:
    made = world.follow()
    world.sql("UPDATE campaign SET digest = 'd2' WHERE id = :id", id=world.first.id)
    assert any("not the campaign that was signed" in text for text in failing(world, made))
    world.sql("UPDATE campaign SET name = 'khac' WHERE id = :id", id=world.first.id)
    assert any("no campaign" in text for text in failing(world, made))
