"""Bodies to bytes and back. Our own requests are laid out by `requests.py`; everything else is here."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias, TypeVar

from broadcaster.smpp import requests
from broadcaster.smpp.bodies import (
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
    GenericNack,
    Outbind,
    QuerySm,
    QuerySmResp,
    SubmitSm,
    SubmitSmResp,
    Unbind,
    UnbindResp,
    Unknown,
)
from broadcaster.smpp.errors import FieldError, LocalProtocolError
from broadcaster.smpp.fields import NO_TLVS, Cursor, c_string, checked_int, read_tlvs, write_tlvs
from broadcaster.smpp.requests import HEADER_OCTETS, MOST_ADDRESS, MOST_MESSAGE_ID, MOST_SERVICE_TYPE, MOST_TIME

HEADER: Final = struct.Struct(">IIII")

# Everything ahead of the message text in submit_sm and deliver_sm; one match costs a third of reading field by field, and nothing
# is ever given back (`*+`), which halves it. What stands before and behind the subscriber's address (of whom we write to, or who
# writes to us) hardly differs from message to message, so it is left to `_surroundings`.
_SUBMIT_SM_HEAD: Final = re.compile(rb"([^\0]*+\0..[^\0]*+\0..)([^\0]*+)\0(...[^\0]*+\0[^\0]*+\0....)(.)", re.DOTALL)
_DELIVER_SM_HEAD: Final = re.compile(rb"([^\0]*+\0..)([^\0]*+)\0(..[^\0]*+\0...[^\0]*+\0[^\0]*+\0....)(.)", re.DOTALL)

_Surroundings: TypeAlias = tuple[str, tuple[str | int, ...]]
"""The other address, and the fields from source_ton to service_type in the order of `_ShortMessage`."""

_ShortMessage = TypeVar("_ShortMessage", SubmitSm, DeliverSm)


def encode(body: Body, sequence: int, status: int = 0) -> bytes:
    """Write one complete PDU, header and body (3.2). Raises LocalProtocolError when a field does not fit."""
    octets = _WRITERS[type(body)](body)
    return header(HEADER_OCTETS + len(octets), body.command, status, sequence) + octets


def header(length: int, command: int, status: int, sequence: int) -> bytes:
    """Write a PDU header (3.2, 5.1). Raises LocalProtocolError when a number exceeds 32 bits."""
    try:
        return HEADER.pack(length, command, status, sequence)
    except struct.error:
        raise LocalProtocolError(f"header field beyond 32 bits: command {command}, status {status}, sequence {sequence}") from None


def decode(command: int, body: bytes) -> Body:
    """Read the body of a PDU (chapter 4); Unknown for commands this package does not speak. Raises FieldError."""
    reader = _READERS.get(command)
    return Unknown(command, body) if reader is None else reader(body)


@lru_cache(maxsize=256)
def _surroundings(before: bytes, behind: bytes, sent: bool) -> _Surroundings:
    """Read what stands around the subscriber's address."""
    at, rest = Cursor(before), Cursor(behind)
    service_type = at.text()
    source_kind = at.octet(), at.octet()
    if sent:
        other = at.text()
        dest_kind = at.octet(), at.octet()
    else:
        dest_kind = rest.octet(), rest.octet()
        other = rest.text()
    octets = rest.octet(), rest.octet(), rest.octet()
    times = rest.text(), rest.text()
    flags = rest.octet(), rest.octet(), rest.octet(), rest.octet()
    return other, (*source_kind, *dest_kind, *octets, *times, *flags, service_type)


def decode_short_message(kind: type[_ShortMessage], body: bytes) -> _ShortMessage:
    """Read submit_sm (4.4.1) or deliver_sm (4.6.1). Raises FieldError (F23: no NUL, sm_length too great, broken parameters)."""
    sent = kind is SubmitSm
    head = (_SUBMIT_SM_HEAD if sent else _DELIVER_SM_HEAD).match(body)
    if head is None:
        raise FieldError("mandatory fields are cut short")
    before, subscriber, behind, length = head.groups()
    surroundings: _Surroundings = _surroundings(before, behind, sent)
    other = surroundings[0]
    address = subscriber.decode("latin-1")
    start = head.end()
    end = start + length[0]
    if end > len(body):
        raise FieldError(f"sm_length {length[0]}, but {len(body) - start} octets are left")
    source, destination = (other, address) if sent else (address, other)
    tlvs = read_tlvs(body, end) if end < len(body) else NO_TLVS
    return tuple.__new__(kind, (source, destination, body[start:end], *surroundings[1], tlvs))


