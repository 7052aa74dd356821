"""The codec: round trips, oracles, broken bodies (F23, S3–S7), field checks (S21, S22), masked reprs."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
import smpp34
from hypothesis import given, settings
from hypothesis import strategies as st
from smpplib import smpp as smpplib_smpp

from broadcaster.smpp import (
    AlertNotification,
    Bind,
    BindKind,
    BindResp,
    Body,
    CancelSm,
    CancelSmResp,
    Command,
    DataSm,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    EnquireLink,
    EnquireLinkResp,
    FieldError,
    GenericNack,
    LocalProtocolError,
    Outbind,
    QuerySm,
    QuerySmResp,
    SubmitSm,
    SubmitSmResp,
    Tag,
    Unbind,
    UnbindResp,
    Unknown,
    decode,
    encode,
    masked,
    tlv_int,
    tlv_text,
)


def text(most: int, least: int = 0) -> st.SearchStrategy[str]:
    return st.text(st.characters(min_codepoint=1, max_codepoint=127), min_size=least, max_size=most)


OCTET = st.integers(0, 255)
ADDRESS = text(20)
TLVS = st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=30), max_size=4)
SHORT_MESSAGE: dict[str, st.SearchStrategy[Any]] = {
    "source": ADDRESS,
    "destination": ADDRESS,
    "short_message": st.binary(max_size=254),
    "source_ton": OCTET,
    "source_npi": OCTET,
    "dest_ton": OCTET,
    "dest_npi": OCTET,
    "esm_class": OCTET,
    "protocol_id": OCTET,
    "priority_flag": OCTET,
    "schedule_delivery_time": text(16),
    "validity_period": text(16),
    "registered_delivery": OCTET,
    "replace_if_present_flag": OCTET,
    "data_coding": OCTET,
    "sm_default_msg_id": OCTET,
    "service_type": text(5),
}
KIND = st.sampled_from(BindKind)
BIND = st.builds(
    Bind, KIND, text(15), text(8), text(12), addr_ton=OCTET, addr_npi=OCTET, address_range=text(40), interface_version=st.just(0x34)
)
SUBMIT = st.builds(SubmitSm, **SHORT_MESSAGE, tlvs=TLVS)
DELIVER = st.builds(DeliverSm, **SHORT_MESSAGE, tlvs=TLVS)
DATA = st.builds(
    DataSm,
    ADDRESS,
    ADDRESS,
    OCTET,
    OCTET,
    OCTET,
    OCTET,
    OCTET,
    registered_delivery=OCTET,
    data_coding=OCTET,
    service_type=text(5),
    tlvs=TLVS,
)
BODIES: st.SearchStrategy[Body] = st.one_of(
    BIND,
    st.builds(BindResp, KIND, text(15), TLVS),
    SUBMIT,
    DELIVER,
    DATA,
    st.builds(SubmitSmResp, text(64), TLVS),
    st.builds(DataSmResp, text(64), TLVS),
    st.builds(QuerySm, text(64, 1), ADDRESS, OCTET, OCTET),
    st.builds(QuerySmResp, text(64), text(16), OCTET, OCTET),
    st.builds(CancelSm, text(64), ADDRESS, ADDRESS, OCTET, OCTET, OCTET, OCTET, text(5)),
    st.builds(AlertNotification, ADDRESS, ADDRESS, OCTET, OCTET, OCTET, OCTET, TLVS),
    st.builds(Outbind, text(15), text(8)),
    st.sampled_from(
        [
            SubmitSmResp(),
            DeliverSmResp(),
            CancelSmResp(),
            Unbind(),
            UnbindResp(),
            EnquireLink(),
            EnquireLinkResp(),
            GenericNack(),
            Unknown(Command.REPLACE_SM, b"as it came"),
        ]
    ),
)
SEQUENCE = st.integers(0, 0xFFFFFFFF)


@given(BODIES, SEQUENCE, SEQUENCE)
@settings(max_examples=400)
def test_what_is_written_is_read_back(body: Body, sequence: int, status: int) -> None:
    pdu = encode(body, sequence, status)
    length, command, got_status, got_sequence = struct.unpack_from(">IIII", pdu)
    assert (length, command, got_status, got_sequence) == (len(pdu), body.command, status, sequence)
    again = decode(command, pdu[16:])
    assert type(again) is type(body)
    assert again == body


@given(BODIES)
@settings(max_examples=200)
def test_truncation_at_every_octet_gives_a_body_or_a_field_error(body: Body) -> None:
    octets = encode(body, 1)[16:]
    for end in range(len(octets)):
        try:
            decode(body.command, octets[:end])
        except FieldError:
            continue


@given(st.sampled_from([int(command) for command in Command]), st.binary(max_size=120))
@settings(max_examples=400)
def test_any_octets_give_a_body_or_a_field_error(command: int, octets: bytes) -> None:
    try:
        decode(command, octets)
    except FieldError:
        return


def test_an_unknown_body_is_written_as_it_is() -> None:
    assert encode(Unknown(0x00010200, b"vendor"), 5, 6) == struct.pack(">IIII", 22, 0x00010200, 6, 5) + b"vendor"


def test_every_command_without_reader_is_unknown() -> None:
    assert decode(0x00010200, b"vendor") == Unknown(0x00010200, b"vendor")
    assert decode(Command.SUBMIT_MULTI, b"") == Unknown(Command.SUBMIT_MULTI, b"")


@pytest.mark.parametrize("command", [Command.BIND_TRANSCEIVER_RESP, Command.SUBMIT_SM_RESP, Command.DATA_SM_RESP])
def test_a_refusing_response_may_have_no_body(command: Command) -> None:
    assert encode(decode(command, b""), 1)[4:8] == struct.pack(">I", command)


@given(SUBMIT, st.integers(1, 0x7FFFFFFF))
@settings(max_examples=300)
def test_submit_sm_is_what_smpp34_writes(body: SubmitSm, sequence: int) -> None:
    fields = {
        "source_addr_ton": body.source_ton,
        "source_addr_npi": body.source_npi,
        "dest_addr_ton": body.dest_ton,
        "dest_addr_npi": body.dest_npi,
    }
    same = ("service_type", "esm_class", "protocol_id", "priority_flag", "schedule_delivery_time", "validity_period")
    same += ("registered_delivery", "replace_if_present_flag", "data_coding", "sm_default_msg_id")
    oracle = smpp34.SubmitSm(
        body.source,
        body.destination,
        body.short_message,
        **fields,
        **{name: getattr(body, name) for name in same},
        tlvs=[smpp34.Tlv(tag, value) for tag, value in body.tlvs.items()],
        sequence_number=sequence,
    )
    assert encode(body, sequence) == oracle.encode()


@given(DELIVER, st.integers(1, 0x7FFFFFFF))
@settings(max_examples=300)
def test_smpp34_reads_the_deliver_sm_we_write(body: DeliverSm, sequence: int) -> None:
    oracle: Any = smpp34.decode(encode(body, sequence))
    assert type(oracle) is smpp34.DeliverSm
    assert (oracle.sequence_number, oracle.source_addr, oracle.destination_addr) == (sequence, body.source, body.destination)
    assert (oracle.source_addr_ton, oracle.source_addr_npi) == (body.source_ton, body.source_npi)
    assert (oracle.dest_addr_ton, oracle.dest_addr_npi) == (body.dest_ton, body.dest_npi)
    assert (oracle.esm_class, oracle.data_coding, oracle.short_message) == (body.esm_class, body.data_coding, body.short_message)
    assert {tlv.tag: tlv.value for tlv in oracle.tlvs} == body.tlvs


@given(st.builds(DeliverSm, **SHORT_MESSAGE), text(60, 1), OCTET, st.integers(0, 0xFFFF))
@settings(max_examples=300)
def test_smpplib_reads_deliver_sm_as_we_do(body: DeliverSm, message_id: str, state: int, reference: int) -> None:
    tlvs = {
        Tag.RECEIPTED_MESSAGE_ID: message_id.encode() + b"\0",
        Tag.MESSAGE_STATE: bytes([state]),
        Tag.USER_MESSAGE_REFERENCE: struct.pack(">H", reference),
    }
    pdu = encode(body._replace(tlvs=tlvs), 7)
    client = SimpleNamespace(sequence=0, next_sequence=lambda: 1)
    theirs = smpplib_smpp.parse_pdu(pdu, client=client, allow_unknown_opt_params=True)
    ours = decode(Command.DELIVER_SM, pdu[16:])
    assert isinstance(ours, DeliverSm)
    assert (theirs.source_addr.decode(), theirs.destination_addr.decode()) == (ours.source, ours.destination)
    assert (theirs.short_message, theirs.esm_class, theirs.data_coding) == (ours.short_message, ours.esm_class, ours.data_coding)
    assert (theirs.validity_period.decode(), theirs.service_type.decode()) == (ours.validity_period, ours.service_type)
    assert theirs.receipted_message_id.decode() == tlv_text(ours.tlvs, Tag.RECEIPTED_MESSAGE_ID) == message_id
    assert theirs.message_state == tlv_int(ours.tlvs, Tag.MESSAGE_STATE) == state
    assert theirs.user_message_reference == tlv_int(ours.tlvs, Tag.USER_MESSAGE_REFERENCE) == reference


@given(st.one_of(BIND, st.builds(QuerySm, text(64, 1), ADDRESS, OCTET, OCTET)), st.integers(1, 0x7FFFFFFF))
@settings(max_examples=100)
def test_smpplib_reads_our_requests(body: Bind | QuerySm, sequence: int) -> None:
    client = SimpleNamespace(sequence=0, next_sequence=lambda: 1)
    theirs = smpplib_smpp.parse_pdu(encode(body, sequence), client=client)
    assert (theirs.command, theirs.sequence, theirs.status) == (body.command.name.lower(), sequence, 0)
    if isinstance(body, Bind):
        assert (theirs.system_id.decode(), theirs.password.decode()) == (body.system_id, body.password)
        assert (theirs.interface_version, theirs.address_range.decode()) == (0x34, body.address_range)
    else:
        assert (theirs.message_id.decode(), theirs.source_addr.decode()) == (body.message_id, body.source)


MANDATORY = bytes.fromhex("00 0101 3834393031323334353637 00 0500 434154494e48 00 040000 00 00 00000000".replace(" ", ""))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "cut short"),
        (MANDATORY, "cut short"),
        (MANDATORY + b"\x05four", "sm_length 5"),
        (MANDATORY + b"\x02four", "2 octets left"),
        (MANDATORY + b"\x00\x1e", "1 octets left where"),
        (MANDATORY + b"\x00\x00\x1e", "2 octets left where"),
        (MANDATORY + b"\x00\x00\x1e\x00\x06short", "ends beyond"),
        (MANDATORY + b"\x00\x00\x1e\x00\x09short", "ends beyond"),
        (MANDATORY + b"\x00\x14\x01\xff\xffvendor", "ends beyond"),
    ],
)
def test_a_broken_short_message_is_a_field_error(body: bytes, reason: str) -> None:
    with pytest.raises(FieldError, match=reason):
        decode(Command.DELIVER_SM, body)


@pytest.mark.parametrize(
    ("tlvs", "expected"),
    [
        (b"\x04\x27\x00\x02\x00\x02", {0x427: b"\0\2"}),  # integer of another width (S6)
        (b"\x14\x01\x00\x03abc", {0x1401: b"abc"}),  # vendor tag
        (b"\x00\x1e\x00\x02ab\x00\x1e\x00\x02cd", {0x1E: b"ab"}),  # repeated tag: the first
        (b"\x00\x1d\x00\x00", {0x1D: b""}),  # a tag that smpplib knows elsewhere (S5)
    ],
)
def test_odd_parameters_are_kept_as_they_are(tlvs: bytes, expected: dict[int, bytes]) -> None:
    body = decode(Command.DELIVER_SM, MANDATORY + b"\0" + tlvs)
    assert isinstance(body, DeliverSm)
    assert body.tlvs == expected


@pytest.mark.parametrize(("raw", "number"), [(b"\2", 2), (b"\0\2", 2), (b"\0\0\0\2", 2), (b"", None), (None, None)])
def test_integers_of_any_width(raw: bytes | None, number: int | None) -> None:
    assert tlv_int({} if raw is None else {7: raw}, 7) == number


@pytest.mark.parametrize(("raw", "value"), [(b"1d305b4c\0", "1d305b4c"), (b"1d305b4c", "1d305b4c"), (b"ab\0\0", "ab"), (None, None)])
def test_strings_with_and_without_their_nul(raw: bytes | None, value: str | None) -> None:
    assert tlv_text({} if raw is None else {7: raw}, 7) == value


def test_a_string_without_nul_is_an_error_not_a_shorter_string() -> None:
    with pytest.raises(FieldError, match="no closing NUL"):
        decode(Command.SUBMIT_SM_RESP, b"12345678")


def test_latin_1_octets_survive() -> None:
    assert decode(Command.SUBMIT_SM_RESP, b"\xe9\xff\0") == SubmitSmResp("\xe9\xff")


GOOD_BIND = Bind(BindKind.TRANSCEIVER, "system", "password")
GOOD_SUBMIT = SubmitSm("CATINH", "84901234567", b"text")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (Bind(BindKind.TRANSCEIVER, "s" * 16, ""), "system_id"),
        (Bind(BindKind.TRANSCEIVER, "s", "123456789"), "password"),
        (Bind(BindKind.TRANSCEIVER, "s", "", "t" * 13), "system_type"),
        (Bind(BindKind.TRANSCEIVER, "s", "", interface_version=0x50), "interface_version"),
        (Bind(BindKind.TRANSCEIVER, "s", "", addr_ton=256), "addr_ton"),
        (Bind(BindKind.TRANSCEIVER, "s", "", addr_npi=-1), "addr_npi"),
        (Bind(BindKind.TRANSCEIVER, "s", "", address_range="9" * 41), "address_range"),
        (GOOD_SUBMIT._replace(source="s" * 21), "source"),
        (GOOD_SUBMIT._replace(source="Công an"), "source"),
        (GOOD_SUBMIT._replace(destination="1" * 21), "destination"),
        (GOOD_SUBMIT._replace(destination="1\x002"), "destination"),
        (GOOD_SUBMIT._replace(short_message=bytes(255)), "short_message"),
        (GOOD_SUBMIT._replace(service_type="123456"), "service_type"),
        (GOOD_SUBMIT._replace(validity_period="0" * 17), "validity_period"),
        (GOOD_SUBMIT._replace(esm_class=256), "esm_class"),
        (GOOD_SUBMIT._replace(tlvs={0x10000: b""}), "optional parameter"),
        (GOOD_SUBMIT._replace(tlvs={1: bytes(0x10000)}), "optional parameter"),
        (QuerySm("", "s"), "message_id"),
        (QuerySm("i" * 65, "s"), "message_id"),
        (DeliverSm("s", "d", bytes(256)), "sm_length"),
        (DeliverSm("s", "d", dest_ton=300), "destination_ton"),
        (CancelSm("", "s" * 21, "d"), "source"),
        (SubmitSmResp("i" * 65), "message_id"),
    ],
)
def test_a_field_that_does_not_fit_is_refused_by_name(body: Body, field: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{field}"):
        encode(body, 1)


@pytest.mark.parametrize("sequence", [-1, 0x100000000])
def test_a_header_number_that_does_not_fit_is_refused(sequence: int) -> None:
    with pytest.raises(LocalProtocolError, match="32 bits"):
        encode(EnquireLink(), sequence)


@pytest.mark.parametrize(
    ("address", "shown"), [("84901234567", "8490****567"), ("CATINH", "CATINH"), ("CONGANTINH", "CONGANTINH"), ("9099", "9099")]
)
def test_addresses_are_masked(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize(
    "body",
    [
        GOOD_SUBMIT,
        DeliverSm("84901234567", "9099", b"secret text"),
        DataSm("84901234567", "84901234567", tlvs={0x424: b"secret text"}),
        QuerySm("1", "84901234567"),
        CancelSm("1", "84901234567", "84901234567"),
        AlertNotification("84901234567", "x"),
        Bind(BindKind.RECEIVER, "s", "secret"),
        Outbind("s", "secret"),
        Unknown(1, b"84901234567 secret"),
    ],
)
def test_reprs_show_no_number_text_or_password(body: Body) -> None:
    shown = repr(body)
    assert type(body).__name__ in shown
    assert "84901234567" not in shown
    assert "secret" not in shown
