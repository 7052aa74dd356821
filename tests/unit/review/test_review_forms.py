"""The three forms tell the same numbers, and they add up to the audience, whatever became of the messages."""

import csv as stdlib_csv
import io
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcaster.lang import speak
from broadcaster.model import AreaCode, CarrierCode, Exclusion, State
from broadcaster.review import csv, html, jsonform, words
from broadcaster.review.data import CampaignFacts, Review
from broadcaster.rules.tally import SummaryRow

PLACES = {"21025": ("Phường Cẩm Thành", 15.11, 108.81), "21548": ("Đặc khu Lý Sơn", 15.38, 109.11)}
CODES = [("viettel", "Viettel", "handset", 500), ("gmobile", "=1+1", "none", None)]


@st.composite
def rows(draw: st.DrawFn) -> list[SummaryRow]:
    """Counts of any outcomes, one row for each carrier, commune and outcome."""
    outcomes = [(state, None) for state in State if state is not State.EXCLUDED] + [(State.EXCLUDED, reason) for reason in Exclusion]
    keys = st.tuples(st.sampled_from(CODES), st.sampled_from([None, *PLACES]), st.sampled_from(outcomes))
    counts = draw(st.dictionaries(keys, st.integers(1, 100_000), max_size=20))
    parts = {code: draw(st.integers(1, 4)) for code, *_ in CODES}
    return [
        SummaryRow(CarrierCode(code), area and AreaCode(area), state, reason, count, 0 if reason else count * parts[code])
        for ((code, *_), area, (state, reason)), count in counts.items()
    ]


def read_csv(text: str) -> list[list[str]]:
    return list(stdlib_csv.reader(io.StringIO(text.removeprefix(csv.BYTE_ORDER_MARK))))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(rows=rows())
def test_all_forms_agree_and_add_up(
    rows: list[SummaryRow], make_review: Callable[..., Review], campaign_facts: CampaignFacts
) -> None:
    review = make_review(rows, CODES, PLACES, campaign_facts)
    totals = review.totals
    assert review.adds_up()

    document = json.loads(jsonform.render(review))
    told = document["totals"]
    assert told["audience"] == sum(row.messages for row in rows) == totals.audience
    assert told["audience"] == sum(
        told[key]
        for key in (
            "excluded",
            "open",
            "cancelled",
            "lapsed",
            "suppressed",
            "refused",
            "uncertain",
            "awaiting",
            "confirmed",
            "failed",
        )
    )
    assert told["confirmed"] == told["received_by_phone"] + told["confirmed_by_carrier"]
    for split in ("carriers", "communes"):
        for key in ("audience", "sent", "accepted", "confirmed", "failed", "excluded", "parts"):
            assert sum(item["totals"][key] for item in document[split]) == told[key]

    table = read_csv(csv.render(review))[1:]
    assert sum(int(line[8]) for line in table) == totals.audience
    assert sum(int(line[9]) for line in table) == totals.parts == sum(row["parts"] for row in document["outcomes"])
    assert sum(int(line[8]) for line in table if line[6] == "delivered") == totals.delivered

    page = html.render(review)
    shown = re.findall(r"<tfoot>.*?</tfoot>", page, re.DOTALL)
    assert len(shown) == 2
    for foot in shown:
        cells = re.findall(r'<td[^>]* data-value="(\d+)">', foot)
        assert [int(cell) for cell in cells[:4]] == [
            totals.audience,
            totals.excluded_total,
            totals.planned - totals.sent,
            totals.sent,
        ]
        assert int(cells[9]) == totals.delivered
    assert words.headline(review) in page


def test_csv_opens_in_excel_with_vietnamese_and_runs_no_formula(
    sample_review: Review, make_review: Callable[..., Review], campaign_facts: CampaignFacts
) -> None:
    text = csv.render(sample_review)
    assert text.encode().startswith(b"\xef\xbb\xbf")
    assert "Đặc khu Lý Sơn" in text
    assert "máy" not in text
    row = SummaryRow(CarrierCode("gmobile"), None, State.DELIVERED, None, 1, 1)
    line = read_csv(csv.render(make_review([row], CODES, PLACES, campaign_facts)))[1]
    assert line[3] == "'=1+1"
    assert line[6:] == ["delivered", "đã xác nhận", "1", "1"]


@pytest.mark.parametrize("text", ["=cmd", "+1", "-1", "@x", "\tx", "\rx"])
def test_formula_safe(text: str) -> None:
    assert csv.formula_safe(text) == "'" + text
    assert csv.formula_safe("Xã " + text) == "Xã " + text


def test_json_is_the_same_in_both_languages(sample_review: Review) -> None:
    vietnamese = jsonform.render(sample_review)
    speak("en")
    try:
        assert jsonform.render(sample_review) == vietnamese
    finally:
        speak("vi")
    document = json.loads(vietnamese)
    assert document["form"] == jsonform.FORM
    assert document["campaign"]["started_at"] == "2026-03-12T01:00:04Z"
    assert document["carriers"][0]["failed"][0] == {"state": "expired", "error": "027", "messages": 178}


def test_json_refuses_what_has_no_form() -> None:
    with pytest.raises(TypeError, match="bytes"):
        json.dumps(b"", default=jsonform._plain)
