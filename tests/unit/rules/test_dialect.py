"""How ids and receipts are spelt is worked out from what came, and nothing is claimed that the evidence does not carry."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.model import IdRule
from broadcaster.rules.dialect import SeenReceipt, Spelling, Where, detect_ids, dialect_of, every_form, receipt_form, spelling
from broadcaster.smpp import DeliverSm, parse_receipt
from broadcaster.smpp.receipt import Receipt, ReceiptState

NUMBERS = [1_763_900_000_000_000 + step * 977 for step in range(20)]
SPELT = {
    "decimal": str,
    "hex": lambda number: f"{number:x}",
    "HEX": lambda number: f"{number:X}",
    "padded hex": lambda number: f"{number:016x}",
    "0x": lambda number: f"0x{number:x}",
    "padded": lambda number: f"{number:020d}",
}


@pytest.mark.parametrize(
    ("response", "receipt", "expected"),
    [
        ("decimal", "decimal", ("dec", "dec")),
        ("decimal", "padded", ("dec", "dec")),
        ("hex", "decimal", ("hex", "dec")),
        ("HEX", "decimal", ("hex", "dec")),
        ("decimal", "hex", ("dec", "hex")),
        ("padded", "HEX", ("dec", "hex")),
        ("hex", "HEX", ("raw", "raw")),
        ("padded hex", "HEX", ("raw", "raw")),
        ("0x", "hex", ("hex", "hex")),
    ],
)
def test_f02_the_rule_that_brings_ids_together_is_found(response, receipt, expected):
    responses, receipts = [[SPELT[name](number) for number in NUMBERS] for name in (response, receipt)]
    wrong = IdRule("hex", "dec") if expected != ("hex", "dec") else IdRule("dec", "hex")
    found = detect_ids(responses, receipts, wrong)
    assert (found.rule.response, found.rule.receipt) == expected
    assert (found.matched, found.seen, found.certain) == (20, 20, True)
    assert not found.agrees
    assert detect_ids(responses, receipts, IdRule(*expected)).agrees


def test_ids_of_letters_meet_as_they_are():
    ids = [f"0b3c9a1e-0000-4000-8000-{number:012d}" for number in range(5)]
    found = detect_ids(ids, [one.upper() for one in ids], IdRule("dec", "dec"))
    assert found.responses is Spelling.UUID
    assert (found.rule, found.agrees, found.certain) == (IdRule("dec", "dec"), True, True)


def test_a_card_that_explains_everything_keeps_its_own_words():
    ids = list(map(str, NUMBERS))
    assert detect_ids(ids, ids, IdRule("raw", "raw")).rule == IdRule("raw", "raw")
    assert detect_ids(ids, ids, IdRule("dec", "raw")).rule == IdRule("dec", "raw")
    assert detect_ids(ids, ids, IdRule("hex", "hex")).rule == IdRule("hex", "hex")


def test_strange_receipts_do_not_hide_the_rule():
    responses = [f"{number:x}" for number in NUMBERS]
    receipts = [str(number) for number in NUMBERS[:3]] + [str(number + 1) for number in NUMBERS]
    found = detect_ids(responses, receipts, IdRule())
    assert (found.rule, found.matched, found.seen) == (IdRule("hex", "dec"), 3, 23)


def test_few_small_ids_prove_nothing():
    assert not detect_ids(["5", "7"], ["5", "7"], IdRule()).certain
    assert not detect_ids(["5"], [], IdRule()).certain
    nothing = detect_ids(["abc"], ["xyz"], IdRule("hex", "dec"))
    assert (nothing.matched, nothing.certain) == (0, False)


@given(st.lists(st.integers(10**12, 10**15), min_size=3, unique=True), st.booleans(), st.booleans())
def test_whatever_the_numbers_hex_and_decimal_are_told_apart(numbers, response_hex, receipt_hex):
    responses = [f"{number:x}" if response_hex else str(number) for number in numbers]
    receipts = [f"{number:X}" if receipt_hex else str(number) for number in numbers]
    found = detect_ids(responses, receipts, IdRule())
    assert found.matched == len(numbers)
    assert (found.rule.response == "hex") == (response_hex and not receipt_hex)
    assert (found.rule.receipt == "hex") == (receipt_hex and not response_hex)


@given(st.text(max_size=90), st.text(max_size=90))
def test_any_two_texts_can_be_compared(one, other):
    every_form(one)
    spelling([one, other])
    detect_ids([one], [other], IdRule())


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], Spelling.NONE),
        (["1", "22"], Spelling.DECIMAL),
        (["0"], Spelling.DECIMAL),
        (["007", "12"], Spelling.PADDED),
        (["1f", "22"], Spelling.HEX),
        (["0x22"], Spelling.HEX),
        (["1f", "zz"], Spelling.OTHER),
        (["²"], Spelling.OTHER),
    ],
)
def test_ids_are_named_by_their_look(ids, expected):
    assert spelling(ids) is expected


def seen(
    message_id="5",
    *,
    tlv_id=None,
    text_id="5",
    state=ReceiptState.DELIVERED,
    stat="DELIVRD",
    done="2511230800",
    marked=True,
    data_sm=False,
):
    receipt = Receipt(message_id, state, stat, "000", done, done, 1, 1, "", text_id, "")
    return SeenReceipt(receipt, tlv_id, marked, data_sm, 0.0)


@pytest.mark.parametrize(
    ("receipts", "where"),
    [
        ([], Where.NONE),
        ([seen()], Where.TEXT),
        ([seen(tlv_id="5")], Where.BOTH),
        ([seen(tlv_id="5", text_id=None)], Where.TLV),
        ([seen(), seen(tlv_id="5")], Where.MIXED),
    ],
)
def test_f06_where_the_id_is(receipts, where):
    assert receipt_form(receipts, IdRule()).where is where


def test_what_is_odd_about_receipts_is_counted():
    form = receipt_form(
        [
            seen("10", tlv_id="10", text_id="a"),
            seen("10", tlv_id="10", text_id="11", marked=False),
            seen("12", text_id="12", state=ReceiptState.ENROUTE, stat="ENROUTE", done="20251123080000", data_sm=True),
            seen("12", text_id="12", done="2025-11-23 08:00"),
        ],
        IdRule(),
    )
    assert (form.conflicts, form.unmarked, form.intermediate, form.by_data_sm, form.repeated) == (1, 1, 1, 1, 1)
    assert form.states == {"delivered": 3, "enroute": 1}
    assert form.words == ("DELIVRD", "ENROUTE")
    assert form.dates == ("10 digits", "14 digits", "9999-99-99 99:99")


def test_f07_f14_a_card_says_how_its_carriers_receipts_are_read(cards):
    card = next(iter(cards.values()))
    body = DeliverSm("84905000000", "CANHBAO", b"77,1,1,2603120900,2603120901,HETHAN,000", esm_class=0x04)
    plain = parse_receipt(body, dialect_of(card))
    own = parse_receipt(body, dialect_of(replace(card, receipt_form="comma", receipt_states={"hethan": "expired"})))
    assert plain is None
    assert own is not None
    assert (own.message_id, own.state) == ("77", ReceiptState.EXPIRED)
