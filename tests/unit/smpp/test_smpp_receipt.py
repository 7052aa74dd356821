"""Receipts: classification (F08), a corpus of forms (F06, F07), ids (F02), dates, and the form we write."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcaster.smpp import (
    DataSm,
    DeliverSm,
    Grammar,
    IdForm,
    LocalProtocolError,
    Receipt,
    ReceiptState,
    Tag,
    classify,
    content,
    format_receipt,
    normal_id,
    own_spelling,
    parse_receipt,
    receipt_dialect,
    receipt_time,
)
from broadcaster.smpp.grammar import COMMON, GRAMMARS, scan

S = ReceiptState


def deliver(text: str | bytes, **fields: Any) -> DeliverSm:
    octets = text if isinstance(text, bytes) else text.encode("latin-1")
    return DeliverSm("84901234567", "CATINH", octets, **{"esm_class": 4, **fields})


def ucs2(text: str) -> bytes:
    return text.encode("utf-16-be")


STANDARD = "id:1234567890 sub:001 dlvrd:001 submit date:2503041530 done date:2503041531 stat:DELIVRD err:000 text:Canh bao lua dao"

DATES = "submit date:2503041530 done date:2503041531"

# Each entry: what it shows, the deliver_sm, and the id, state, error and done date that must come out.
CORPUS: list[tuple[str, DeliverSm, str, ReceiptState, str | None, str | None]] = [
    ("appendix B", deliver(STANDARD), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("Text with a capital", deliver(STANDARD.replace("text:", "Text:")), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("no text at all", deliver(STANDARD.partition(" text:")[0]), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("empty text", deliver(STANDARD.partition("text:")[0] + "text:"), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("closing NUL in the message", deliver(STANDARD.encode() + b"\0"), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("no sub, no dlvrd", deliver(f"id:77 {DATES} stat:EXPIRED err:027"), "77", S.EXPIRED, "027", "2503041531"),
    (
        "dates with seconds",
        deliver("id:77 sub:1 dlvrd:1 submit date:250304153011 done date:250304153112 stat:DELIVRD err:0 text:"),
        "77",
        S.DELIVERED,
        "0",
        "250304153112",
    ),
    (
        "fourteen-digit dates",
        deliver("id:77 sub:001 dlvrd:000 submit date:20250304153011 done date:20250304153112 stat:UNDELIV err:001 text:x"),
        "77",
        S.UNDELIVERABLE,
        "001",
        "20250304153112",
    ),
    (
        "unix dates",
        deliver("id:77 sub:001 dlvrd:001 submit date:1741077011 done date:1741077072 stat:DELIVRD err:000 text:"),
        "77",
        S.DELIVERED,
        "000",
        "1741077072",
    ),
    (
        "ISO dates with colons",
        deliver("id:77 sub:001 dlvrd:001 submit date:2025-03-04 15:30:11 done date:2025-03-04 15:31:12 stat:DELIVRD err:000"),
        "77",
        S.DELIVERED,
        "000",
        "2025-03-04 15:31:12",
    ),
    (
        "four-digit err",
        deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:REJECTD err:0000 text:"),
        "77",
        S.REJECTED,
        "0000",
        "2503041531",
    ),
    (
        "alphanumeric err",
        deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:UNDELIV err:E4F text:"),
        "77",
        S.UNDELIVERABLE,
        "E4F",
        "2503041531",
    ),
    ("negative err", deliver("id:77 stat:UNDELIV err:-1 text:"), "77", S.UNDELIVERABLE, "-1", None),
    (
        "hexadecimal id",
        deliver(f"id:1D305B4C sub:001 dlvrd:001 {DATES} stat:DELIVRD err:000 text:"),
        "1D305B4C",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "id with dashes",
        deliver(f"id:6e2b9c1e-0f4d-4c39-9d6e-8f0a1b2c3d4e sub:001 dlvrd:001 {DATES} stat:DELIVRD err:000 text:"),
        "6e2b9c1e-0f4d-4c39-9d6e-8f0a1b2c3d4e",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "blanks after the colons",
        deliver("id: 77 sub: 001 dlvrd: 001 submit date: 2503041530 done date: 2503041531 stat: DELIVRD err: 000 text: hi"),
        "77",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "fields out of order",
        deliver("stat:DELIVRD err:000 id:77 done date:2503041531 submit date:2503041530 dlvrd:001 sub:001"),
        "77",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "text ahead of the rest",
        deliver("text:hello id:77 stat:DELIVRD err:000 done date:2503041531"),
        "77",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "all capitals",
        deliver("ID:77 SUB:001 DLVRD:001 SUBMIT DATE:2503041530 DONE DATE:2503041531 STAT:DELIVRD ERR:000 TEXT:X"),
        "77",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "lower-case state",
        deliver(f"id:77 sub:001 dlvrd:001 {DATES} stat:delivrd err:000 text:"),
        "77",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "commas between fields",
        deliver("id:77,sub:001,dlvrd:001,submit date:2503041530,done date:2503041531,stat:DELIVRD,err:000,text:x"),
        "77",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "underscores in the dates' names",
        deliver("id:77 sub:001 dlvrd:001 submit_date:2503041530 done_date:2503041531 stat:DELIVRD err:000"),
        "77",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "equals signs and newlines",
        deliver("id=77\nstat=UNDELIV\nerr=045\ndone date=2503041531\n"),
        "77",
        S.UNDELIVERABLE,
        "045",
        "2503041531",
    ),
    ("long names", deliver("message_id:77 status:DELIVERED error_code:000"), "77", S.DELIVERED, "000", None),
    ("quoted id", deliver('id:"77" stat:"DELIVRD" err:"000"'), "77", S.DELIVERED, "000", None),
    ("number for a state", deliver("id:77 stat:5 err:001"), "77", S.UNDELIVERABLE, "001", None),
    ("vendor state", deliver("id:77 stat:NOROUTE err:9"), "77", S.UNKNOWN, "9", None),
    ("buffered", deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:BUFFRED err:000 text:"), "77", S.ENROUTE, "000", "2503041531"),
    (
        "accepted on the way",
        deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:ACCEPTD err:000 text:", esm_class=0x20),
        "77",
        S.ACCEPTED,
        "000",
        "2503041531",
    ),
    ("no state", deliver("id:77 err:000"), "77", S.UNKNOWN, "000", None),
    ("UCS-2 announced", deliver(ucs2(STANDARD), data_coding=8), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("UCS-2 not announced", deliver(ucs2(STANDARD)), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("UCS-2 announced, ASCII sent", deliver(STANDARD, data_coding=8), "1234567890", S.DELIVERED, "000", "2503041531"),
    (
        "UCS-2 with the start of our accented text",
        deliver(ucs2(STANDARD.replace("Canh bao lua dao", "Cảnh báo lừa đảo")), data_coding=8),
        "1234567890",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    (
        "binary copy of our UCS-2 text",
        deliver(STANDARD.encode() + "ả".encode("utf-16-be") + b"\xff"),
        "1234567890",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    ("our text looks like a receipt", deliver("id:77 stat:DELIVRD text:id:99 stat:REJECTD err:5"), "77", S.DELIVERED, None, None),
    (
        "user data header",
        deliver(b"\x05\0\x03\x01\x01\x01" + STANDARD.encode(), esm_class=0x44),
        "1234567890",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    ("message_payload", deliver(b"", tlvs={Tag.MESSAGE_PAYLOAD: STANDARD.encode()}), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("parameters only", deliver(b"", tlvs={0x1E: b"77\0", 0x427: b"\2"}), "77", S.DELIVERED, None, None),
    ("parameter without NUL", deliver(b"", tlvs={0x1E: b"1d305b4c", 0x427: b"\x05"}), "1d305b4c", S.UNDELIVERABLE, None, None),
    ("wide message_state", deliver(b"", tlvs={0x1E: b"77\0", 0x427: b"\0\3"}), "77", S.EXPIRED, None, None),
    ("unknown message_state", deliver(b"", tlvs={0x1E: b"77\0", 0x427: b"\xc8"}), "77", S.UNKNOWN, None, None),
    ("network_error_code", deliver(b"", tlvs={0x1E: b"77\0", 0x427: b"\5", 0x423: b"\3\0\x1b"}), "77", S.UNDELIVERABLE, "27", None),
    ("broken network_error_code", deliver(b"", tlvs={0x1E: b"77\0", 0x427: b"\5", 0x423: b"\3"}), "77", S.UNDELIVERABLE, None, None),
    (
        "parameters win over the text",
        deliver(STANDARD, tlvs={0x1E: b"499602D2\0", 0x427: b"\5"}),
        "499602D2",
        S.UNDELIVERABLE,
        "000",
        "2503041531",
    ),
    ("empty id parameter", deliver(STANDARD, tlvs={0x1E: b"\0"}), "1234567890", S.DELIVERED, "000", "2503041531"),
    ("other parameters only", deliver(STANDARD, tlvs={0x204: b"\0\7"}), "1234567890", S.DELIVERED, "000", "2503041531"),
    (
        "sub and dlvrd of one digit",
        deliver(f"id:77 sub:1 dlvrd:1 {DATES} stat:DELIVRD err:0 text:"),
        "77",
        S.DELIVERED,
        "0",
        "2503041531",
    ),
    (
        "nothing delivered of two parts",
        deliver(f"id:77 sub:002 dlvrd:000 {DATES} stat:EXPIRED err:000"),
        "77",
        S.EXPIRED,
        "000",
        "2503041531",
    ),
    ("deleted", deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:DELETED err:000 text:"), "77", S.DELETED, "000", "2503041531"),
    (
        "state unknown to the carrier",
        deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:UNKNOWN err:000"),
        "77",
        S.UNKNOWN,
        "000",
        "2503041531",
    ),
    (
        "skipped, a state of 5.0",
        deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:SKIPPED err:000"),
        "77",
        S.SKIPPED,
        "000",
        "2503041531",
    ),
    (
        "on the way",
        deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:ENROUTE err:000", esm_class=0x20),
        "77",
        S.ENROUTE,
        "000",
        "2503041531",
    ),
    ("id with leading zeros", deliver(f"id:0000000077 {DATES} stat:DELIVRD err:000"), "0000000077", S.DELIVERED, "000", "2503041531"),
    ("id with 0x", deliver(f"id:0x4D {DATES} stat:DELIVRD err:000"), "0x4D", S.DELIVERED, "000", "2503041531"),
    (
        "id with a node's name",
        deliver(f"id:node1.77@smsc {DATES} stat:DELIVRD err:000"),
        "node1.77@smsc",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    ("blank ahead of id", deliver(f"  id:77 {DATES} stat:DELIVRD err:000"), "77", S.DELIVERED, "000", "2503041531"),
    ("two blanks between fields", deliver("id:77  sub:001  dlvrd:001  stat:DELIVRD  err:000"), "77", S.DELIVERED, "000", None),
    ("semicolons", deliver("id:77;sub:001;dlvrd:001;stat:UNDELIV;err:011;text:"), "77", S.UNDELIVERABLE, "011", None),
    ("bars", deliver("id:77|stat:DELIVRD|err:000|done date:2503041531"), "77", S.DELIVERED, "000", "2503041531"),
    ("lines", deliver("id:77\r\nstat:DELIVRD\r\nerr:000\r\ndone date:2503041531\r\n"), "77", S.DELIVERED, "000", "2503041531"),
    (
        "fields without values",
        deliver("id:77 sub: dlvrd: submit date: done date: stat:EXPIRED err: text:"),
        "77",
        S.EXPIRED,
        None,
        None,
    ),
    (
        "dates of zeros",
        deliver("id:77 submit date:0000000000 done date:0000000000 stat:REJECTD err:8"),
        "77",
        S.REJECTED,
        "8",
        "0000000000",
    ),
    (
        "error in hexadecimal",
        deliver(f"id:77 sub:001 dlvrd:000 {DATES} stat:UNDELIV err:0x1B text:"),
        "77",
        S.UNDELIVERABLE,
        "0x1B",
        "2503041531",
    ),
    (
        "error in words",
        deliver(f"id:77 {DATES} stat:UNDELIV err:AbsentSubscriber text:"),
        "77",
        S.UNDELIVERABLE,
        "AbsentSubscriber",
        "2503041531",
    ),
    ("msgid", deliver("msgid:77 stat:DELIVRD err:000"), "77", S.DELIVERED, "000", None),
    (
        "text of letters with accents in Latin-1",
        deliver("id:77 stat:DELIVRD err:000 text:C\xe0nh b\xe1o".encode("latin-1")),
        "77",
        S.DELIVERED,
        "000",
        None,
    ),
    (
        "payload in UCS-2",
        deliver(b"", data_coding=8, tlvs={Tag.MESSAGE_PAYLOAD: ucs2(STANDARD)}),
        "1234567890",
        S.DELIVERED,
        "000",
        "2503041531",
    ),
    ("state by parameter, id in the text", deliver(STANDARD, tlvs={0x427: b"\3"}), "1234567890", S.EXPIRED, "000", "2503041531"),
    ("id by parameter, state in the text", deliver("stat:DELIVRD err:000", tlvs={0x1E: b"77\0"}), "77", S.DELIVERED, "000", None),
]


def test_the_corpus_is_wide_enough() -> None:
    assert len({(body.short_message, tuple(body.tlvs.items()), body.data_coding) for _, body, *_ in CORPUS}) >= 65


@pytest.mark.parametrize(
    ("message_id", "state", "error", "done", "body"),
    [pytest.param(message_id, state, error, done, body, id=name) for name, body, message_id, state, error, done in CORPUS],
)
def test_corpus(message_id: str, state: ReceiptState, error: str | None, done: str | None, body: DeliverSm) -> None:
    assert classify(body) == "receipt"
    receipt = parse_receipt(body)
    assert receipt is not None
    assert (receipt.message_id, receipt.state, receipt.error, receipt.done_date) == (message_id, state, error, done)


def test_the_whole_of_a_receipt() -> None:
    assert parse_receipt(deliver(STANDARD)) == Receipt(
        "1234567890", S.DELIVERED, "DELIVRD", "000", "2503041530", "2503041531", 1, 1, "Canh bao lua dao", "1234567890", STANDARD
    )


def test_both_ids_are_kept_when_they_differ() -> None:
    receipt = parse_receipt(deliver(STANDARD, tlvs={0x1E: b"499602D2\0"}))
    assert receipt is not None
    assert (receipt.message_id, receipt.text_id) == ("499602D2", "1234567890")
    assert normal_id(receipt.message_id, "hex") == normal_id(str(receipt.text_id), "dec")


COMMA = receipt_dialect(Grammar.COMMA, {})

# A text in the comma grammar, and the id, state, error, done date and text that must come out.
POSITIONAL: list[tuple[str, tuple[str, ReceiptState, str | None, str | None, str | None]]] = [
    ("77,001,001,2503041530,2503041531,DELIVRD,000,Canh bao", ("77", S.DELIVERED, "000", "2503041531", "Canh bao")),
    ("77,001,000,2503041530,2503041531,UNDELIV,027", ("77", S.UNDELIVERABLE, "027", "2503041531", None)),
    ("a1-f,,,2503041530,2503041531,expired", ("a1-f", S.EXPIRED, None, "2503041531", None)),
    (" 77 , 1 , 1 , 250304153011 , 250304153112 , 2 , 0 , a, b, c", ("77", S.DELIVERED, "0", "250304153112", "a, b, c")),
    (
        "'77',1,1,\"2025-03-04 15:30:11\",\"2025-03-04 15:31:12\",'REJECTD','1A'",
        ("77", S.REJECTED, "1A", "2025-03-04 15:31:12", None),
    ),
    ("77,1,1,,,FOOBAR,000,", ("77", S.UNKNOWN, "000", None, None)),
    ("77,1,1,2503041530,2503041531,DELIVRD,000,id:9 stat:UNDELIV", ("77", S.DELIVERED, "000", "2503041531", "id:9 stat:UNDELIV")),
]


@pytest.mark.parametrize(("text", "expected"), POSITIONAL)
@pytest.mark.parametrize("coding", [0, 8])
def test_f07_the_comma_grammar(
    text: str, expected: tuple[str, ReceiptState, str | None, str | None, str | None], coding: int
) -> None:
    body = deliver(ucs2(text) if coding else text, data_coding=coding)
    found = parse_receipt(body, COMMA)
    assert found is not None
    assert (found.message_id, found.state, found.error, found.done_date, found.text) == expected
    assert classify(body._replace(esm_class=0), COMMA) == "receipt"
    assert classify(body._replace(esm_class=0)) == "message"


@pytest.mark.parametrize(
    "text",
    [
        STANDARD,
        "",
        "TC",
        "Toi, vo toi, con toi, me toi, bo toi, ba toi, ong toi",
        "77,1,1,2503041530,2503041531",
        "77,x,1,2,3,DELIVRD",
    ],
)
def test_f07_what_is_not_of_the_comma_grammar_is_not_read_by_it(text: str) -> None:
    assert parse_receipt(deliver(text), COMMA) is None
    assert classify(deliver(text, esm_class=0), COMMA) == "message"


def test_f07_every_grammar_has_its_reading() -> None:
    assert set(GRAMMARS) == set(Grammar)


@given(st.text(max_size=120), st.sampled_from(Grammar))
def test_f07_no_grammar_raises(text: str, grammar: Grammar) -> None:
    body = deliver(ucs2(text), data_coding=8)
    dialect = receipt_dialect(grammar, {"X": S.DELIVERED, "err:1": S.EXPIRED})
    assert classify(body, dialect) == "receipt"
    parse_receipt(body, dialect)


OWN = {"hetHan": S.EXPIRED, "0200": S.DELIVERED, "err:45": S.REJECTED, "ERR:a1": S.DELETED, "ACCEPTD": S.DELIVERED}


@pytest.mark.parametrize(
    ("stat", "error", "number", "expected"),
    [
        ("HETHAN", "000", None, S.EXPIRED),
        ("DELIVRD", "045", None, S.REJECTED),
        ("HETHAN", "0045", None, S.REJECTED),
        ("HETHAN", "A1", None, S.DELETED),
        ("HETHAN", "000", 200, S.EXPIRED),
        ("OTHER", "000", 200, S.DELIVERED),
        ("OTHER", "000", 201, S.UNKNOWN),
        ("ACCEPTD", "000", None, S.DELIVERED),
        ("200", "000", None, S.DELIVERED),
        ("UNDELIV", "000", 2, S.DELIVERED),
        ("45", "000", None, S.UNKNOWN),
    ],
)
def test_f14_a_carriers_own_table_goes_ahead_of_the_standard(
    stat: str, error: str, number: int | None, expected: ReceiptState
) -> None:
    tlvs = {} if number is None else {Tag.MESSAGE_STATE: bytes([number])}
    body = deliver(f"id:77 {DATES} stat:{stat} err:{error}", tlvs=tlvs)
    found = parse_receipt(body, receipt_dialect(Grammar.SMPP, OWN))
    assert found is not None
    assert (found.state, found.stat) == (expected, stat)


def test_f14_a_number_that_no_standard_knows_is_kept_as_the_carriers_word() -> None:
    found = parse_receipt(deliver("", tlvs={Tag.RECEIPTED_MESSAGE_ID: b"77\0", Tag.MESSAGE_STATE: b"\xc8"}))
    assert found is not None
    assert (found.state, found.stat) == (S.UNKNOWN, "200")


def test_a_nul_inside_is_a_blank() -> None:
    found = parse_receipt(deliver(b"id:7\0 stat:DELIVRD\0err:0\x001"))
    assert found is not None
    assert "\0" not in found.raw
    assert (found.message_id, found.stat, found.error) == ("7", "DELIVRD", "0")


def test_f02_an_id_never_grows_beyond_what_a_table_keeps() -> None:
    assert normal_id("f" * 64, "hex") == str(16**64 - 1)
    assert len(normal_id("f" * 64, "hex")) == 78
    assert normal_id("9" * 300) == "9" * 80


@pytest.mark.parametrize(
    ("raw", "normal", "spelt"),
    [("a1", "a1", None), ("00A1", "a1", "00A1"), ("A1", "161", "A1"), (None, None, None), ("Z" * 90, "z" * 80, "Z" * 80)],
)
def test_the_carriers_own_spelling_is_kept_where_the_normal_form_does_not_tell(raw, normal, spelt):
    assert own_spelling(raw, normal) == spelt
    assert normal_id("f" * 65, "hex") == "f" * 65


def test_the_first_of_a_repeated_field_counts() -> None:
    receipt = parse_receipt(deliver("id:1 id:2 stat:DELIVRD stat:REJECTD"))
    assert receipt is not None
    assert (receipt.message_id, receipt.stat) == ("1", "DELIVRD")


@pytest.mark.parametrize("counts", ["sub:x dlvrd:", "sub:-1 dlvrd:1e5", "sub:99999999999 dlvrd:²"])
def test_counts_that_are_no_numbers_are_none(counts: str) -> None:
    receipt = parse_receipt(deliver(f"id:1 {counts} stat:DELIVRD"))
    assert receipt is not None
    assert (receipt.sub, receipt.dlvrd) == (None, None)


@pytest.mark.parametrize(
    "body",
    [deliver(b""), deliver("TC"), deliver("stat:DELIVRD err:000"), deliver(b"\x05", esm_class=0x44), deliver("id: stat:DELIVRD")],
)
def test_a_receipt_without_an_id_is_none(body: DeliverSm) -> None:
    assert parse_receipt(body) is None


def test_a_receipt_shows_neither_text_nor_number() -> None:
    receipt = parse_receipt(deliver("id:1 stat:DELIVRD text:84901234567"))
    assert "84901234567" not in repr(receipt)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        *((deliver("TC", esm_class=bits), "receipt") for bits in (0x04, 0x08, 0x10, 0x20, 0x44)),
        *((deliver("TC", esm_class=bits), "message") for bits in (0x00, 0x03, 0x40, 0x80, 0xC3)),
        (deliver("TC", esm_class=0, tlvs={0x1E: b"7\0"}), "receipt"),
        (deliver(STANDARD, esm_class=0), "receipt"),
        (deliver(ucs2(STANDARD), esm_class=0, data_coding=8), "receipt"),
        (deliver("id:77 xin chao", esm_class=0), "message"),
        (deliver("toi nhan id:77 stat:DELIVRD", esm_class=0), "message"),
        (deliver(b"", esm_class=0), "message"),
        (DataSm("1", "2", tlvs={Tag.MESSAGE_PAYLOAD: STANDARD.encode()}), "receipt"),
        (DataSm("1", "2", tlvs={Tag.MESSAGE_PAYLOAD: b"TC"}), "message"),
    ],
)
def test_classification(body: DeliverSm | DataSm, expected: str) -> None:
    assert classify(body) == expected


def test_the_text_of_a_message() -> None:
    assert content(deliver(ucs2("TỪ CHỐI"), esm_class=0, data_coding=8)) == "TỪ CHỐI"
    assert content(deliver(b"\x05\0\x03\x09\x02\x01" + ucs2("TỪ"), esm_class=0x40, data_coding=8)) == "TỪ"
    assert content(deliver(ucs2("TC") + b"\xd8", esm_class=0, data_coding=8)).startswith("TC")


@given(
    st.text("0123456789abcdefABCDEF-", min_size=1, max_size=64),
    st.sampled_from(ReceiptState),
    st.datetimes(dt.datetime.fromisoformat("2000-01-01"), dt.datetime.fromisoformat("2060-01-01")),
    st.integers(0, 999),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)
def test_what_we_write_we_read(message_id: str, state: ReceiptState, at: dt.datetime, sub: int, text: str) -> None:
    raw = format_receipt(message_id, state, at, at, sub=sub, error="1F", text=text)
    receipt = parse_receipt(deliver(raw))
    assert receipt is not None
    assert receipt[:1] + receipt[3:4] + receipt[6:] == (
        message_id,
        "1F",
        sub,
        sub if state is S.DELIVERED else 0,
        text,
        message_id,
        raw,
    )
    assert receipt.state is state
    assert receipt_time(receipt.done_date, dt.UTC) == at.replace(second=0, microsecond=0, tzinfo=dt.UTC)
    common = COMMON.fullmatch(raw)
    assert common is not None
    assert [found or None for found in common.groups()] == [found or None for found in scan(raw)]


def test_the_written_form() -> None:
    at = dt.datetime(2025, 3, 4, 15, 30, tzinfo=dt.UTC)
    written = format_receipt("7", S.UNDELIVERABLE, at, at, sub=3, dlvrd=2, error="1F", text="x" * 30)
    assert written == f"id:7 sub:003 dlvrd:002 submit date:2503041530 done date:2503041530 stat:UNDELIV err:1F text:{'x' * 20}"


@pytest.mark.parametrize(("message_id", "error"), [("", "0"), ("a b", "0"), ("1", ""), ("1", "0 0")])
def test_a_receipt_that_could_not_be_read_is_not_written(message_id: str, error: str) -> None:
    at = dt.datetime(2025, 3, 4, tzinfo=dt.UTC)
    with pytest.raises(LocalProtocolError):
        format_receipt(message_id, S.DELIVERED, at, at, error=error)


@given(
    st.text(max_size=120),
    st.integers(0, 255),
    st.sampled_from([0, 8]),
    st.dictionaries(st.sampled_from([0x1E, 0x423, 0x424, 0x427]), st.binary(max_size=20)),
)
@settings(max_examples=300)
def test_nothing_in_a_message_raises(text: str, esm_class: int, coding: int, tlvs: dict[int, bytes]) -> None:
    octets = text.encode("utf-16-be" if coding else "utf-8", "surrogatepass")
    body = deliver(octets, esm_class=esm_class, data_coding=coding, tlvs=tlvs)
    classify(body)
    receipt = parse_receipt(body)
    if receipt is not None:
        receipt_time(receipt.done_date, dt.UTC)
        normal_id(receipt.message_id, "hex")


@given(st.sampled_from([line[1] for line in CORPUS if line[1].short_message]), st.data())
@settings(max_examples=300)
def test_mutations_of_the_corpus_raise_nothing(body: DeliverSm, data: st.DataObject) -> None:
    octets = bytearray(body.short_message)
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    receipt = parse_receipt(body._replace(short_message=bytes(octets)))
    assert receipt is None or receipt.message_id


@pytest.mark.parametrize(
    ("resp", "resp_form", "dlr", "dlr_form"),
    [
        ("00B8BE19", "raw", "B8BE19", "raw"),
        ("00B8BE19", "raw", "00b8be19", "raw"),
        ("499602D2", "hex", "1234567890", "dec"),
        ("0x499602d2", "hex", "0001234567890", "dec"),
        ("1234567890", "dec", "499602d2", "hex"),
        ("499602D2\0", "hex", "00000000499602d2", "hex"),
        (" 77 ", "dec", "077", "dec"),
        ("msg-7", "hex", "MSG-7", "hex"),
        ("000", "raw", "0", "raw"),
        ("0", "hex", "0", "dec"),
    ],
)
def test_spellings_of_one_id_meet(resp: str, resp_form: IdForm, dlr: str, dlr_form: IdForm) -> None:
    assert normal_id(resp, resp_form) == normal_id(dlr, dlr_form) != ""


def test_different_ids_stay_different() -> None:
    assert normal_id("10", "hex") != normal_id("10", "dec")
    assert normal_id("a0", "raw") != normal_id("a", "raw")
    assert normal_id("1_0", "hex") == "1_0"
    assert normal_id("") == ""


@given(st.integers(0, 2**64 - 1), st.integers(0, 8))
def test_hex_and_dec_meet_for_every_number(number: int, zeros: int) -> None:
    assert normal_id("0" * zeros + f"{number:X}", "hex") == normal_id(f"{number:020d}", "dec") == str(number)


VIETNAM = dt.timezone(dt.timedelta(hours=7))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2503041531", dt.datetime(2025, 3, 4, 15, 31, tzinfo=VIETNAM)),
        ("250304153112", dt.datetime(2025, 3, 4, 15, 31, 12, tzinfo=VIETNAM)),
        ("202513041531", None),
        ("202503041531", dt.datetime(2025, 3, 4, 15, 31, tzinfo=VIETNAM)),
        ("20250304153112", dt.datetime(2025, 3, 4, 15, 31, 12, tzinfo=VIETNAM)),
        ("2025-03-04 15:31:12", dt.datetime(2025, 3, 4, 15, 31, 12, tzinfo=VIETNAM)),
        ("2025-03-04T15:31:12", dt.datetime(2025, 3, 4, 15, 31, 12, tzinfo=VIETNAM)),
        ("2025/03/04 15:31:12", dt.datetime(2025, 3, 4, 15, 31, 12, tzinfo=VIETNAM)),
        ("2025-03-04 15:31", dt.datetime(2025, 3, 4, 15, 31, tzinfo=VIETNAM)),
        ("1741077072", dt.datetime(2025, 3, 4, 15, 31, 12, tzinfo=VIETNAM)),
        ("1741077072000", dt.datetime(2025, 3, 4, 15, 31, 12, tzinfo=VIETNAM)),
        ("25030415", None),
        ("20259904153112", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_dates(raw: str | None, expected: dt.datetime | None) -> None:
    assert receipt_time(raw, VIETNAM) == expected
