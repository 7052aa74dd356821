"""Somebody erased from rosters and messages: who got the warning is still provably whom it was signed for."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from broadcaster.errors import RefusedError
from broadcaster.flow import enlist, subject
from broadcaster.flow.verify_people import people_signed_for
from broadcaster.model import CampaignState, CarrierCode, Msisdn, Order, State
from broadcaster.rules.order import order_to_json, remainder_order
from broadcaster.store.audit import Auditor, entries
from broadcaster.store.campaigns import Campaign, change_campaign, find_campaign, insert_campaign, lanes
from broadcaster.store.engine import Store
from broadcaster.store.rosters import Roster, newest_rosters
from broadcaster.store.vault import Vault

FIRST = Msisdn(84_960_000_001)
LAST = "SELECT token FROM subscriber WHERE roster_id = 2 ORDER BY token DESC LIMIT 1"


class World:
    """A finished campaign to everybody of two rosters, all refused by the carriers."""

    def __init__(self, store: Store, vault: Vault, auditor: Auditor, order: Order, rosters: list[Roster], now: dt.datetime) -> None:
        self.store, self.vault, self.auditor, self.order, self.now = store, vault, auditor, order, now
        self.first = self.run(order, rosters)
        self.sql("UPDATE message SET state = :state WHERE exclusion = 0", state=int(State.REFUSED))
        self.sql("DELETE FROM tally")

    def run(self, order: Order, rosters: list[Roster], **content: Any) -> Campaign:
        """Write a campaign's messages out, and end it."""
        bodies = [{"carrier": code, "text": f"to {code}", "parts": 1} for code in order.audience.carriers]
        signed = [{"carrier": item.carrier, "commitment": item.commitment} for item in rosters]
        with self.store.write() as connection:
            key = insert_campaign(
                connection,
                name=order.name,
                content_json=json.dumps({"order": order_to_json(order), "bodies": bodies, "rosters": signed, **content}),
                digest="d1",
                recipients=1,
                submitted_by="",
                submitted_ms=0,
                roster_ids=[item.id for item in rosters],
            )
            change_campaign(connection, key, CampaignState.SCHEDULED)
            made = find_campaign(connection, order.name)
        for step in enlist.steps(self.store, made):
            with self.store.write() as connection:
                step(connection)
        with self.store.write() as connection:
            change_campaign(connection, made.id, CampaignState.FINISHED, started_ms=1)
        return made

    def follow(self) -> Campaign:
        order = remainder_order(self.order, name="con-lai", max_recipients=900)
        counted = enlist.count(self.store, order, self.now)
        assert counted.earlier is not None
        return self.run(order, counted.rosters, earlier=counted.earlier._asdict())

    def forget(self, number: Msisdn = FIRST) -> subject.Forgotten:
        return subject.forget(self.store, self.vault, self.auditor, number, reason="đơn 3", now=self.now)

    def failing(self, campaign: Campaign) -> list[str]:
        with self.store.read() as connection:
            found, every = find_campaign(connection, campaign.name), lanes(connection, campaign.id)
            return [said.en for said in people_signed_for(connection, self.vault, found, every, list(entries(connection))).details]

    def recipients(self, campaign: Campaign) -> int:
        with self.store.read() as connection:
            return sum(item.messages for item in lanes(connection, campaign.id))

    def sql(self, statement: str, **values: Any) -> None:
        with self.store.write() as connection:
            connection.execute(text(statement), values)


@pytest.fixture
def world(
    installed_store: Store, load: Callable[..., Roster], vault: Vault, auditor: Auditor, order: Order, now: dt.datetime
) -> World:
    return World(installed_store, vault, auditor, order, [load("mobifone", 16), load("viettel", 32)], now)


def test_rosters_and_recipients_are_still_those_signed_for(world: World) -> None:
    assert world.failing(world.first) == []
    done = world.forget()
    assert (len(done.erased.rosters), done.erased.messages) == (1, 1)
    world.forget(Msisdn(FIRST + 2))
    world.forget(Msisdn(84_900_000_001))
    assert world.failing(world.first) == []
    with world.store.read() as connection:
        now = {item.carrier: item.commitment for item in newest_rosters(connection).values()}
        signed = {item["carrier"]: item["commitment"] for item in world.first.content["rosters"]}
    assert now["viettel"] != signed["viettel"]


@pytest.mark.parametrize("before", [True, False])
def test_an_edited_roster_does_not_become_the_signed_one_by_an_erasure(world: World, before: bool) -> None:
    edit = "DELETE FROM subscriber WHERE roster_id = 2 AND token = (" + LAST + ")"
    number = FIRST
    with world.store.read() as connection:
        last = connection.execute(text(LAST)).scalar_one()
    if last == world.vault.token(number):
        number = Msisdn(FIRST + 1)
    if before:
        world.sql(edit)
    world.forget(number)
    if not before:
        world.sql(edit)
    assert "viettel: roster #2 is not what was signed" in world.failing(world.first)
    if before:
        signed = {item["carrier"]: item["commitment"] for item in world.first.content["rosters"]}
        with world.store.read() as connection:
            assert newest_rosters(connection)[CarrierCode("viettel")].commitment == signed["viettel"]


def test_who_was_erased_gets_no_remainder(world: World) -> None:
    before = world.recipients(world.first)
    world.forget()
    made = world.follow()
    assert world.recipients(made) == before - 1
    assert (world.failing(world.first), world.failing(made)) == ([], [])


def test_who_is_erased_after_the_remainder_was_sent(world: World) -> None:
    made = world.follow()
    assert world.forget().erased.messages == 2
    assert (world.failing(world.first), world.failing(made)) == ([], [])


def test_a_new_campaign_over_the_same_roster_is_signed_for_what_is_left(world: World) -> None:
    world.forget()
    with world.store.read() as connection:
        rosters = list(newest_rosters(connection).values())
    made = world.run(replace(world.order, name="moi"), rosters)
    assert world.failing(made) == []
    assert world.recipients(made) == world.recipients(world.first) - 1


def test_not_while_a_campaign_has_a_roster_with_the_number(world: World) -> None:
    order = replace(world.order, name="sap-gui")
    with world.store.read() as connection:
        rosters = list(newest_rosters(connection).values())
    made = world.run(order, rosters)
    world.sql("DELETE FROM message WHERE id >> 32 IN (SELECT id FROM lane WHERE campaign_id = :id)", id=made.id)
    world.sql("UPDATE campaign SET state = 'scheduled' WHERE id = :id", id=made.id)
    with pytest.raises(RefusedError, match="sap-gui"):
        world.forget()
