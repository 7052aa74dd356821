"""How one text becomes submit_sm for one carrier: what a receiver reads is what was signed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.link.part import read_part
from broadcaster.rules.wire import cut, submit_templates, validity
from broadcaster.smpp import Role, Session, Submitted
from broadcaster.smpp.bodies import Bind, BindKind, BindResp

VIETNAMESE = "Cảnh báo lừa đảo: kẻ gian giả danh công an gọi điện yêu cầu chuyển tiền. "


def carried(text, card, *, campaign=7, minutes=720):
    """Return the submit_sm that the other end of a connection reads."""
    templates = submit_templates(text, card, sender="SKHCN-QNG", campaign=campaign, valid_minutes=minutes)
    ours, theirs = Session(Role.ESME, window=50), Session(Role.SMSC)
    ours.bind(Bind(BindKind.TRANSCEIVER, "a", "b", ""), 0)
    (asked,) = theirs.receive(ours.outgoing(), 0)
    theirs.respond(asked.sequence, BindResp(BindKind.TRANSCEIVER, "c"), 0)
    ours.receive(theirs.outgoing(), 0)
    for template in templates:
        ours.submit(template, b"84961000000", None, 0)
    return [event.body for event in theirs.receive(ours.outgoing(), 0) if isinstance(event, Submitted)]


@pytest.fixture
def card(cards):
    return cards["viettel"]


@pytest.mark.parametrize("long_text", ["udh8", "udh16"])
@pytest.mark.parametrize(
    ("text", "parts", "coding"), [("CANH BAO", 1, 0), ("x" * 460, 4, 0), ("x" * 400, 3, 0), (VIETNAMESE * 2, 3, 8)]
)
def test_the_receiver_puts_the_text_together_again(card, long_text, text, parts, coding):
    card = replace(card, long_text=long_text)
    bodies = carried(text, card, campaign=300)
    read = [read_part(body) for body in bodies]
    segments = cut(text, card)
    assert len(bodies) == len(segments.parts) == parts
    assert "".join(segments.parts) == text
    assert [(part.part, part.parts) for part in read] == [(at, parts) for at in range(1, parts + 1)]
    assert {part.ref for part in read} == ({None} if parts == 1 else {300 % (256 if long_text == "udh8" else 65536)})
    assert {body.data_coding for body in bodies} == {coding}
    assert {body.destination for body in bodies} == {"84961000000"}
    assert {body.source for body in bodies} == {"SKHCN-QNG"}
    assert all(bool(body.esm_class & 0x40) == (parts > 1) for body in bodies)
    assert all(len(body.short_message) <= 140 or (coding == 0 and parts == 1) or coding == 0 for body in bodies)


@given(st.text(st.sampled_from("abcXYZ €{}[]|ăâđêôơưẠệỹ😀\n"), min_size=1, max_size=500))
def test_no_text_is_lost_or_changed_on_the_way(cards, text):
    segments = cut(text, cards["viettel"])
    assert "".join(segments.parts) == __import__("unicodedata").normalize("NFC", text)


def test_receipts_are_asked_for_where_they_mean_something(card):
    assert carried("x", card)[0].registered_delivery == 1
    assert carried("x", replace(card, receipt_means="none"))[0].registered_delivery == 0


@pytest.mark.parametrize(
    ("minutes", "period"),
    [
        (0, ""),
        (-5, ""),
        (1, "000000000100000R"),
        (60, "000000010000000R"),
        (1440 + 61, "000001010100000R"),
        (10**6, "000099104000000R"),
    ],
)
def test_validity_is_a_relative_period_of_sixteen_characters(minutes, period):
    assert validity(minutes) == period
    assert len(period) in {0, 16}


def test_the_validity_travels(card):
    assert carried("x", card, minutes=90)[0].validity_period == "000000013000000R"
