"""From a draft to a scheduled campaign: who may, who may not, and what an edit behind our back does."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from broadcaster.errors import NotFoundError, RefusedError, StoreError
from broadcaster.files.templates import Template, read_templates
from broadcaster.flow import admit, enlist
from broadcaster.flow.compose import bodies
from broadcaster.flow.judgement import judgement
from broadcaster.model import (
    Approval,
    CampaignState,
    CarrierCard,
    CarrierCode,
    DailyWindow,
    Environment,
    MessageClass,
    Order,
    Person,
    Role,
)
from broadcaster.rules.approval import Judgement, digest, sign
from broadcaster.store.audit import Auditor, entries, first_break
from broadcaster.store.campaigns import (
    Campaign,
    add_approval,
    approvals,
    change_lane,
    find_campaign,
    insert_lane,
    lanes,
    roster_ids,
)
from broadcaster.store.engine import Store
from broadcaster.store.times import from_ms, to_ms

HOURS = DailyWindow(dt.time(8), dt.time(20))
HOUR = dt.timedelta(hours=1)
LARGE, LARGEST = 1_000, 100_000


@cache
def templates() -> dict[str, Template]:
    return {item.key: item for item in read_templates(Path(__file__).parents[2] / "templates")}


class Desk:
    """The department at work on one order."""

    def __init__(
        self,
        store: Store,
        auditor: Auditor,
        people: dict[str, Person],
        keys: dict[str, Ed25519PrivateKey],
        cards: dict[CarrierCode, CarrierCard],
        now: dt.datetime,
    ) -> None:
        self.store, self.auditor, self.people, self.keys, self.cards, self.now = store, auditor, dict(people), keys, cards, now

    def draft(self, order: Order) -> admit.Draft:
        texts = bodies(order, templates()[order.template], self.cards, reply_number="8066", alternative=None)
        audience = enlist.count(self.store, order, self.now)
        return admit.draft(order, texts, audience.rosters, audience.counts, self.cards, self.now)

    def submit(self, order: Order, by: str = "van-thu", hours: DailyWindow = HOURS) -> Campaign:
        return admit.submit(self.store, self.auditor, self.draft(order), submitter=self.people[by], hours=hours, now=self.now)

    def approve(self, *names: str, reference: str = "1") -> Judgement:
        for name in names:
            verdict = admit.approve(
                self.store,
                self.auditor,
                reference,
                person=self.people[name],
                key=self.keys[name],
                people=self.people,
                now=self.now,
            )
        return verdict

    def schedule(self, starts_at: dt.datetime | None = None, recipients: int = 30) -> Campaign:
        return admit.schedule(
            self.store,
            self.auditor,
            "1",
            people=self.people,
            starts_at=starts_at or self.now + HOUR,
            expect_recipients=recipients,
            now=self.now,
        )

    def found(self) -> Campaign:
        with self.store.read() as connection:
            return find_campaign(connection, "1")

    def judged(self) -> Judgement:
        with self.store.read() as connection:
            return judgement(connection, find_campaign(connection, "1"), self.people)

    def meddle(self, statement: str, **values: Any) -> None:
        with self.store.write() as connection:
            assert connection.execute(text(statement), values).rowcount == 1

    def edit(self, change: Callable[[Any], None], *, with_digest: bool = False) -> None:
        """Change the stored content as somebody with SQL might."""
        content = json.loads(json.dumps(self.found().content))
        change(content)
        self.meddle("UPDATE campaign SET content_json = :text", text=json.dumps(content))
        if with_digest:
            self.meddle("UPDATE campaign SET digest = :digest", digest=digest(content))


@pytest.fixture
def installed_store(loaded: str, make_store: Callable[..., Store]) -> Store:
    """Forty subscribers, thirty of them in the order's communes."""
    return make_store(like=loaded)


@pytest.fixture
def desk(
    installed_store: Store,
    auditor: Auditor,
    people: dict[str, Person],
    keys: dict[str, Ed25519PrivateKey],
    cards: dict[CarrierCode, CarrierCard],
    now: dt.datetime,
) -> Desk:
    return Desk(installed_store, auditor, people, keys, cards, now)


@pytest.fixture
def change(order: Order, order_for: Callable[..., Order]) -> Callable[..., Order]:
    return lambda **fields: order_for(order, **fields)


