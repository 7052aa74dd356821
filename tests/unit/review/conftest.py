"""Reviews made of nothing but counts: one of the province's real communes for eyes and screenshots, others for properties.

To look at the page: pytest tests/unit/review -k sample --basetemp FOLDER, then open the .html files below FOLDER.
"""

import datetime as dt
import hashlib
import random
from collections.abc import Callable, Sequence

import pytest

from broadcaster.files.areas import read_areas
from broadcaster.model import CampaignId, CampaignState, CarrierCode, Environment, Exclusion, Role, State
from broadcaster.review.data import (
    AreaFigures,
    Body,
    CampaignFacts,
    CarrierFigures,
    ControlEvent,
    Curve,
    CurvePoint,
    Failed,
    Lag,
    RefusalCount,
    Refused,
    ReplyCount,
    Retried,
    Review,
    Signature,
    Uncertain,
)
from broadcaster.rules.tally import SummaryRow, Totals, tally

START = dt.datetime(2026, 3, 12, 1, 0, 4, tzinfo=dt.UTC)
ACCENTED = (
    "[DIEN TAP] Cảnh báo: cơ quan Công an, Viện kiểm sát, Tòa án không điều tra qua điện thoại, không yêu cầu chuyển tiền. "
    "Gặp cuộc gọi như vậy, hãy cúp máy và báo Công an xã hoặc gọi 113. Từ chối nhận tin: soạn TC."
)
CARRIERS = (
    ("viettel", "Viettel", "handset", 500, 0.48),
    ("vinaphone", "VinaPhone", "smsc", 300, 0.24),
    ("mobifone", "MobiFone", "unknown", 300, 0.2),
    ("vietnamobile", "Vietnamobile", "smsc", 100, 0.06),
    ("gmobile", "Gmobile", "none", 50, 0.02),
)


def facts(environment: Environment = Environment.REHEARSAL, state: CampaignState = CampaignState.FINISHED) -> CampaignFacts:
    return CampaignFacts(
        id=CampaignId(3),
        name="gia-danh-cong-an-2026-03",
        title="Cảnh báo thủ đoạn giả danh cơ quan Công an, Viện kiểm sát, Tòa án yêu cầu chuyển tiền",
        state=state,
        environment=environment,
        instruction="Công văn số 412/CAT-PA05 ngày 10/3/2026",
        sender="QUANGNGAI",
        digest=hashlib.sha256(b"order").hexdigest(),
        bodies=tuple(
            Body(CarrierCode(code), ACCENTED, "ucs2", 4, hashlib.sha256(ACCENTED.encode()).hexdigest()) for code, *_ in CARRIERS
        ),
        window="07:00-22:00",
        submitted_by="can-bo-van-hanh",
        submitted_at=START - dt.timedelta(hours=20),
        planned_at=START - dt.timedelta(seconds=4),
        started_at=START,
        finished_at=START + dt.timedelta(minutes=6),
        deadline_at=START + dt.timedelta(hours=10),
        reason=None,
    )


def carrier_figures(code: str, name: str, means: str, tps: int | None, totals: Totals) -> CarrierFigures:
    half = totals.refused // 3
    refused = [Refused(0x0B, None, totals.refused - half), Refused(0x400, None, half)]
    return CarrierFigures(
        code=CarrierCode(code),
        name=name,
        receipt_means=means,
        totals=totals,
        contract_tps=tps,
        peak_tps=int((tps or 900) * 0.98),
        mean_tps=(tps or 900) * 0.913,
        parts_written=totals.parts_sent + 37,
        response_lag=Lag(totals.parts_sent, 18, 94, 312),
        receipt_lag=Lag(totals.parts_sent, 2310, 41_200, 1_262_000) if totals.delivered else Lag(0, None, None, None),
        refused=tuple(item for item in refused if item.messages),
        failed=tuple(Failed(state, "027", count) for state, count in totals.failed.items() if count),
        retried=(Retried(0x58, 37),),
    )


