"""Faults of docs/delivery.md, part 5: how texts travel. What the simulated carrier's ledger decoded is what was meant."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
import unicodedata
from pathlib import Path

import pytest

from broadcaster.files.carriers import read_card
from broadcaster.link.part import read_part
from broadcaster.model import State
from broadcaster.rules.wire import cut, part_reference, pieces, submit_templates
from broadcaster.smpp import SubmitSm, decode

LONG = "Canh bao: " + "lua dao qua dien thoai, khong chuyen tien. " * 8
ACCENTED = "Cảnh báo: " + "kẻ gian giả danh công an, không chuyển tiền. " * 5


async def sent(desk, rig, card, mood, ledger, people, body, until=None, name="thu"):
    job = desk.enlist(card, people, body, name)
    async with rig.carrier(card, mood, ledger) as carrier, desk.working(carrier.card, jobs=[job]):
        await desk.until(until or (lambda: desk.count(State.DELIVERED) == len(people)))
    return rig.rows(carrier.ledger, "submit")


def pdus(body, card):
    """Return the decoded submit_sm of each part."""
    templates = submit_templates(body, card, sender="CANHBAO", campaign=1, valid_minutes=60)
    return [decode(4, template.splice(1, b"84905000000")[16:]) for template in templates]


@pytest.mark.parametrize("long_text", ["udh8", "udh16"])
def test_f60_every_part_and_every_further_try_has_one_reference(desk, card, rig, tmp_path, long_text):
    """Part 2 of everybody is refused for now; when it is sent again it still belongs to the parts sent before."""
    card = dataclasses.replace(card, long_text=long_text, retry_after_s=(1, 1, 1), window=30)
    people = rig.subscribers(10)
    mood = rig.mood(rig.fault("throttle", at=[2, 5, 11]))
    rows = asyncio.run(sent(desk, rig, card, mood, tmp_path / "so.jsonl", people, LONG))
    references = {row.dst: set() for row in rows}
    for row in rows:
        references[row.dst].add(row.ref)
    assert all(len(found) == 1 for found in references.values())
    assert {(row.part, row.parts) for row in rows} == {(1, 3), (2, 3), (3, 3)}
    assert len(rows) == 33


def test_f60_two_campaigns_to_one_phone_have_two_references(desk, card, rig, tmp_path):
    people = rig.subscribers(5)
    first = asyncio.run(sent(desk, rig, card, rig.calm, tmp_path / "1.jsonl", people, LONG))
    until = lambda: desk.count(State.DELIVERED) == 10  # noqa: E731
    second = asyncio.run(sent(desk, rig, card, rig.calm, tmp_path / "2.jsonl", people, LONG, until, "hai"))
    references = [{(row.dst, row.ref) for row in rows} for rows in (first, second)]
    assert [len(found) for found in references] == [5, 5]
    assert not references[0] & references[1]


@pytest.mark.parametrize(("long_text", "campaigns"), [("udh8", 64), ("udh16", 300), ("sar", 300)])
def test_f60_a_phones_next_campaigns_all_have_other_references(desk, card, rig, long_text, campaigns):
    """What leaves for one subscriber in so many campaigns in a row; every part of each bears one number."""
    card = dataclasses.replace(card, long_text=long_text)
    token = desk.vault.token(rig.subscribers(1)[0])
    seen = []
    for campaign in range(1, campaigns + 1):
        reference = part_reference(token, campaign, card)
        templates = submit_templates(LONG, card, sender="CANHBAO", campaign=campaign, valid_minutes=60)
        parts = [read_part(decode(4, template.splice(1, b"84905000000", None, reference)[16:])) for template in templates]
        assert [(part.part, part.parts) for part in parts] == [(1, 3), (2, 3), (3, 3)]
        assert len({part.ref for part in parts}) == 1
        seen.append(parts[0].ref)
    assert len(set(seen)) == campaigns


def test_f60_subscribers_of_one_campaign_have_references_of_their_own(desk, card, rig, tmp_path):
    """In one campaign the numbers on the wire are those of the subscribers, not the campaign's."""
    rows = asyncio.run(sent(desk, rig, card, rig.calm, tmp_path / "so.jsonl", rig.subscribers(60), LONG))
    assert len({(row.dst, row.ref) for row in rows}) == 60
    assert len({row.ref for row in rows}) > 40