def test_a_draft_says_what_will_happen(desk: Desk, order: Order, now: dt.datetime) -> None:
    made = desk.draft(order)
    assert made.recipients == 30
    assert made.requirement.approvers == 1
    assert made.starts_at == now
    assert made.finish.keys() == {"mobifone", "viettel"}
    assert made.fits
    assert all(at > now for at in made.finish.values())
    assert desk.draft(order).content == made.content


def test_a_draft_keeps_to_the_carrier_s_closed_hours(desk: Desk, order: Order, now: dt.datetime) -> None:
    viettel = CarrierCode("viettel")
    desk.cards = {**desk.cards, viettel: replace(desk.cards[viettel], maintenance=((now, now + dt.timedelta(hours=1)),))}
    assert desk.draft(order).finish[viettel] > now + dt.timedelta(hours=1)


def test_a_draft_keeps_to_the_slower_rate(desk: Desk, change: Callable[..., Order], now: dt.datetime) -> None:
    viettel = CarrierCode("viettel")
    order = change(max_tps={viettel: 1})
    assert admit.limits(order, desk.cards)[viettel] == 1
    made = desk.draft(order)
    assert made.finish[viettel] - now > dt.timedelta(seconds=18)
    card = desk.cards[viettel]
    assert admit.limits(change(max_tps={viettel: 10**6}), desk.cards)[viettel] == card.tps
    assert admit.limits(order, {**desk.cards, viettel: replace(card, tps=None)})[viettel] == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": "KHAC"},
        {"validity_h": 3},
        {"max_recipients": 901},
        {"override_refusals": True},
        {"communes": ()},
        {"window": DailyWindow(dt.time(8), dt.time(19))},
        {"start": dt.datetime(2026, 3, 12, 4, tzinfo=dt.UTC)},
        {"max_tps": {"viettel": 9}},
    ],
)
def test_every_field_is_in_the_digest(desk: Desk, order: Order, change: Callable[..., Order], fields: dict[str, Any]) -> None:
    assert digest(desk.draft(change(**fields)).content) != digest(desk.draft(order).content)


def test_the_snapshots_and_texts_are_in_the_digest(desk: Desk, order: Order, load: Callable[..., Any]) -> None:
    before = desk.draft(order)
    assert {item["carrier"] for item in before.content["rosters"]} == {"mobifone", "viettel"}
    assert all(item["text"] for item in before.content["bodies"])
    load("viettel", 23, observed_at=desk.now)
    assert digest(desk.draft(order).content) != digest(before.content)


def test_an_edit_of_the_submitter_unbars_nobody(desk: Desk, order: Order) -> None:
    found = desk.submit(order, by="chuyen-vien")
    assert found.content["submitted_by"] == "chuyen-vien"
    desk.meddle("UPDATE campaign SET submitted_by = 'van-thu'")
    with desk.store.read() as connection:
        edited = find_campaign(connection, order.name)
        people = {name: replace(person, roles=frozenset(Role)) for name, person in desk.people.items()}
        signature = sign(desk.keys["chuyen-vien"], edited.digest)
    with desk.store.write() as connection:
        add_approval(connection, edited.id, Approval("chuyen-vien", edited.digest, signature, desk.now))
    with desk.store.read() as connection:
        assert judgement(connection, edited, people).valid == ()


@pytest.mark.parametrize("by", ["van-thu", "chuyen-vien"])
def test_submitting(desk: Desk, order: Order, by: str) -> None:
    made = desk.submit(order, by)
    assert (made.state, made.recipients, made.submitted_by, made.submitted_ms) == (
        CampaignState.SUBMITTED,
        30,
        by,
        to_ms(desk.now),
    )
    assert not made.enlisted
    with desk.store.read() as connection:
        assert len(roster_ids(connection, made.id)) == 2
        assert find_campaign(connection, order.name) == made
        with pytest.raises(NotFoundError):
            find_campaign(connection, "9" * 40)


@pytest.mark.parametrize("by", ["truong-phong", "truc-ban", "thanh-tra"])
def test_who_may_not_submit(desk: Desk, order: Order, by: str) -> None:
    with pytest.raises(RefusedError, match=by):
        desk.submit(order, by)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"max_recipients": 29}, "30"),
        ({"communes": ("99999",)}, "No subscriber"),
        ({"environment": Environment.LIVE}, "live"),
    ],
)
def test_what_may_not_be_submitted(desk: Desk, change: Callable[..., Order], fields: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError) as caught:
        desk.submit(change(**fields))
    assert why in caught.value.message.en
    with desk.store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM campaign")).scalar() == 0
        assert "submit" not in {entry.action for entry in entries(connection)}


