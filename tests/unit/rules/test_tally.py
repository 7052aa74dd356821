"""The report's numbers add up to the audience."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.model import AreaCode, CarrierCode, Exclusion, State
from broadcaster.rules.tally import Rate, SummaryRow, Tally, Totals, tally

VIETTEL, GMOBILE = CarrierCode("viettel"), CarrierCode("gmobile")
BINH_SON, LY_SON = AreaCode("21040"), AreaCode("21548")
SENT = {
    State.REFUSED,
    State.UNCERTAIN,
    State.ACCEPTED,
    State.EXPIRED,
    State.DELETED,
    State.UNDELIVERABLE,
    State.REJECTED,
    State.DELIVERED,
}

carriers = st.sampled_from([VIETTEL, GMOBILE, CarrierCode("vinaphone")])
areas = st.sampled_from([BINH_SON, LY_SON, None])
counts = st.integers(0, 1_000_000)
rows = st.lists(
    st.builds(SummaryRow, carriers, areas, st.just(State.EXCLUDED), st.sampled_from(Exclusion), counts, counts)
    | st.builds(SummaryRow, carriers, areas, st.sampled_from([s for s in State if s != State.EXCLUDED]), st.none(), counts, counts),
    max_size=40,
)

ROWS = [
    SummaryRow(VIETTEL, BINH_SON, State.EXCLUDED, Exclusion.REFUSED, 5, 0),
    SummaryRow(VIETTEL, LY_SON, State.EXCLUDED, Exclusion.STALE, 7, 0),
    SummaryRow(VIETTEL, BINH_SON, State.DELIVERED, None, 60, 120),
    SummaryRow(VIETTEL, LY_SON, State.ACCEPTED, None, 10, 20),
    SummaryRow(VIETTEL, LY_SON, State.EXPIRED, None, 4, 8),
    SummaryRow(VIETTEL, LY_SON, State.UNDELIVERABLE, None, 6, 12),
    SummaryRow(GMOBILE, LY_SON, State.REFUSED, None, 15, 30),
    SummaryRow(GMOBILE, LY_SON, State.UNCERTAIN, None, 5, 10),
    SummaryRow(GMOBILE, BINH_SON, State.READY, None, 3, 6),
    SummaryRow(GMOBILE, BINH_SON, State.RETRY, None, 2, 4),
    SummaryRow(GMOBILE, BINH_SON, State.SUPPRESSED, None, 1, 2),
    SummaryRow(GMOBILE, BINH_SON, State.LAPSED, None, 8, 16),
    SummaryRow(GMOBILE, BINH_SON, State.CANCELLED, None, 9, 18),
    SummaryRow(GMOBILE, None, State.EXCLUDED, Exclusion.UNKNOWN_CELL, 11, 0),
]


def test_a_campaign_is_told_in_its_numbers() -> None:
    whole = tally(ROWS).whole
    assert whole.audience == 146
    assert whole.excluded == {Exclusion.REFUSED: 5, Exclusion.DUPLICATE: 0, Exclusion.STALE: 7, Exclusion.UNKNOWN_CELL: 11}
    assert whole.planned == 123
    assert (whole.sent, whole.accepted, whole.awaiting, whole.delivered) == (100, 80, 10, 60)
    assert whole.failed == {State.EXPIRED: 4, State.DELETED: 0, State.UNDELIVERABLE: 6, State.REJECTED: 0}
    assert (whole.failed_total, whole.refused, whole.uncertain) == (10, 15, 5)
    assert (whole.open, whole.suppressed, whole.lapsed, whole.cancelled) == (5, 1, 8, 9)
    assert (whole.parts, whole.parts_sent) == (246, 200)
    assert whole.accepted_of_sent == Rate(80, 100)
    assert whole.delivered_of_accepted == Rate(60, 80)
    assert whole.delivered_of_planned == Rate(60, 123)
    assert whole.delivered_of_audience == Rate(60, 146)


def test_carriers_and_areas_are_told_apart() -> None:
    told = tally(ROWS)
    assert {code: totals.audience for code, totals in told.per_carrier.items()} == {VIETTEL: 92, GMOBILE: 54}
    assert {code: totals.audience for code, totals in told.per_area.items()} == {BINH_SON: 88, LY_SON: 47, None: 11}
    assert told.per_carrier[GMOBILE].delivered_of_accepted.percent is None


@pytest.mark.parametrize(("rate", "percent"), [(Rate(1, 3), 33.33), (Rate(0, 5), 0.0), (Rate(5, 5), 100.0), (Rate(0, 0), None)])
def test_a_rate_of_nothing_is_none(rate: Rate, percent: float | None) -> None:
    assert rate.percent == percent


@given(rows)
def test_everything_adds_up_to_the_audience(summary: list[SummaryRow]) -> None:
    told = tally(summary)
    assert told.adds_up()
    assert told.whole.audience == sum(row.messages for row in summary)
    assert told.whole.sent == sum(row.messages for row in summary if row.state in SENT)
    assert told.whole.parts_sent == sum(row.parts for row in summary if row.state in SENT)
    assert told.whole.planned == sum(row.messages for row in summary if row.exclusion is None)


@given(
    rows, st.sampled_from(["audience", "open", "cancelled", "lapsed", "suppressed", "refused", "uncertain", "awaiting", "delivered"])
)
def test_one_person_too_many_anywhere_shows(summary: list[SummaryRow], name: str) -> None:
    whole = tally(summary).whole
    setattr(whole, name, getattr(whole, name) + 1)
    assert not whole.adds_up()


@given(rows.filter(bool))
def test_a_carrier_or_area_that_is_left_out_shows(summary: list[SummaryRow]) -> None:
    extra = [*summary, SummaryRow(VIETTEL, LY_SON, State.DELIVERED, None, 1, 1)]
    told, whole = tally(summary), tally(extra)
    assert not Tally(whole.whole, told.per_carrier, whole.per_area).adds_up()
    assert not Tally(whole.whole, whole.per_carrier, told.per_area).adds_up()


def test_numbers_as_a_database_gives_them_are_understood() -> None:
    told = tally([SummaryRow(VIETTEL, LY_SON, State(40), None, 2, 2)])
    raw = Totals()
    raw.add(SummaryRow(VIETTEL, LY_SON, 40, None, 2, 2))  # type: ignore[arg-type]
    assert raw == told.whole


@pytest.mark.parametrize(
    "row",
    [
        SummaryRow(VIETTEL, LY_SON, State.EXCLUDED, None, 1, 0),
        SummaryRow(VIETTEL, LY_SON, State.DELIVERED, Exclusion.STALE, 1, 1),
        SummaryRow(VIETTEL, LY_SON, State.DELIVERED, None, -1, 1),
        SummaryRow(VIETTEL, LY_SON, State.DELIVERED, None, 1, -1),
    ],
)
def test_a_row_that_contradicts_itself_is_an_error(row: SummaryRow) -> None:
    with pytest.raises(ValueError, match="contradictory"):
        tally([row])
