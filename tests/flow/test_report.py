"""The review read back from a real database that was filled as a campaign fills it."""

import datetime as dt
import json
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from sqlalchemy import Connection, insert, text

from broadcaster.errors import NotFoundError
from broadcaster.files.areas import read_areas
from broadcaster.flow.report import lag, review
from broadcaster.model import (
    Approval,
    CampaignState,
    CarrierCard,
    CarrierCode,
    Endpoint,
    Environment,
    Exclusion,
    IdRule,
    Person,
    Role,
    Secret,
    State,
)
from broadcaster.review import csv, html, jsonform
from broadcaster.review.data import Failed, Lag, RefusalCount, Refused, ReplyCount, Retried, Review
from broadcaster.store import audit, campaigns, figures, messages, receipts, refusals
from broadcaster.store.engine import Store, append
from broadcaster.store.messages import Outcome
from broadcaster.store.receipts import Received
from broadcaster.store.schema import EXCLUDED_FROM, LANE_SHIFT, installation, message, tally
from broadcaster.store.times import to_ms

START = dt.datetime(2026, 3, 12, 1, 0, tzinfo=dt.UTC)
START_MS = to_ms(START)
NOW = START + dt.timedelta(hours=1)
TWO_PARTS = CarrierCode("viettel")
ONE_PART = CarrierCode("gmobile")
COMMUNE = "21025"
OTHER = "21548"


def card(code: str, *, means: str, tps: int | None) -> CarrierCard:
    return CarrierCard(
        code=CarrierCode(code),
        name=code.title(),
        environment=Environment.REHEARSAL,
        mnc="04",
        endpoint=Endpoint("127.0.0.1", 2775),
        system_id="x",
        password=Secret("x"),
        system_type="",
        tls=False,
        tps=tps,
        window=10,
        max_parts=4,
        allow_unicode=True,
        forbidden="",
        source_ton=5,
        source_npi=0,
        destination_ton=1,
        destination_npi=1,
        long_text="udh8",
        ids=IdRule(),
        receipt_means=means,
        status_verdicts={},
        enquire_link_s=30,
        response_timeout_s=30,
        throttle_pause_s=1,
        retry_after_s=(60,),
        receipt_timeout_h=72,
    )


CARDS = {TWO_PARTS: card("viettel", means="handset", tps=500), ONE_PART: card("gmobile", means="smsc", tps=None)}
PEOPLE = {"lanh-dao-so": Person("lanh-dao-so", "Phó Giám đốc Sở", frozenset({Role.DUTY_OFFICER, Role.APPROVER}), bytes(32))}
CONTENT = {
    "order": {
        "title": "Cảnh báo giả danh Công an",
        "environment": "rehearsal",
        "instruction": "412/CAT-PA05",
        "sender": "QUANGNGAI",
        "window": "07:00-22:00",
        "max_tps": {"viettel": 200},
    },
    "bodies": [
        {"carrier": "viettel", "text": "Canh bao", "coding": "gsm", "parts": 2, "sha256": "a" * 64},
        {"carrier": "gmobile", "text": "Canh bao", "coding": "gsm", "parts": 1, "sha256": "a" * 64},
    ],
    "rosters": [],
    "environment": "rehearsal",
}


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    made = make_store()
    names = {"vault_fingerprint": "", "audit_fingerprint": ""}
    with made.write() as connection:
        connection.execute(insert(installation).values(id=1, environment="rehearsal", created_ms=0, epoch=1, **names))
    return made


def token(number: int) -> bytes:
    return number.to_bytes(16, "big")


def add_messages(connection: Connection, lane_id: int, areas: Sequence[str], excluded: Sequence[Exclusion]) -> None:
    base = lane_id << LANE_SHIFT
    rows = [(base + n, token(base + n), area, int(State.READY), 0) for n, area in enumerate(areas, 1)]
    rows += [
        (base + EXCLUDED_FROM + n, token(base + (1 << 20) + n), "", int(State.EXCLUDED), int(why))
        for n, why in enumerate(excluded, 1)
    ]
    append(connection, message, ("id", "token", "area_code", "state", "exclusion"), rows)
    connection.execute(
        text(
            "INSERT INTO tally (lane_id, area_code, state, exclusion, messages) "
            "SELECT :lane, area_code, state, exclusion, count(*) FROM message WHERE id >> 32 = :lane GROUP BY 2, 3, 4"
        ),
        {"lane": lane_id},
    )
    campaigns.change_lane(connection, lane_id, messages=len(areas), excluded=len(excluded))