@pytest.mark.parametrize(("message_class", "allowed"), [(MessageClass.ADVISORY, False), (MessageClass.URGENT, True)])
def test_a_live_advisory_keeps_to_the_hours(change: Callable[..., Order], message_class: MessageClass, allowed: bool) -> None:
    order = change(environment=Environment.LIVE, message_class=message_class, window=DailyWindow(dt.time(8), dt.time(21)))
    if allowed:
        admit.check_order(order, environment=Environment.LIVE, hours=HOURS)
    else:
        with pytest.raises(RefusedError, match="08:00-21:00"):
            admit.check_order(order, environment=Environment.LIVE, hours=HOURS)


def test_a_name_is_used_once(desk: Desk, order: Order, change: Callable[..., Order]) -> None:
    desk.submit(order)
    with pytest.raises(RefusedError, match=order.name):
        desk.submit(change(sender="KHAC"))
    desk.submit(change(name="khac"))


@pytest.mark.parametrize(
    ("max_recipients", "signers"),
    [
        (LARGE - 1, ["truong-phong"]),
        (LARGE - 1, ["truc-ban", "pho-giam-doc"]),
        (LARGE, ["truong-phong", "pho-giam-doc"]),
        (LARGEST - 1, ["truong-phong", "pho-giam-doc"]),
        (LARGEST, ["truong-phong", "pho-giam-doc", "truc-ban"]),
        (LARGEST, ["truc-ban", "pho-giam-doc", "truong-phong"]),
    ],
)
def test_signatures_by_size(desk: Desk, change: Callable[..., Order], max_recipients: int, signers: list[str]) -> None:
    desk.submit(change(max_recipients=max_recipients))
    for name in signers[:-1]:
        verdict = desk.approve(name)
        assert not verdict.ok
        assert verdict.missing
        assert desk.found().state is CampaignState.SUBMITTED
    assert desk.approve(signers[-1]).ok
    assert desk.found().state is CampaignState.APPROVED
    assert set(desk.judged().valid) == set(signers)


@pytest.mark.parametrize("name", ["van-thu", "chuyen-vien", "thanh-tra"])
def test_who_may_not_sign(desk: Desk, order: Order, name: str) -> None:
    desk.submit(order)
    with pytest.raises(RefusedError) as caught:
        desk.approve(name)
    assert caught.value.message.en.startswith(f"{name}: ")
    assert desk.judged().valid == ()
    with desk.store.read() as connection:
        assert approvals(connection, desk.found().id) == []


def test_the_submitter_may_not_sign_even_as_an_approver(desk: Desk, order: Order) -> None:
    both = desk.people["van-thu"]
    desk.people["van-thu"] = replace(both, roles=frozenset({Role.OPERATOR, Role.APPROVER}))
    desk.submit(order)
    with pytest.raises(RefusedError, match="van-thu"):
        desk.approve("van-thu")
    assert desk.approve("truong-phong").ok


def test_a_signature_needs_its_own_key(desk: Desk, order: Order) -> None:
    desk.submit(order)
    desk.keys = {**desk.keys, "truong-phong": desk.keys["van-thu"]}
    with pytest.raises(RefusedError, match="truong-phong"):
        desk.approve("truong-phong")


def test_someone_not_in_the_register(desk: Desk, order: Order) -> None:
    desk.submit(order)
    known = desk.people
    stranger = known["truong-phong"]
    with pytest.raises(RefusedError, match="truong-phong"):
        admit.approve(
            desk.store,
            desk.auditor,
            "1",
            person=stranger,
            key=desk.keys["truong-phong"],
            people={name: person for name, person in known.items() if person is not stranger},
            now=desk.now,
        )


def test_nobody_signs_twice(desk: Desk, change: Callable[..., Order]) -> None:
    desk.submit(change(max_recipients=LARGE))
    desk.approve("truong-phong")
    with pytest.raises(RefusedError, match="truong-phong"):
        desk.approve("truong-phong")
    assert desk.judged().valid == ("truong-phong",)


def test_an_approved_campaign_takes_no_more_signatures(desk: Desk, order: Order) -> None:
    desk.submit(order)
    desk.approve("truong-phong")
    with pytest.raises(RefusedError):
        desk.approve("pho-giam-doc")


