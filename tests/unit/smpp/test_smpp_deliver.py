"""The spliced deliver_sm is octet for octet the one built as a whole, and travels as it does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.smpp import (
    Bind,
    BindKind,
    BindResp,
    Delivered,
    DeliverSm,
    DeliverSmResp,
    DeliverTemplate,
    GenericNack,
    LocalProtocolError,
    Responded,
    Role,
    Session,
    SubmitSmResp,
    Tag,
    encode,
)

FIXED = {"source_ton": 1, "source_npi": 1, "dest_ton": 5, "esm_class": 4, "data_coding": 3, "service_type": "CMT"}
TEMPLATE = DeliverTemplate(DeliverSm("", "", **FIXED))  # type: ignore[arg-type]
ADDRESS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


def bound(kind: BindKind = BindKind.TRANSCEIVER, window: int = 10) -> tuple[Session, Session]:
    esme, smsc = Session(Role.ESME), Session(Role.SMSC, window=window)
    esme.bind(Bind(kind, "esme", "secret"), 0.0)
    smsc.receive(esme.outgoing(), 0.0)
    smsc.respond(1, BindResp(kind, "smsc"))
    esme.receive(smsc.outgoing(), 0.0)
    return esme, smsc


@given(
    ADDRESS,
    ADDRESS,
    st.binary(max_size=255),
    st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=30), max_size=3),
    st.integers(1, 0x7FFFFFFF),
)
def test_a_spliced_pdu_is_the_whole_pdu(source: str, destination: str, text: bytes, tlvs: dict[int, bytes], sequence: int) -> None:
    whole = DeliverSm(source, destination, text, **FIXED, tlvs=tlvs)  # type: ignore[arg-type]
    assert TEMPLATE.splice(sequence, source.encode(), destination.encode(), text, tlvs) == encode(whole, sequence)


@pytest.mark.parametrize("own", [{"source": "1"}, {"destination": "1"}, {"short_message": b"1"}, {"tlvs": {1: b""}}])
def test_a_template_lacks_what_is_spliced(own: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError, match="a template has no"):
        DeliverTemplate(DeliverSm("", "")._replace(**own))


@pytest.mark.parametrize(
    ("source", "destination", "text", "tlvs", "reason"),
    [
        (b"1" * 21, b"1", b"", {}, "addresses"),
        (b"1", b"1" * 21, b"", {}, "addresses"),
        (b"\0", b"1", b"", {}, "addresses"),
        (b"1", b"\0", b"", {}, "addresses"),
        (b"1", b"1", b"x" * 256, {}, "short_message"),
        (b"1", b"1", b"", {0x10000: b""}, "optional parameter"),
    ],
)
def test_what_does_not_fit_is_refused(source: bytes, destination: bytes, text: bytes, tlvs: dict[int, bytes], reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        TEMPLATE.splice(1, source, destination, text, tlvs)


def test_a_spliced_receipt_is_delivered_and_acknowledged() -> None:
    esme, smsc = bound()
    tlvs = {Tag.RECEIPTED_MESSAGE_ID: b"7\0", Tag.MESSAGE_STATE: b"\2"}
    sequence = smsc.deliver(TEMPLATE, b"84901234567", b"CATINH", b"id:7 stat:DELIVRD", "receipt", 0.0, tlvs)
    body = DeliverSm("84901234567", "CATINH", b"id:7 stat:DELIVRD", **FIXED, tlvs=tlvs)  # type: ignore[arg-type]
    assert esme.receive(smsc.outgoing(), 0.0) == [Delivered(sequence, body)]
    esme.acknowledge([sequence])
    assert smsc.receive(esme.outgoing(), 0.0) == [Responded("receipt", DeliverSmResp(), 0)]


def test_many_are_acknowledged_at_once_and_no_other_is() -> None:
    esme, smsc = bound()
    sequences = [smsc.deliver(TEMPLATE, b"1", b"2", b"", row, 0.0) for row in range(3)]
    once = smsc.outgoing()
    esme.receive(once + once, 0.0)
    esme.acknowledge([*sequences, sequences[0]], 0x65)
    assert esme.outgoing() == b"".join(encode(DeliverSmResp(), sequence, 0x65) for sequence in [*sequences, sequences[0]])
    with pytest.raises(LocalProtocolError, match="under 9 waits"):
        esme.acknowledge([sequences[1], 9, sequences[2]])
    assert len(esme.outgoing()) == len(encode(DeliverSmResp(), 1))
    esme.respond(sequences[2], GenericNack(), 0x03)
    esme.close()
    with pytest.raises(LocalProtocolError, match="is closed"):
        esme.acknowledge([])


def test_a_delivery_needs_a_receiving_bind_and_room() -> None:
    for session in (bound(BindKind.TRANSMITTER)[1], bound()[0]):
        with pytest.raises(LocalProtocolError, match="may not send"):
            session.deliver(TEMPLATE, b"1", b"2", b"", None, 0.0)
    esme, smsc = bound(window=1)
    smsc.deliver(TEMPLATE, b"1", b"2", b"", None, 0.0)
    with pytest.raises(LocalProtocolError, match="window of 1 is full"):
        smsc.deliver(TEMPLATE, b"1", b"2", b"", None, 0.0)
    with pytest.raises(LocalProtocolError, match="waits for SubmitSmResp"):
        smsc.respond(1, SubmitSmResp("1"))
    assert esme.room == 10
