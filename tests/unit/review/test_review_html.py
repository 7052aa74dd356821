import dataclasses
import datetime as dt
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from broadcaster.lang import speak
from broadcaster.model import CampaignState, Exclusion, State
from broadcaster.review import charts, html, jsonform, words
from broadcaster.review.data import Curve, Review


@pytest.fixture
def english() -> Iterator[None]:
    speak("en")
    yield
    speak("vi")


class Cells(HTMLParser):
    """Collects the text of every element of some class."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted, self.depth, self.found = wanted, 0, []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.wanted in (dict(attrs).get("class") or "").split():
            self.depth = 1
            self.found.append("")
        elif self.depth:
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= bool(self.depth)

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.found[-1] += data


def texts(page: str, wanted: str) -> list[str]:
    parser = Cells(wanted)
    parser.feed(page)
    return parser.found


def test_sample_pages(sample_review: Review, live_review: Review, tmp_path: Path) -> None:
    """Writes the pages a person looks at (see conftest.py)."""
    for name, review in (("rehearsal", sample_review), ("live", live_review)):
        page = html.render(review)
        (tmp_path / f"{name}.html").write_text(page, "utf-8")
        assert review.adds_up()
        assert "Các số trong báo cáo này không khớp" not in page


def test_page_needs_nothing_from_elsewhere(sample_review: Review) -> None:
    page = html.render(sample_review)
    assert re.findall(r"https?:|\bsrc\s*=|\bhref\s*=|@import|url\((?!#)|\bfetch\b|<(?:link|iframe|object|embed)", page) == []


def test_english_page_has_no_vietnamese_headings(sample_review: Review, english: None) -> None:
    page = html.render(sample_review)
    assert '<html lang="en">' in page
    headings = re.findall(r"<h[23]>(.*?)</h[23]>|<th[^>]*scope=\"col\">(.*?)</th>", page)
    assert len(headings) > 20
    assert [one for pair in headings for one in pair if not one.isascii()] == []


def test_rehearsal_banner(sample_review: Review, live_review: Review) -> None:
    assert texts(html.render(sample_review), "rehearsal")[0].startswith("DIỄN TẬP")
    assert "DIỄN TẬP" not in html.render(live_review)


def test_text_from_outside_is_escaped(sample_review: Review) -> None:
    evil = dataclasses.replace(sample_review.campaign, title="<script>alert(1)</script>", reason='"><img onerror=x>')
    page = html.render(dataclasses.replace(sample_review, campaign=evil))
    assert "<script>alert" not in page
    assert "<img" not in page


def test_funnel_pieces_add_up_to_the_audience(sample_review: Review) -> None:
    bars = charts.funnel(sample_review)
    losses = sum(bar.messages for bar in bars if bar.kind in {"loss", "wait"})
    good = sum(bar.messages for bar in bars if bar.kind == "good")
    assert losses + good == sample_review.totals.audience
    assert {words.EXCLUSIONS[reason] for reason in Exclusion} <= {bar.label for bar in bars}


def test_each_loss_ends_where_the_whole_before_it_ends(sample_review: Review) -> None:
    edge = 0.0
    for bar in charts.funnel(sample_review):
        if bar.kind == "good":
            break
        assert bar.start + bar.width == pytest.approx(charts.BAR_WIDTH if bar.kind == "whole" and not edge else edge)
        edge = bar.start + bar.width if bar.kind == "whole" else bar.start


def test_only_handset_receipts_are_called_received(sample_review: Review) -> None:
    viettel = next(item for item in sample_review.carriers if item.code == "viettel")
    assert sample_review.on_handset == viettel.totals.delivered
    assert sample_review.on_handset + sample_review.at_carrier == sample_review.totals.delivered
    nobody = dataclasses.replace(
        sample_review, carriers=tuple(dataclasses.replace(item, receipt_means="smsc") for item in sample_review.carriers)
    )
    assert "máy đã nhận" not in words.headline(nobody)
    assert words.headline(nobody).endswith("được nhà mạng xác nhận.")


def test_headline_names_no_people(sample_review: Review) -> None:
    assert texts(html.render(sample_review), "headline") == [words.headline(sample_review)]
    assert "thuê bao" in words.headline(sample_review)
    assert "người" not in words.headline(sample_review)


def test_disagreeing_numbers_are_said_on_the_page(sample_review: Review) -> None:
    broken = dataclasses.replace(sample_review, uncertain=())
    assert not broken.adds_up()
    assert "Các số trong báo cáo này không khớp" in html.render(broken)


def test_page_of_a_campaign_that_has_not_begun(sample_review: Review) -> None:
    campaign = dataclasses.replace(sample_review.campaign, state=CampaignState.SUBMITTED, started_at=None, finished_at=None)
    empty = dataclasses.replace(
        sample_review, campaign=campaign, rows=(), carriers=(), areas=(), curve=Curve(1, None), uncertain=(), replies=(), refusals=()
    )
    page = html.render(empty)
    assert empty.adds_up()
    assert "Chưa có thuê bao nào" in page
    assert "Số liệu tạm tính" in page
    assert 'class="chart"' not in page


@pytest.mark.parametrize(
    ("value", "decimals", "vi"), [(1234567, 0, "1.234.567"), (97.4, 1, "97,4"), (1234.5, 1, "1.234,5"), (0, 0, "0")]
)
def test_numbers_in_vietnamese_form(value: float, decimals: int, vi: str) -> None:
    assert words.number(value, decimals) == vi


@pytest.mark.parametrize(
    ("part", "of", "shown"),
    [
        (0, 10, "0,0 %"),
        (10, 10, "100,0 %"),
        (99_999, 100_000, "> 99,9 %"),
        (1, 100_000, "< 0,1 %"),
        (974, 1000, "97,4 %"),
        (0, 0, "–"),
    ],
)
def test_share_never_rounds_to_all_or_nothing(part: int, of: int, shown: str) -> None:
    assert words.share(part, of).replace("\u00a0", " ") == shown


@pytest.mark.parametrize(
    ("wait_ms", "shown"), [(None, "–"), (94, "94 ms"), (2310, "2,3 s"), (1_262_000, "21,0 phút"), (36_000_000, "10,0 giờ")]
)
def test_waits(wait_ms: int | None, shown: str) -> None:
    assert words.wait(wait_ms).replace("\u00a0", " ") == shown


def test_times_are_in_vietnam() -> None:
    assert words.moment(dt.datetime(2026, 3, 11, 20, 5, 9, tzinfo=dt.UTC)) == "03:05:09 12/03/2026"


def test_statuses_in_words(english: None) -> None:
    assert words.status(0x0B).startswith("RINVDSTADR")
    speak("vi")
    assert words.status(0x0B) == "số nhận không hợp lệ (RINVDSTADR, 0x0B)"
    assert words.status(0x400) == "mã riêng của nhà mạng (0x400)"


def test_every_state_and_exclusion_has_words() -> None:
    assert set(words.STATES) == set(State) - {State.EXCLUDED}
    assert set(words.EXCLUSIONS) == set(Exclusion)


@pytest.mark.parametrize(("largest", "step"), [(0, 1), (3, 1), (9, 5), (18_312, 5_000), (1_000_000, 500_000)])
def test_nice_steps(largest: int, step: int) -> None:
    assert charts.nice_step(largest, 4) == step


def test_curve_labels_do_not_cover_each_other(sample_review: Review) -> None:
    drawing = charts.curve(sample_review.curve)
    assert drawing is not None
    heights = [line.label_y for line in drawing.lines]
    assert all(lower - upper >= 16.99 for upper, lower in pairwise(heights))
    assert all(drawing.top - 20 <= height <= drawing.bottom for height in heights)
    assert [line.messages for line in drawing.lines] == [
        sample_review.totals.sent,
        sample_review.totals.accepted,
        sample_review.totals.delivered,
    ]


def test_curve_table_ends_with_the_last_point(sample_review: Review) -> None:
    rows = html.curve_rows(sample_review.curve)
    assert rows[-1] == sample_review.curve.points[-1]
    assert 10 <= len(rows) <= html.CURVE_TABLE_ROWS
    assert [point.at for point in rows] == sorted(point.at for point in rows)


def test_map_holds_every_commune_inside_its_frame(sample_review: Review) -> None:
    drawn = charts.province(sample_review.areas)
    assert drawn is not None
    assert len(drawn.bubbles) == 96
    for bubble in drawn.bubbles:
        assert bubble.x - bubble.radius >= 0
        assert bubble.x + bubble.radius <= drawn.width
        assert bubble.y - bubble.radius >= 0
        assert bubble.y + bubble.radius <= drawn.height
    assert len(drawn.labels) > 5


def test_map_of_one_commune(sample_review: Review) -> None:
    drawn = charts.province(sample_review.areas[:1])
    assert drawn is not None
    assert len(drawn.bubbles) == 1


def test_recipients_placed_approximately_are_named_only_when_there_are_any(sample_review: Review) -> None:
    assert "gần đúng" not in html.render(dataclasses.replace(sample_review, approximate=0))
    page = html.render(dataclasses.replace(sample_review, approximate=1234))
    assert any("gần đúng: 1.234 người nhận" in note for note in texts(page, "note"))
    assert jsonform.document(dataclasses.replace(sample_review, approximate=1234))["approximate"] == 1234