def test_there_is_no_such_campaign(desk: Desk) -> None:
    with pytest.raises(NotFoundError):
        desk.approve("truong-phong", reference="khong-co")


EDITS: dict[str, Callable[[Any], None]] = {
    "text": lambda content: content["bodies"][0].update(text="Trúng thưởng!"),
    "sender": lambda content: content["order"].update(sender="KHAC"),
    "window": lambda content: content["order"].update(window="all-day"),
    "communes": lambda content: content["order"]["audience"].update(communes=[]),
    "size": lambda content: content["order"]["audience"].update(max_recipients=10),
    "override": lambda content: content["order"].update(override_refusals=True),
    "roster": lambda content: content["rosters"].pop(),
    "environment": lambda content: content.update(environment="live"),
    "something more": lambda content: content.update(more=1),
    "no order": lambda content: content.pop("order"),
    "a float": lambda content: content["order"].update(validity_h=1.5),
}


@pytest.mark.parametrize(
    ("edit", "with_digest"), [(edit, both) for edit in EDITS for both in (False, True) if not (both and edit == "a float")]
)
def test_an_edit_voids_every_signature(desk: Desk, order: Order, edit: str, with_digest: bool) -> None:
    desk.submit(order)
    desk.approve("truong-phong")
    assert desk.judged().ok
    desk.edit(EDITS[edit], with_digest=with_digest)
    assert not desk.judged().ok
    assert desk.judged().valid == ()
    with pytest.raises(RefusedError):
        desk.schedule()
    assert desk.found().planned_ms is None


@pytest.mark.parametrize("edit", sorted(EDITS.keys() - {"a float"}))
def test_nobody_signs_what_was_edited(desk: Desk, order: Order, edit: str) -> None:
    desk.submit(order)
    desk.edit(EDITS[edit])
    with pytest.raises(RefusedError, match="bị sửa"):
        desk.approve("truong-phong")


def test_content_that_is_no_order_cannot_be_signed(desk: Desk, order: Order) -> None:
    desk.submit(order)
    desk.edit(EDITS["no order"], with_digest=True)
    with pytest.raises(RefusedError):
        desk.approve("truong-phong")


def test_content_that_is_no_json_is_a_store_error(desk: Desk, order: Order) -> None:
    desk.submit(order)
    desk.meddle("UPDATE campaign SET content_json = 'x'")
    with pytest.raises(StoreError, match=order.name):
        desk.found()


def test_states_and_signatures_cannot_be_forged(desk: Desk, change: Callable[..., Order]) -> None:
    desk.submit(change(max_recipients=LARGE))
    desk.approve("truong-phong")
    desk.meddle("UPDATE campaign SET state = 'approved'")
    with pytest.raises(RefusedError, match="người phê duyệt"):
        desk.schedule()
    desk.meddle("INSERT INTO approval SELECT campaign_id, 'pho-giam-doc', digest, signature, signed_ms FROM approval")
    with pytest.raises(RefusedError, match="người phê duyệt"):
        desk.schedule()
    assert desk.judged().valid == ("truong-phong",)


def test_a_person_struck_off_voids_the_signature(desk: Desk, order: Order) -> None:
    desk.submit(order)
    desk.approve("truong-phong")
    del desk.people["truong-phong"]
    with pytest.raises(RefusedError):
        desk.schedule()


def test_scheduling(desk: Desk, order: Order) -> None:
    desk.submit(order)
    desk.approve("truong-phong")
    made = desk.schedule(desk.now + HOUR)
    assert made.state is CampaignState.SCHEDULED
    assert from_ms(made.planned_ms or 0) == desk.now + HOUR
    assert from_ms(made.start_by_ms or 0) == desk.now + HOUR + 12 * HOUR
    with pytest.raises(RefusedError):
        desk.schedule(desk.now + 2 * HOUR)


def test_scheduling_needs_approval(desk: Desk, order: Order) -> None:
    desk.submit(order)
    with pytest.raises(RefusedError):
        desk.schedule()