TRICKY = {
    "surrogate pairs": "ả" + "🚨" * 120,
    "escapes": "x" + "{€}" * 100,
    "combining marks": unicodedata.normalize("NFD", "Cảnh báo lừa đảo " * 12),
    "one off the edge": "à" * 66 + "🚨" + "ề" * 80,
}


@pytest.mark.parametrize("kind", TRICKY)
def test_f61_parts_are_cut_on_characters(card, kind):
    body = TRICKY[kind]
    parts = cut(body, card).parts
    assert len(parts) > 1
    assert "".join(parts) == unicodedata.normalize("NFC", body)
    for part, pdu in zip(parts, pdus(body, card), strict=True):
        octets = pdu.short_message[1 + pdu.short_message[0] :]
        assert len(pdu.short_message) <= 140 or pdu.data_coding == 0
        if pdu.data_coding == 8:
            assert octets.decode("utf-16-be") == part
            assert not unicodedata.combining(part[0])
        else:
            assert octets[-1] != 0x1B


def test_f61_the_carrier_reads_each_part_as_it_was_meant(desk, card, rig, tmp_path):
    body = "Cảnh báo 🚨 " + "lừa đảo " * 20
    rows = asyncio.run(sent(desk, rig, card, rig.calm, tmp_path / "so.jsonl", rig.subscribers(3), body))
    meant = [hashlib.sha256(part.encode()).hexdigest() for part in cut(body, card).parts]
    assert [row.sha for row in rows] == meant * 3


GOLDEN = {
    ("udh8", "Canh bao"): (0x00, 0, b"Canh bao"),
    ("udh8", "Cảnh báo"): (0x00, 8, "Cảnh báo".encode("utf-16-be")),
    ("udh8", LONG): (0x40, 0, b"\x05\x00\x03\x01\x03\x01"),
    ("udh16", LONG): (0x40, 0, b"\x06\x08\x04\x00\x01\x03\x01"),
    ("udh8", ACCENTED): (0x40, 8, b"\x05\x00\x03\x01\x04\x01"),
}


@pytest.mark.parametrize(("long_text", "body"), GOLDEN)
def test_f62_each_card_has_its_own_form_of_a_text(card, long_text, body):
    card = dataclasses.replace(card, long_text=long_text, destination_ton=2, destination_npi=8, source_ton=5, source_npi=1)
    esm_class, data_coding, beginning = GOLDEN[long_text, body]
    first = pdus(body, card)[0]
    assert isinstance(first, SubmitSm)
    assert (first.esm_class, first.data_coding) == (esm_class, data_coding)
    assert first.short_message.startswith(beginning)
    assert (first.source_ton, first.source_npi, first.dest_ton, first.dest_npi) == (5, 1, 2, 8)
    assert (first.registered_delivery, first.validity_period) == (1, "000000010000000R")


FIELDS = "000500534b48434e2d514e47000101383439363130303030303000"
"""No service type; SKHCN-QNG as a name (TON 5, NPI 0); 84961000000 as an international number (1, 1)."""
VALID_90_MIN = "3030303030303031333030303030305200"
GOLDEN_PDUS = {
    "Canh bao {lua dao} @_": [
        "0000005c000000040000000000000001" + FIELDS + "000000" + "00" + VALID_90_MIN + "01000000"
        "1743616e682062616f201b286c75612064616f1b29200011"
    ],
    "Cảnh báo lừa đảo": [
        "00000065000000040000000000000001" + FIELDS + "000000" + "00" + VALID_90_MIN + "01000800"
        "2000431ea3006e00680020006200e1006f0020006c1eeb0061002001111ea3006f"
    ],
    "a" * 163: [
        "000000e4000000040000000000000001" + FIELDS + "400000" + "00" + VALID_90_MIN + "010000009f0500032a0201" + "61" * 153,
        "00000055000000040000000000000002" + FIELDS + "400000" + "00" + VALID_90_MIN + "01000000100500032a0202" + "61" * 10,
    ],
    "ả" * 71: [
        "000000d1000000040000000000000001" + FIELDS + "400000" + "00" + VALID_90_MIN + "010008008c0500032a0201" + "1ea3" * 67,
        "00000053000000040000000000000002" + FIELDS + "400000" + "00" + VALID_90_MIN + "010008000e0500032a0202" + "1ea3" * 4,
    ],
}
"""Every octet that our carriers' cards make of these texts; put together by hand from SMPP 3.4, 4.4.1 and TS 23.040, 9.2.3.24."""
CARDS = Path(__file__).parents[2] / "carriers"
SHIPPED = sorted(path.relative_to(CARDS).as_posix() for folder in (CARDS, CARDS / "rehearsal") for path in folder.glob("*.toml"))