@pytest.fixture
def submitted(store: Store) -> Store:
    with store.write() as connection:
        campaign_id = campaigns.insert_campaign(
            connection,
            name="thu-nghiem",
            content_json=json.dumps(CONTENT),
            digest="d" * 64,
            recipients=12,
            submitted_by="can-bo",
            submitted_ms=START_MS - 7_200_000,
            roster_ids=[],
        )
        campaigns.add_approval(connection, campaign_id, Approval("lanh-dao-so", "d" * 64, bytes(64), START - dt.timedelta(hours=1)))
        auditor = audit.Auditor(bytes(32), "op")
        auditor.record(connection, "submit", "thu-nghiem", {"by": "can-bo"})
        auditor.record(connection, "submit", "another")
        auditor.record(connection, "pause", "thu-nghiem", {"reason": "kiểm tra"})
        auditor.record(connection, "carrier-halt", "thu-nghiem", {"carrier": "gmobile", "reason": "RINVSYSID"})
    return store


class Campaign:
    """A running campaign of ten messages of two parts at one carrier and two of one part at the other."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.write() as connection:
            found = campaigns.find_campaign(connection, "thu-nghiem")
            campaigns.change_campaign(connection, found.id, CampaignState.RUNNING, started_ms=START_MS)
            self.lanes = {
                code: campaigns.insert_lane(connection, found.id, code, "Canh bao", parts)
                for code, parts in ((TWO_PARTS, 2), (ONE_PART, 1))
            }
            add_messages(connection, self.lanes[TWO_PARTS], [COMMUNE] * 6 + [OTHER] * 4, [Exclusion.STALE, Exclusion.UNKNOWN_CELL])
            add_messages(connection, self.lanes[ONE_PART], [OTHER, OTHER], [Exclusion.REFUSED])
            self.lease, _ = messages.open_range(connection, self.lanes[TWO_PARTS], 1, 1, 10, 2, START_MS)
            self.other_lease, _ = messages.open_range(connection, self.lanes[ONE_PART], 1, 1, 2, 1, START_MS)

    def outcome(
        self,
        position: int,
        part: int,
        state: State,
        *,
        after_ms: int = 0,
        status: int | None = None,
        reason: str | None = None,
        unsent: bool = False,
    ) -> Outcome:
        return Outcome(
            (self.lanes[TWO_PARTS] << LANE_SHIFT) + position,
            part,
            1,
            self.lease,
            TWO_PARTS,
            int(state),
            status,
            f"id-{position}-{part}" if state is State.ACCEPTED else None,
            None if unsent else (START_MS + after_ms) * 1_000_000,
            START_MS + after_ms + 20,
            reason,
        )

    def record(self, outcomes: list[Outcome], received: list[Received]) -> None:
        with self.store.write() as connection:
            messages.record_outcomes(connection, outcomes)
            receipts.record_receipts(connection, received)
            messages.fold_all(connection)

    def receipt(self, position: int, part: int, state: State, after_ms: int, error: str | None = None) -> Received:
        owner = token((self.lanes[TWO_PARTS] << LANE_SHIFT) + position)
        return Received(TWO_PARTS, f"id-{position}-{part}", owner, state.name, int(state), error, START_MS + after_ms)

    def run(self) -> None:
        """Give the ten messages every kind of ending; the other carrier's two stay open under a lease."""
        both = (1, 2)
        accepted = [self.outcome(n, part, State.ACCEPTED, after_ms=1000 * n) for n in (1, 2, 3, 4, 5) for part in both]
        others = [
            self.outcome(6, 1, State.REFUSED, after_ms=6000, status=0x0B),
            self.outcome(6, 2, State.REFUSED, after_ms=6000, unsent=True, reason="other part refused"),
            self.outcome(7, 1, State.ACCEPTED, after_ms=7000),
            self.outcome(7, 2, State.UNCERTAIN, after_ms=7000, reason="no answer"),
            *(self.outcome(8, part, State.SUPPRESSED, unsent=True, reason="opt-out") for part in both),
            self.outcome(9, 1, State.RETRY, after_ms=9000, status=0x58),
            self.outcome(9, 2, State.RETRY, unsent=True, reason="released"),
        ]
        confirmed = [self.receipt(n, part, State.DELIVERED, 10_000 * n) for n in (1, 2) for part in both]
        failed = [
            self.receipt(3, 1, State.DELIVERED, 30_000),
            self.receipt(3, 2, State.UNDELIVERABLE, 31_000, "027"),
            self.receipt(4, 1, State.EXPIRED, 40_000),
            self.receipt(4, 2, State.DELIVERED, 41_000),
            Received(TWO_PARTS, "nobody's", None, "DELIVRD", int(State.DELIVERED), None, START_MS + 5000),
        ]
        self.record(accepted + others, confirmed + failed)