@pytest.mark.parametrize(
    ("after", "why"),
    [(dt.timedelta(seconds=-6), "past"), (11 * HOUR, "outside"), (-3 * HOUR, "past"), (10 * HOUR, "outside")],
)
def test_a_start_must_lie_ahead_and_inside_the_window(desk: Desk, order: Order, after: dt.timedelta, why: str) -> None:
    desk.submit(order)
    desk.approve("truong-phong")
    with pytest.raises(RefusedError) as caught:
        desk.schedule(desk.now + after)
    assert why in caught.value.message.en
    assert desk.found().state is CampaignState.APPROVED


@pytest.mark.parametrize("after", [dt.timedelta(seconds=-4), dt.timedelta(0), 10 * HOUR - dt.timedelta(seconds=1)])
def test_starts_that_are_allowed(desk: Desk, order: Order, after: dt.timedelta) -> None:
    desk.submit(order)
    desk.approve("truong-phong")
    assert desk.schedule(desk.now + after).planned_ms == to_ms(desk.now + after)


@pytest.mark.parametrize(
    ("after", "allowed"), [(2 * HOUR, True), (HOUR, True), (0 * HOUR, True), (-1 * HOUR, False), (5 * HOUR, False)]
)
def test_a_signed_start_is_kept_to(desk: Desk, change: Callable[..., Order], after: dt.timedelta, allowed: bool) -> None:
    desk.submit(change(start=desk.now + 2 * HOUR, start_within_h=2))
    desk.approve("truong-phong")
    if allowed:
        desk.schedule(desk.now + after)
    else:
        with pytest.raises(RefusedError):
            desk.schedule(desk.now + after)


@pytest.mark.parametrize("typed", [0, 29, 31, 300])
def test_the_number_typed_must_be_right(desk: Desk, order: Order, typed: int) -> None:
    desk.submit(order)
    desk.approve("truong-phong")
    with pytest.raises(RefusedError) as caught:
        desk.schedule(recipients=typed)
    assert str(typed) in caught.value.message.en
    assert "30" in caught.value.message.en


def test_cancelling_is_for_good(desk: Desk, order: Order) -> None:
    desk.submit(order)
    made = admit.cancel(desk.store, desk.auditor, order.name, reason="nhầm", now=desk.now)
    assert (made.state, made.reason, made.finished_ms) == (CampaignState.CANCELLED, "nhầm", to_ms(desk.now))
    for act in (admit.cancel, admit.pause, admit.resume):
        with pytest.raises(RefusedError):
            act(desk.store, desk.auditor, order.name, reason="", now=desk.now)
    with pytest.raises(RefusedError):
        desk.approve("truong-phong")


def test_pausing_and_resuming(desk: Desk, order: Order) -> None:
    desk.submit(order)
    with pytest.raises(RefusedError):
        admit.pause(desk.store, desk.auditor, order.name, reason="", now=desk.now)
    desk.meddle("UPDATE campaign SET state = 'running'")
    paused = admit.pause(desk.store, desk.auditor, order.name, reason="kiểm tra", now=desk.now)
    assert (paused.state, paused.reason, paused.finished_ms) == (CampaignState.PAUSED, "kiểm tra", None)
    with desk.store.write() as connection:
        lane_id = insert_lane(connection, paused.id, CarrierCode("viettel"), "TB: thử", 1)
        change_lane(connection, lane_id, halted="RINVSRCADR")
    resumed = admit.resume(desk.store, desk.auditor, order.name, reason="xong", now=desk.now)
    assert resumed.state is CampaignState.RUNNING
    with desk.store.read() as connection:
        assert [lane.halted for lane in lanes(connection, resumed.id)] == [None]


def test_every_step_is_in_the_audit_chain_once(desk: Desk, change: Callable[..., Order], audit_key: bytes) -> None:
    desk.submit(change(max_recipients=LARGE))
    with pytest.raises(RefusedError):
        desk.approve("van-thu")
    desk.approve("truong-phong", "pho-giam-doc")
    with pytest.raises(RefusedError):
        desk.schedule(recipients=1)
    desk.schedule()
    admit.cancel(desk.store, desk.auditor, "1", reason="nhầm", now=desk.now)
    with desk.store.read() as connection:
        done = [entry for entry in entries(connection) if entry.subject == "dien-tap-ven-bien"]
        assert first_break(connection, audit_key) is None
    assert [entry.action for entry in done] == ["submit", "approve", "approve", "schedule", "cancel"]
    assert [entry.detail.get("by") for entry in done] == ["van-thu", "truong-phong", "pho-giam-doc", None, None]
    assert [entry.detail.get("enough") for entry in done[1:3]] == [False, True]