def _write_address(name: str, ton: int, npi: int, address: str) -> bytes:
    return bytes((checked_int(f"{name}_ton", ton), checked_int(f"{name}_npi", npi))) + c_string(name, address, MOST_ADDRESS)


def _write_bind_resp(body: BindResp) -> bytes:
    return c_string("system_id", body.system_id, 15) + write_tlvs(body.tlvs)


def _write_submit_sm_resp(body: SubmitSmResp) -> bytes:
    if body.message_id is None:
        return b""
    return c_string("message_id", body.message_id, MOST_MESSAGE_ID) + write_tlvs(body.tlvs)


def _write_deliver_sm(body: DeliverSm) -> bytes:
    octets = (
        ("esm_class", body.esm_class),
        ("protocol_id", body.protocol_id),
        ("priority_flag", body.priority_flag),
    )
    flags = (
        ("registered_delivery", body.registered_delivery),
        ("replace_if_present_flag", body.replace_if_present_flag),
        ("data_coding", body.data_coding),
        ("sm_default_msg_id", body.sm_default_msg_id),
        ("sm_length", len(body.short_message)),
    )
    return b"".join(
        (
            c_string("service_type", body.service_type, MOST_SERVICE_TYPE),
            _write_address("source", body.source_ton, body.source_npi, body.source),
            _write_address("destination", body.dest_ton, body.dest_npi, body.destination),
            bytes(checked_int(name, value) for name, value in octets),
            c_string("schedule_delivery_time", body.schedule_delivery_time, MOST_TIME),
            c_string("validity_period", body.validity_period, MOST_TIME),
            bytes(checked_int(name, value) for name, value in flags),
            body.short_message,
            write_tlvs(body.tlvs),
        )
    )


def _write_data_sm(body: DataSm) -> bytes:
    return b"".join(
        (
            c_string("service_type", body.service_type, MOST_SERVICE_TYPE),
            _write_address("source", body.source_ton, body.source_npi, body.source),
            _write_address("destination", body.dest_ton, body.dest_npi, body.destination),
            bytes(
                (
                    checked_int("esm_class", body.esm_class),
                    checked_int("registered_delivery", body.registered_delivery),
                    checked_int("data_coding", body.data_coding),
                )
            ),
            write_tlvs(body.tlvs),
        )
    )


def _write_data_sm_resp(body: DataSmResp) -> bytes:
    return c_string("message_id", body.message_id, MOST_MESSAGE_ID) + write_tlvs(body.tlvs)


def _write_query_sm_resp(body: QuerySmResp) -> bytes:
    return (
        c_string("message_id", body.message_id, MOST_MESSAGE_ID)
        + c_string("final_date", body.final_date, MOST_TIME)
        + bytes((checked_int("message_state", body.message_state), checked_int("error_code", body.error_code)))
    )


def _write_cancel_sm(body: CancelSm) -> bytes:
    return (
        c_string("service_type", body.service_type, MOST_SERVICE_TYPE)
        + c_string("message_id", body.message_id, MOST_MESSAGE_ID)
        + _write_address("source", body.source_ton, body.source_npi, body.source)
        + _write_address("destination", body.dest_ton, body.dest_npi, body.destination)
    )


def _write_alert_notification(body: AlertNotification) -> bytes:
    return (
        _write_address("source", body.source_ton, body.source_npi, body.source)
        + _write_address("esme", body.esme_ton, body.esme_npi, body.esme)
        + write_tlvs(body.tlvs)
    )


def _write_outbind(body: Outbind) -> bytes:
    return c_string("system_id", body.system_id, 15) + c_string("password", body.password, 8)


_WRITERS: Final[dict[type, Callable[..., bytes]]] = {
    **dict.fromkeys((Bind, SubmitSm, QuerySm, EnquireLink, Unbind), requests.build),
    Unknown: lambda body: body.body,
    BindResp: _write_bind_resp,
    SubmitSmResp: _write_submit_sm_resp,
    DeliverSm: _write_deliver_sm,
    DeliverSmResp: lambda _: b"\0",
    DataSm: _write_data_sm,
    DataSmResp: _write_data_sm_resp,
    QuerySmResp: _write_query_sm_resp,
    CancelSm: _write_cancel_sm,
    CancelSmResp: lambda _: b"",
    UnbindResp: lambda _: b"",
    EnquireLinkResp: lambda _: b"",
    GenericNack: lambda _: b"",
    AlertNotification: _write_alert_notification,
    Outbind: _write_outbind,
}


def _read_bind(kind: BindKind, body: bytes) -> Bind:
    at = Cursor(body)
    return Bind(kind, at.text(), at.text(), at.text(), at.octet(), at.octet(), at.octet(), at.text())