@pytest.fixture
def running(submitted: Store) -> Campaign:
    campaign = Campaign(submitted)
    campaign.run()
    return campaign


def read(store: Store) -> Review:
    return review(store, "thu-nghiem", cards=CARDS, areas=read_areas(), now=NOW, people=PEOPLE)


def test_unknown_campaign(store: Store) -> None:
    with pytest.raises(NotFoundError):
        review(store, "nothing", cards=CARDS, areas=(), now=NOW)


def test_before_anything_is_enlisted(submitted: Store) -> None:
    made = read(submitted)
    assert made.adds_up()
    assert made.totals.audience == 0
    assert made.curve.points == ()
    assert [item.title for item in made.signatures] == ["Phó Giám đốc Sở"]
    assert made.signatures[0].roles == (Role.APPROVER, Role.DUTY_OFFICER)
    assert html.render(made)


def test_every_message_is_counted_where_it_ended(running: Campaign) -> None:
    made = read(running.store)
    totals = made.totals
    assert made.adds_up()
    assert (totals.audience, totals.planned, totals.sent) == (15, 12, 7)
    assert (totals.open, totals.suppressed, totals.refused, totals.uncertain) == (4, 1, 1, 1)
    assert (totals.accepted, totals.awaiting, totals.delivered, totals.failed_total) == (5, 1, 2, 2)
    assert (made.on_handset, made.at_carrier, made.receipts_due) == (2, 0, 1)
    assert made.provisional


def test_carrier_figures(running: Campaign) -> None:
    viettel, gmobile = read(running.store).carriers
    assert viettel.contract_tps == 200
    assert gmobile.contract_tps is None
    assert viettel.refused == (Refused(0x0B, None, 1),)
    assert viettel.failed == (Failed(State.EXPIRED, None, 1), Failed(State.UNDELIVERABLE, "027", 1))
    assert viettel.retried == (Retried(0x58, 1),)
    assert (viettel.parts_written, viettel.peak_tps) == (14, 2)
    assert viettel.mean_tps == round(14 / 8, 1)
    assert viettel.response_lag == Lag(13, 20, 20, 20)
    assert viettel.receipt_lag.parts == 8
    assert viettel.receipt_lag.p99_ms == 37_000
    assert gmobile.response_lag == Lag(0, None, None, None)


def test_curve_ends_at_the_totals_and_climbs(running: Campaign) -> None:
    curve = read(running.store).curve
    assert curve.step_s == 1
    assert curve.starts_at == START + dt.timedelta(seconds=1)
    counts = [(point.sent, point.accepted, point.confirmed) for point in curve.points]
    assert counts == sorted(counts)
    assert counts[0] == (1, 1, 0)
    assert counts[-1] == (7, 5, 2)
    assert curve.points[-1].at >= START + dt.timedelta(seconds=41)


def test_late_receipts_do_not_flatten_the_curve(running: Campaign) -> None:
    running.record([], [running.receipt(5, part, State.DELIVERED, 40 * 60_000) for part in (1, 2)])
    made = read(running.store)
    assert made.adds_up()
    assert made.curve.later == 1
    assert made.curve.points[-1].confirmed == 3
    assert made.curve.points[-1].at < START + dt.timedelta(minutes=3)