def build(
    rows: Sequence[SummaryRow],
    carriers: Sequence[tuple[str, str, str, int | None]],
    places: dict[str, tuple[str, float, float]],
    campaign: CampaignFacts,
) -> Review:
    """Make a review whose every number follows from the rows."""
    split = tally(rows)
    whole = split.whole
    steps = 74
    points = [
        CurvePoint(
            START + dt.timedelta(seconds=5 * (step + 1)),
            whole.sent * min(step + 1, 60) // 60,
            whole.accepted * min(step, 61) // 61,
            whole.delivered * max(step - 4, 0) ** 2 // (max(step - 4, 0) ** 2 + (steps - step) * 12 + 900),
        )
        for step in range(steps)
    ]
    points.append(CurvePoint(START + dt.timedelta(seconds=5 * (steps + 1)), whole.sent, whole.accepted, whole.delivered))
    return Review(
        campaign=campaign,
        made_at=START + dt.timedelta(hours=1),
        signatures=(
            Signature("lanh-dao-so", "Phó Giám đốc Sở", (Role.APPROVER,), START - dt.timedelta(hours=18)),
            Signature("truong-phong-vien-thong", "Trưởng phòng", (Role.APPROVER, Role.DUTY_OFFICER), START - dt.timedelta(hours=17)),
        ),
        rows=tuple(rows),
        carriers=tuple(
            carrier_figures(code, name, means, tps, split.per_carrier.get(CarrierCode(code), Totals()))
            for code, name, means, tps in carriers
        ),
        areas=tuple(
            AreaFigures(code, *(places[code] if code else ("", None, None)), totals)
            for code, totals in sorted(split.per_area.items(), key=lambda item: item[0] or "~")
        ),
        curve=Curve(5, START, tuple(points), later=min(118, whole.delivered)),
        replies=(ReplyCount(CarrierCode("viettel"), "refuse", 41), ReplyCount(CarrierCode("mobifone"), "report", 3)),
        refusals=(RefusalCount("reply", True, 57), RefusalCount("cli", False, 1)),
        uncertain=tuple(
            Uncertain(code, 2, "crash", totals.uncertain, 1, START, START + dt.timedelta(minutes=2))
            for code, totals in split.per_carrier.items()
            if totals.uncertain
        ),
        events=tuple(
            ControlEvent(100 + number, START + dt.timedelta(seconds=after_s), actor, action, reason)
            for number, (after_s, actor, action, reason) in enumerate(
                (
                    (-72_000, "can-bo-van-hanh", "submit", None),
                    (-64_800, "lanh-dao-so", "approve", None),
                    (-61_200, "truong-phong-vien-thong", "approve", None),
                    (-3_600, "can-bo-van-hanh", "schedule", None),
                    (0, "service", "start", None),
                    (110, "can-bo-van-hanh", "pause", "kiểm tra phản ánh của một nhà mạng"),
                    (140, "can-bo-van-hanh", "resume", "nhà mạng xác nhận bình thường"),
                    (360, "service", "finish", None),
                )
            )
        ),
        audit_head=hashlib.sha256(b"head").hexdigest(),
        audit_entries=131,
        unmatched_receipts={CarrierCode("viettel"): 2},
    )


@pytest.fixture(scope="session")
def make_review() -> Callable[..., Review]:
    return build


def sample(campaign: CampaignFacts, subscribers: int = 20_000) -> Review:
    source = random.Random(7)
    areas = read_areas()
    weights = [source.uniform(1, 3) + 9_000 / (area.area_km2 * 12 + 200) for area in areas]
    rows = []
    for code, _, means, _, portion in CARRIERS:
        for area, weight in zip(areas, weights, strict=True):
            left = round(subscribers * portion * weight / sum(weights))
            quality = source.choice((0.99, 0.97, 0.95, 0.9, 0.72))
            pieces: list[tuple[State, Exclusion | None, float]] = [
                (State.EXCLUDED, Exclusion.STALE, 0.02),
                (State.EXCLUDED, Exclusion.DUPLICATE, 0.015),
                (State.EXCLUDED, Exclusion.REFUSED, 0.01),
                (State.SUPPRESSED, None, 0.003),
                (State.REFUSED, None, 0.02 if code == "vietnamobile" else 0.004),
                (State.UNCERTAIN, None, 0.004 if code == "mobifone" else 0),
                (State.UNDELIVERABLE, None, 0.012),
                (State.EXPIRED, None, 0.02),
                (State.ACCEPTED, None, 1 if means == "none" else 1 - quality),
            ]
            for state, exclusion, part in pieces:
                count = min(int(left * part + source.random()), left)
                left -= count
                if count:
                    rows.append(SummaryRow(CarrierCode(code), area.code, state, exclusion, count, 0 if exclusion else 4 * count))
            if left:
                rows.append(SummaryRow(CarrierCode(code), area.code, State.DELIVERED, None, left, 4 * left))
        unknown = round(subscribers * portion * 0.004)
        rows.append(SummaryRow(CarrierCode(code), None, State.EXCLUDED, Exclusion.UNKNOWN_CELL, unknown, 0))
    places = {area.code: (area.name, area.lat, area.lon) for area in areas}
    return build(rows, [item[:4] for item in CARRIERS], places, campaign)


@pytest.fixture(scope="session")
def sample_review() -> Review:
    """A rehearsal to about 20,000 subscribers, five carriers, 96 communes, every kind of outcome."""
    return sample(facts())


@pytest.fixture(scope="session")
def live_review() -> Review:
    return sample(facts(Environment.LIVE), 1_400_000)


@pytest.fixture(scope="session")
def campaign_facts() -> CampaignFacts:
    return facts()