def _read_bind_resp(kind: BindKind, body: bytes) -> BindResp:
    if not body:
        return BindResp(kind)
    at = Cursor(body)
    return BindResp(kind, at.text(), at.tlvs())


def _read_submit_sm_resp(body: bytes) -> SubmitSmResp:
    if not body:
        return SubmitSmResp()
    at = Cursor(body)
    return SubmitSmResp(at.text(), at.tlvs())


def _read_data_sm(body: bytes) -> DataSm:
    at = Cursor(body)
    service_type = at.text()
    source_ton, source_npi, source = at.octet(), at.octet(), at.text()
    dest_ton, dest_npi, destination = at.octet(), at.octet(), at.text()
    return DataSm(
        source,
        destination,
        source_ton,
        source_npi,
        dest_ton,
        dest_npi,
        esm_class=at.octet(),
        registered_delivery=at.octet(),
        data_coding=at.octet(),
        service_type=service_type,
        tlvs=at.tlvs(),
    )


def _read_data_sm_resp(body: bytes) -> DataSmResp:
    if not body:
        return DataSmResp()
    at = Cursor(body)
    return DataSmResp(at.text(), at.tlvs())


def _read_query_sm(body: bytes) -> QuerySm:
    at = Cursor(body)
    message_id, source_ton, source_npi, source = at.text(), at.octet(), at.octet(), at.text()
    return QuerySm(message_id, source, source_ton, source_npi)


def _read_query_sm_resp(body: bytes) -> QuerySmResp:
    at = Cursor(body)
    return QuerySmResp(at.text(), at.text(), at.octet(), at.octet())


def _read_cancel_sm(body: bytes) -> CancelSm:
    at = Cursor(body)
    service_type, message_id = at.text(), at.text()
    source_ton, source_npi, source = at.octet(), at.octet(), at.text()
    dest_ton, dest_npi, destination = at.octet(), at.octet(), at.text()
    return CancelSm(message_id, source, destination, source_ton, source_npi, dest_ton, dest_npi, service_type)


def _read_alert_notification(body: bytes) -> AlertNotification:
    at = Cursor(body)
    source_ton, source_npi, source = at.octet(), at.octet(), at.text()
    esme_ton, esme_npi, esme = at.octet(), at.octet(), at.text()
    return AlertNotification(source, esme, source_ton, source_npi, esme_ton, esme_npi, at.tlvs())


def _read_outbind(body: bytes) -> Outbind:
    at = Cursor(body)
    return Outbind(at.text(), at.text())


# Commands whose body says nothing are read whatever octets follow their header.
_READERS: Final[dict[int, Callable[[bytes], Body]]] = {
    Command.BIND_RECEIVER: lambda body: _read_bind(BindKind.RECEIVER, body),
    Command.BIND_TRANSMITTER: lambda body: _read_bind(BindKind.TRANSMITTER, body),
    Command.BIND_TRANSCEIVER: lambda body: _read_bind(BindKind.TRANSCEIVER, body),
    Command.BIND_RECEIVER_RESP: lambda body: _read_bind_resp(BindKind.RECEIVER, body),
    Command.BIND_TRANSMITTER_RESP: lambda body: _read_bind_resp(BindKind.TRANSMITTER, body),
    Command.BIND_TRANSCEIVER_RESP: lambda body: _read_bind_resp(BindKind.TRANSCEIVER, body),
    Command.SUBMIT_SM: lambda body: decode_short_message(SubmitSm, body),
    Command.SUBMIT_SM_RESP: _read_submit_sm_resp,
    Command.DELIVER_SM: lambda body: decode_short_message(DeliverSm, body),
    Command.DELIVER_SM_RESP: lambda _: DeliverSmResp(),
    Command.DATA_SM: _read_data_sm,
    Command.DATA_SM_RESP: _read_data_sm_resp,
    Command.QUERY_SM: _read_query_sm,
    Command.QUERY_SM_RESP: _read_query_sm_resp,
    Command.CANCEL_SM: _read_cancel_sm,
    Command.CANCEL_SM_RESP: lambda _: CancelSmResp(),
    Command.UNBIND: lambda _: Unbind(),
    Command.UNBIND_RESP: lambda _: UnbindResp(),
    Command.ENQUIRE_LINK: lambda _: EnquireLink(),
    Command.ENQUIRE_LINK_RESP: lambda _: EnquireLinkResp(),
    Command.GENERIC_NACK: lambda _: GenericNack(),
    Command.ALERT_NOTIFICATION: _read_alert_notification,
    Command.OUTBIND: _read_outbind,
}