def test_crash_names_the_uncertain(running: Campaign) -> None:
    with running.store.write() as connection:
        while messages.recover(connection, 2, START_MS + 300_000, 100):
            pass
    made = read(running.store)
    assert made.adds_up()
    found = {(item.carrier, item.epoch, item.reason, item.messages, item.leases) for item in made.uncertain}
    assert ("viettel", 1, "no answer", 1, 1) in found
    assert ("gmobile", 1, "crash", 2, 1) in found
    assert sum(item.messages for item in made.uncertain) == made.totals.uncertain


def test_refusals_replies_and_receipts_without_owner(running: Campaign) -> None:
    with running.store.write() as connection:
        refusals.record_refusals(
            connection,
            [
                refusals.Refusal(token(1), True, "reply", "TC", START_MS + 1),
                refusals.Refusal(token(2), True, "reply", "TC", START_MS - 1),
            ],
        )
        refusals.record_replies(connection, [refusals.Reply(TWO_PARTS, token(1), "refuse", "TC", START_MS + 1)])
    made = read(running.store)
    assert made.refusals == (RefusalCount("reply", True, 1),)
    assert made.replies == (ReplyCount(TWO_PARTS, "refuse", 1),)
    assert made.unmatched_receipts == {TWO_PARTS: 1}


def test_events_come_from_the_audit_chain(running: Campaign) -> None:
    made = read(running.store)
    assert [(event.seq, event.actor, event.action, event.reason) for event in made.events] == [
        (1, "can-bo", "submit", None),
        (3, "op", "pause", "kiểm tra"),
        (4, "op", "carrier-halt", "gmobile: RINVSYSID"),
    ]
    with running.store.read() as connection:
        assert made.audit_head == audit.head(connection)
    assert made.audit_entries == 4


def test_slices_change_nothing(running: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(running.store)
    monkeypatch.setattr(figures, "SLICE_MESSAGES", 3)
    assert read(running.store) == whole


def test_forms_of_a_real_review(running: Campaign) -> None:
    made = read(running.store)
    assert "Phường Cẩm Thành" in csv.render(made)
    assert json.loads(jsonform.render(made))["totals"]["confirmed"] == 2
    assert "Các số trong báo cáo này không khớp" not in html.render(made)


def test_an_edited_tally_is_noticed(running: Campaign) -> None:
    with running.store.write() as connection:
        connection.execute(tally.update().where(tally.c.state == int(State.DELIVERED)).values(messages=3))
    assert not read(running.store).adds_up()


def test_lag_percentiles_are_the_smallest_class_that_covers_the_share() -> None:
    assert lag({}) == Lag(0, None, None, None)
    assert lag({10: 50, 20: 45, 30: 4, 90: 1}) == Lag(100, 10, 20, 30)
    assert lag({5: 1}) == Lag(1, 5, 5, 5)


def test_a_campaign_alone_has_no_story(running: Campaign) -> None:
    assert read(running.store).story == ()


def test_a_campaign_and_its_remainders_are_one_story_from_either_side(running: Campaign) -> None:
    line = ["thu-nghiem", "thu-nghiem-con-lai", "thu-nghiem-con-lai-2"]
    with running.store.write() as connection:
        for earlier, name in pairwise(line):
            order = {**CONTENT["order"], "audience": {"remainder_of": earlier}}  # type: ignore[dict-item]
            campaigns.insert_campaign(
                connection,
                name=name,
                content_json=json.dumps(CONTENT | {"order": order}),
                digest="d" * 64,
                recipients=3,
                submitted_by="can-bo",
                submitted_ms=START_MS,
                roster_ids=[],
            )
    made = read(running.store)
    assert [(item.name, item.remainder_of) for item in made.story] == [(line[0], None), (line[1], line[0]), (line[2], line[1])]
    first = made.story[0]
    assert (first.planned, first.delivered, first.not_reached) == (12, 2, 3)
    assert made.story_delivered == 2
    last = review(running.store, line[2], cards=CARDS, areas=[], now=NOW)
    assert last.story == made.story
    page = html.render(made)
    assert line[1] in page
    assert line[2] in page
    assert json.loads(jsonform.render(made))["story"][1]["remainder_of"] == line[0]
