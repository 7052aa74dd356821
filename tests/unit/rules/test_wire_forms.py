"""F60, F62: each carrier's own form of a text, octet by octet, and the number that ties one subscriber's parts together."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.files.carriers import read_card
from broadcaster.link.part import read_part
from broadcaster.model import CarrierCard, Variant
from broadcaster.rules.wire import absolute_time, cut, part_reference, pieces, receipt_part, submit_templates, text_rules
from broadcaster.smpp import SubmitSm, Tag, decode
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.text.lint import lint

CARD = read_card(Path(__file__).parents[3] / "carriers" / "rehearsal" / "viettel.toml", {})
NOW = dt.datetime(2026, 12, 31, 20, 30, tzinfo=dt.UTC)
LONG = "x" * 400
FORMS = ["udh8", "udh16", "sar", "payload"]


def card(**terms: object) -> CarrierCard:
    return replace(CARD, **terms)  # type: ignore[arg-type]


def sent(text: str, to: CarrierCard, *, reference: int | None = None, minutes: int = 90, campaign: int = 300) -> list[SubmitSm]:
    made = submit_templates(text, to, sender="SKHCN-QNG", campaign=campaign, valid_minutes=minutes, at=NOW)
    found = [decode(4, template.splice(1, b"84961000000", None, reference)[16:]) for template in made]
    return [body for body in found if isinstance(body, SubmitSm)]


def test_sar_parameters_tie_the_parts_and_the_text_has_no_header() -> None:
    parts = sent(LONG, card(long_text="sar"))
    assert [dict(body.tlvs) for body in parts] == [
        {Tag.SAR_MSG_REF_NUM: b"\x01\x2c", Tag.SAR_TOTAL_SEGMENTS: b"\x03", Tag.SAR_SEGMENT_SEQNUM: bytes([place])}
        for place in (1, 2, 3)
    ]
    assert [(body.esm_class, body.short_message) for body in parts] == [(0, b"x" * 152), (0, b"x" * 152), (0, b"x" * 96)]


def test_a_payload_carries_the_whole_text_in_one_submit() -> None:
    (body,) = sent(LONG, card(long_text="payload"))
    assert (body.esm_class, body.short_message, dict(body.tlvs)) == (0, b"", {Tag.MESSAGE_PAYLOAD: LONG.encode()})
    assert len(cut(LONG, card(long_text="payload")).parts) == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["x" * 160, "ả" * 70])
def test_a_text_of_one_part_travels_plainly_in_every_form(form: str, text: str) -> None:
    (body,) = sent(text, card(long_text=form))
    assert (body.esm_class, dict(body.tlvs)) == (0, {})
    assert body.short_message == (text.encode() if body.data_coding == 0 else text.encode("utf-16-be"))


@pytest.mark.parametrize(
    ("terms", "text", "coding", "octets"),
    [
        ({}, "gia @ 5$_é", 0x00, b"gia \x00 5\x02\x11\x05"),
        ({"gsm_alphabet": "latin1"}, "gia @ 5$_é", 0x00, b"gia @ 5$_\xe9"),
        ({"gsm_alphabet": "latin1", "gsm_data_coding": 3}, "gia @ 5$_", 0x03, b"gia @ 5$_"),
        ({"gsm_alphabet": "ascii", "gsm_data_coding": 1}, "gia @ 5$_", 0x01, b"gia @ 5$_"),
        ({"gsm_alphabet": "ascii"}, "gia é", 0x08, "gia é".encode("utf-16-be")),
        ({"gsm_alphabet": "latin1"}, "gia €", 0x08, "gia €".encode("utf-16-be")),
        ({"gsm_alphabet": "latin1"}, "gia ê", 0x08, "gia ê".encode("utf-16-be")),
        ({"ucs2_data_coding": 0x18}, "lừa đảo", 0x18, "lừa đảo".encode("utf-16-be")),
    ],
)
def test_f62_what_data_coding_means_is_the_cards(terms: dict[str, object], text: str, coding: int, octets: bytes) -> None:
    (body,) = sent(text, card(**terms))
    assert (body.data_coding, body.short_message) == (coding, octets)


def test_units_are_septets_of_the_air_whatever_the_smsc_reads() -> None:
    assert cut("[" * 81, card(gsm_alphabet="latin1")).units == 162
    assert len(cut("[" * 81, card(gsm_alphabet="latin1")).parts) == 2


def test_the_lint_agrees_with_the_cut() -> None:
    text = "TB: Gia 5€. Hay bao Cong an. " + "x" * 60
    latin = card(gsm_alphabet="latin1", allow_unicode=False, max_parts=1)
    found = {finding.rule for finding in lint(text, text_rules(latin, Variant.UNACCENTED, rehearsal=False, footer=None))}
    assert {"unicode", "parts", "not-gsm"} <= found
    plain = text_rules(card(allow_unicode=False, max_parts=1), Variant.UNACCENTED, rehearsal=False, footer=None)
    assert not {"unicode", "parts", "not-gsm"} & {finding.rule for finding in lint(text, plain)}


ALPHABETS = ["gsm", "latin1", "ascii"]


@given(
    st.text(st.sampled_from("abcXYZ @$€{}[]|é`ăâđêôơưẠệỹ😀\n"), min_size=1, max_size=500),
    st.sampled_from(FORMS),
    st.sampled_from(ALPHABETS),
    st.integers(0, 255),
)
def test_whoever_reads_by_the_card_reads_what_was_meant(text: str, form: str, alphabet: str, reference: int) -> None:
    to = card(long_text=form, gsm_alphabet=alphabet, gsm_data_coding=0xF0, ucs2_data_coding=0x18, max_parts=10)
    each = pieces(text, to)
    tied = len(each) > 1
    bodies = sent(text, to, reference=reference if tied else None)
    read = [read_part(body, to.ucs2_data_coding, to.gsm_alphabet) for body in bodies]
    assert len(bodies) == len(each)
    assert [(part.part, part.parts) for part in read] == [(place, len(each)) for place in range(1, len(each) + 1)]
    assert {part.ref for part in read} == ({reference} if tied else {None})
    assert [part.beginning for part in read] == [piece[:20] for piece in each]
    assert all(body.data_coding in (0xF0, 0x18) for body in bodies)


@pytest.mark.parametrize(
    ("offset_min", "time"),
    [
        (420, "270101033000028+"),
        (0, "261231203000000+"),
        (-210, "261231170000014-"),
        (330, "270101020000022+"),
        (-60, "261231193000004-"),
    ],
)
def test_absolute_times_are_of_the_smscs_clock(offset_min: int, time: str) -> None:
    assert absolute_time(NOW, offset_min) == time
    assert len(time) == 16


def test_each_form_of_validity() -> None:
    assert sent("x", card(validity_form="relative"))[0].validity_period == "000000013000000R"
    assert sent("x", card(validity_form="absolute"))[0].validity_period == "270101050000028+"
    assert sent("x", card(validity_form="none"))[0].validity_period == ""
    assert sent("x", card(validity_form="absolute"), minutes=0)[0].validity_period == ""
    with pytest.raises(ValueError, match="absolute"):
        submit_templates("x", card(validity_form="absolute"), sender="A", campaign=1, valid_minutes=1)


@pytest.mark.parametrize(("scope", "asked"), [("all", [1, 1, 1]), ("first", [1, 0, 0]), ("last", [0, 0, 1])])
@pytest.mark.parametrize("form", ["udh8", "sar"])
def test_f11_receipts_are_asked_for_the_parts_of_the_scope(form: str, scope: str, asked: list[int]) -> None:
    to = card(long_text=form, receipt_scope=scope)
    assert [body.registered_delivery for body in sent(LONG, to)] == asked
    assert receipt_part(to, 3) == {"all": 0, "first": 1, "last": 3}[scope]


def test_f11_what_was_settled_before_the_card_changed_holds() -> None:
    made = submit_templates(LONG, card(receipt_scope="last"), sender="A", campaign=1, valid_minutes=1, receipted=0)
    bodies = [decode(4, template.splice(1, b"84961000000")[16:]) for template in made]
    assert [body.registered_delivery for body in bodies if isinstance(body, SubmitSm)] == [1, 1, 1]


@pytest.mark.parametrize("scope", ["all", "first", "last"])
def test_a_text_of_one_part_always_gets_its_receipt(scope: str) -> None:
    assert [body.registered_delivery for body in sent("x", card(receipt_scope=scope))] == [1]
    assert receipt_part(card(receipt_scope=scope), 1) == 0
    assert [body.registered_delivery for body in sent(LONG, card(long_text="payload", receipt_scope=scope))] == [1]


@given(st.binary(min_size=16, max_size=16), st.integers(1, 2**40), st.sampled_from(["udh8", "udh16", "sar"]))
def test_f60_the_next_campaigns_to_one_subscriber_have_other_references(token: bytes, campaign: int, form: str) -> None:
    """I14: none comes again for 64 messages (8 bits); with 16 bits for far more than anybody gets in a day."""
    to = card(long_text=form)
    following = [part_reference(token, campaign + more, to) for more in range(256)]
    assert len(set(following)) == 256
    assert all(reference is not None and 0 <= reference < (256 if form == "udh8" else 65536) for reference in following)
    assert part_reference(token, campaign, to) == following[0]


def test_f60_subscribers_of_one_campaign_do_not_share_one_reference() -> None:
    tokens = [value.to_bytes(2, "big") + bytes(14) for value in range(0, 65536, 97)]
    assert len({part_reference(token, 7, card(long_text="udh16")) for token in tokens}) == len(tokens)
    assert len({part_reference(token, 7, card(long_text="udh8")) for token in tokens}) == 256


def test_f60_there_is_no_reference_where_nothing_is_tied() -> None:
    assert part_reference(bytes(16), 7, card(long_text="payload")) is None
    with pytest.raises(LocalProtocolError):
        sent("x", card(), reference=1)