@pytest.mark.parametrize("text", GOLDEN_PDUS, ids=["plain", "accented", "long plain", "long accented"])
@pytest.mark.parametrize("name", SHIPPED)
def test_f62_the_cards_that_are_shipped_write_these_octets(tmp_path, name, text):
    path = tmp_path / Path(name).name
    path.write_bytes((CARDS / name).read_bytes())
    secret = tmp_path / "secrets" / path.stem
    secret.parent.mkdir(mode=0o700)
    secret.write_text("mat-khau")
    secret.chmod(0o600)
    card = read_card(path, {})
    made = submit_templates(text, card, sender="SKHCN-QNG", campaign=300, valid_minutes=90)
    pdus = [template.splice(at, b"84961000000", None, 0x2A if len(made) > 1 else None) for at, template in enumerate(made, 1)]
    assert [pdu.hex() for pdu in pdus] == GOLDEN_PDUS[text]


def test_f62_all_five_carriers_are_among_the_shipped():
    assert len(SHIPPED) == 10
    assert len({Path(name).name for name in SHIPPED}) == 5


FORMS = {
    "sar": {"long_text": "sar"},
    "payload": {"long_text": "payload"},
    "latin1": {"gsm_alphabet": "latin1", "gsm_data_coding": 3, "long_text": "udh16"},
    "ascii under 0": {"gsm_alphabet": "ascii", "ucs2_data_coding": 0x18, "long_text": "sar"},
    "absolute validity": {"validity_form": "absolute"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("body", ["Canh bao: lua dao $ 5_0", LONG, ACCENTED])
def test_f62_the_carrier_reads_every_form_of_a_text_as_it_was_meant(desk, card, rig, tmp_path, form, body):
    card = dataclasses.replace(card, **FORMS[form], max_parts=10)
    rows = asyncio.run(sent(desk, rig, card, rig.calm, tmp_path / "so.jsonl", rig.subscribers(3), body))
    each = pieces(body, card)
    meant = [hashlib.sha256(part.encode()).hexdigest() for part in each]
    assert [row.sha for row in rows] == meant * 3
    assert [(row.part, row.parts) for row in rows] == [(place, len(each)) for place in range(1, len(each) + 1)] * 3
    assert len({row.ref for row in rows}) == (3 if len(each) > 1 else 1)


@pytest.mark.parametrize("body", ["`", "gia `danh`", "`" * 200])
def test_f63_a_backtick_is_no_section_sign(card, body):
    for part, pdu in zip(cut(body, card).parts, pdus(body, card), strict=True):
        header = 1 + pdu.short_message[0] if pdu.esm_class else 0
        assert pdu.data_coding == 8
        assert pdu.short_message[header:].decode("utf-16-be") == part
        assert "`" in part


def test_f64_the_parts_of_a_message_go_together_by_one_bind(desk, card, rig, tmp_path):
    """Also where the link breaks in between: only the message it broke in may be in two pieces."""
    card = dataclasses.replace(card, window=17)
    people = rig.subscribers(40)
    mood = rig.mood(rig.fault("delay_resp", ms=[0, 20]), rig.fault("rst_after", at=50))

    def until():
        return desk.count(State.DELIVERED) + desk.count(State.UNCERTAIN) + desk.count(State.ACCEPTED) == 40

    rows = asyncio.run(sent(desk, rig, card, mood, tmp_path / "so.jsonl", people, LONG, until))
    groups = [
        (session, dst, [row.part for row in group])
        for (session, dst), group in itertools.groupby(rows, key=lambda row: (row.session, row.dst))
    ]
    assert len({session for session, _, _ in groups}) == 2
    assert len({(session, dst) for session, dst, _ in groups}) == len(groups)
    whole = [dst for _, dst, parts in groups if parts == [1, 2, 3]]
    # A window's worth of parts may have been written into the connection that was reset.
    assert len(whole) >= 40 - 17 // 3 - 2
    assert all(parts in ([1], [1, 2], [2, 3], [3], [1, 2, 3]) for _, _, parts in groups)
