"""The audience counted for a plan, and written out for sending."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from broadcaster.errors import RefusedError
from broadcaster.files.parcels import open_parcel
from broadcaster.flow import enlist, intake
from broadcaster.flow.refuse import refuse
from broadcaster.model import CampaignState, CarrierCode, Exclusion, Msisdn, Order
from broadcaster.rules.order import order_to_json
from broadcaster.store import audience
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import Campaign, change_campaign, find_campaign, insert_campaign, lanes
from broadcaster.store.engine import Store
from broadcaster.store.rosters import Roster
from broadcaster.store.vault import Vault

Load = Callable[..., Roster]


def write(store: Store, order: Order, rosters: list[Roster]) -> Campaign:
    """Store the order as a scheduled campaign."""
    bodies = [{"carrier": code, "text": f"to {code}", "parts": 1, "receipt_part": 1} for code in order.audience.carriers]
    with store.write() as connection:
        campaign_id = insert_campaign(
            connection,
            name=order.name,
            content_json=json.dumps({"order": order_to_json(order), "bodies": bodies}),
            digest="",
            recipients=1,
            submitted_by="",
            submitted_ms=0,
            roster_ids=[item.id for item in rosters],
        )
        change_campaign(connection, campaign_id, CampaignState.SCHEDULED)
        return find_campaign(connection, order.name)


def run(store: Store, campaign: Campaign, pieces: int | None = None) -> int:
    """Do the pieces of an enlisting, all or the first few; return how many."""
    done = 0
    for step in enlist.steps(store, campaign):
        if done == pieces:
            break
        with store.write() as connection:
            step(connection)
        done += 1
    return done


def written(store: Store) -> list[tuple[Any, ...]]:
    with store.read() as connection:
        query = "SELECT m.id >> 32, m.id & 4294967295, m.token, m.area_code, m.state, m.exclusion FROM message m ORDER BY m.id"
        return [tuple(row) for row in connection.execute(text(query))]


def counts(store: Store) -> Counter[tuple[str, str, int]]:
    query = "SELECT carrier, area_code, exclusion, m.messages FROM tally m JOIN lane ON lane.id = lane_id"
    with store.read() as connection:
        return Counter({(row[0], row[1], row[2]): row[3] for row in connection.execute(text(query))})


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "SLICE_ROWS", 7)
    monkeypatch.setattr(audience, "DISCARD_ROWS", 7)


@pytest.fixture
def refusing(installed_store: Store, auditor: Auditor, vault: Vault, now: dt.datetime) -> list[Msisdn]:
    numbers = [Msisdn(84960000000 + number) for number in (0, 1, 2, 3)]
    refuse(installed_store, auditor, vault, numbers, refuses=True, source="phone", evidence="sổ trực", now=now)
    return numbers


def test_counting(installed_store: Store, load: Load, order: Order, refusing: list[Msisdn], now: dt.datetime) -> None:
    load("viettel", 40)
    load("mobifone", 12)
    progress: list[tuple[int, int]] = []
    found = enlist.count(installed_store, order, now, lambda done, of: progress.append((done, of)))
    told = {(item.carrier, item.area_code, item.exclusion): item.messages for item in found.counts}
    # Every fourth subscriber is in a commune that is not asked for; numbers 0 to 2 refuse in one each of the others.
    assert told == {
        **{("mobifone", code, 0): 3 for code in order.audience.communes},
        **{("viettel", code, 0): 9 for code in order.audience.communes},
        **{("viettel", code, int(Exclusion.REFUSED)): 1 for code in order.audience.communes},
    }
    assert found.recipients == 36
    assert [item.carrier for item in found.rosters] == ["mobifone", "viettel"]
    assert progress[-1][0] == progress[-1][1] == len(progress)


def test_counting_waits_for_no_writer(installed_store: Store, load: Load, order: Order, now: dt.datetime) -> None:
    load("viettel", 4)
    load("mobifone", 4)
    with installed_store.write():
        assert enlist.count(installed_store, order, now).recipients == 6


def test_an_override_reaches_those_who_refused(
    installed_store: Store, load: Load, order: Order, order_for: Callable[..., Order], refusing: list[Msisdn], now: dt.datetime
) -> None:
    load("viettel", 40)
    load("mobifone", 12)
    assert enlist.count(installed_store, order_for(order, override_refusals=True), now).recipients == 39


def test_the_whole_province(
    installed_store: Store, load: Load, order: Order, order_for: Callable[..., Order], now: dt.datetime
) -> None:
    load("viettel", 40)
    load("mobifone", 12)
    assert enlist.count(installed_store, order_for(order, communes=()), now).recipients == 52


def test_cells_without_an_inventory_reach_nobody(installed_store: Store, load: Load, order: Order, now: dt.datetime) -> None:
    load("viettel", 8, with_inventory=False)
    load("mobifone", 4)
    found = enlist.count(installed_store, order, now)
    assert ("viettel", "", int(Exclusion.UNKNOWN_CELL), 8, 0) in found.counts
    assert found.recipients == 3


def test_a_carrier_without_a_roster(installed_store: Store, load: Load, order: Order, now: dt.datetime) -> None:
    load("viettel", 4)
    with pytest.raises(RefusedError, match="mobifone"):
        enlist.count(installed_store, order, now)


@pytest.mark.parametrize(("age_h", "fresh"), [(48, True), (49, False)])
def test_a_roster_grows_old(installed_store: Store, load: Load, order: Order, now: dt.datetime, age_h: int, fresh: bool) -> None:
    load("viettel", 4, observed_at=now - dt.timedelta(hours=age_h))
    load("mobifone", 4)
    if fresh:
        assert enlist.count(installed_store, order, now).recipients == 6
    else:
        with pytest.raises(RefusedError, match="viettel") as caught:
            enlist.count(installed_store, order, now)
        assert "mobifone" not in str(caught.value)


def test_the_newest_roster_is_taken(installed_store: Store, load: Load, order: Order, now: dt.datetime) -> None:
    load("viettel", 4)
    load("mobifone", 4)
    load("viettel", 8, observed_at=now - dt.timedelta(hours=2))
    assert enlist.count(installed_store, order, now).recipients == 6


def test_what_is_written_is_what_was_counted(
    installed_store: Store, load: Load, order: Order, refusing: list[Msisdn], now: dt.datetime, small_slices: None
) -> None:
    rosters = [load("mobifone", 30), load("viettel", 60)]
    counted = enlist.count(installed_store, order, now)
    campaign = write(installed_store, order, rosters)
    assert run(installed_store, campaign) > 10
    assert counts(installed_store) == Counter({tuple(item[:3]): item.messages for item in counted.counts})
    with installed_store.read() as connection:
        after = find_campaign(connection, order.name)
        made = lanes(connection, campaign.id)
    assert after.enlisted
    assert after.state is CampaignState.SCHEDULED
    assert [(lane.carrier, lane.body, lane.parts) for lane in made] == [("mobifone", "to mobifone", 1), ("viettel", "to viettel", 1)]
    assert {lane.receipt_part for lane in made} == {1}
    for lane in made:
        positions = [row[1] for row in written(installed_store) if row[0] == lane.id and not row[5]]
        assert positions == list(range(1, lane.messages + 1))
    assert sum(lane.messages for lane in made) == counted.recipients


def test_it_goes_on_after_any_cut(
    installed_store: Store, load: Load, order: Order, refusing: list[Msisdn], small_slices: None
) -> None:
    rosters = [load("mobifone", 15), load("viettel", 30)]
    campaign = write(installed_store, order, rosters)
    pieces = run(installed_store, campaign)
    whole, tally = written(installed_store), counts(installed_store)
    assert len(whole) == 35
    for cut in range(0, pieces + 3, 2):
        run(installed_store, campaign, cut)
        assert run(installed_store, campaign) >= pieces
        assert written(installed_store) == whole
        assert counts(installed_store) == tally


def test_a_campaign_cancelled_meanwhile_stays_cancelled(installed_store: Store, load: Load, order: Order) -> None:
    campaign = write(installed_store, order, [load("mobifone", 4), load("viettel", 4)])
    for number, step in enumerate(enlist.steps(installed_store, campaign)):
        if number == 1:
            with installed_store.write() as connection:
                change_campaign(connection, campaign.id, CampaignState.CANCELLED)
        with installed_store.write() as connection:
            step(connection)
    with installed_store.read() as connection:
        assert find_campaign(connection, order.name).state is CampaignState.CANCELLED


def test_later_rosters_change_nothing(installed_store: Store, load: Load, order: Order) -> None:
    campaign = write(installed_store, order, [load("mobifone", 4), load("viettel", 4)])
    load("viettel", 400)
    run(installed_store, campaign)
    assert len(written(installed_store)) == 6


def test_the_carriers_lane_is_the_one_that_saw_a_subscriber_last(
    installed_store: Store, load: Load, order: Order, auditor: Auditor, vault: Vault, now: dt.datetime, tmp_path: Any
) -> None:
    load("mobifone", 4)
    ported = tmp_path / "ported.csv"
    seen = now - dt.timedelta(minutes=5)
    ported.write_text(f"msisdn,cell,last_seen\n84900000001,lte:452-04:1001,{seen.isoformat()}\n")
    load("viettel", 4)
    intake.import_roster(
        installed_store,
        auditor,
        vault,
        open_parcel([ported]),
        carrier=CarrierCode("viettel"),
        observed_at=None,
        basis=intake.Basis("2/CV", now.date()),
        now=now,
    )
    found = enlist.count(installed_store, order, now)
    told = {(item.carrier, item.area_code, item.exclusion): item.messages for item in found.counts}
    assert told["viettel", "21040", 0] == 1
    assert told["mobifone", "21040", int(Exclusion.DUPLICATE)] == 1
    assert ("mobifone", "21040", 0) not in told
