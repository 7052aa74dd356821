"""The only place that knows smpplib: it lays out our own requests, after every field was checked here (S21, S22)."""

from __future__ import annotations

from typing import TypeAlias

from smpplib import smpp

from broadcaster.smpp.bodies import Bind, EnquireLink, QuerySm, SubmitSm, Unbind
from broadcaster.smpp.errors import LocalProtocolError
from broadcaster.smpp.fields import checked_int, checked_text, write_tlvs

HEADER_OCTETS = 16

MOST_ADDRESS = 20
MOST_MESSAGE_ID = 64
MOST_SHORT_MESSAGE = 254
MOST_SERVICE_TYPE = 5
MOST_TIME = 16

OwnRequest: TypeAlias = Bind | SubmitSm | QuerySm | EnquireLink | Unbind


def build(body: OwnRequest) -> bytes:
    """Return the body octets of one of our requests. Raises LocalProtocolError when a field does not fit."""
    match body:
        case Bind():
            return _generate(body.command.name.lower(), **_bind_fields(body))
        case SubmitSm():
            return _generate("submit_sm", **_submit_fields(body)) + write_tlvs(body.tlvs)
        case QuerySm():
            return _generate("query_sm", **_query_fields(body))
        case _:
            return _generate(body.command.name.lower())


def _generate(command: str, **fields: str | int | bytes) -> bytes:
    # A sequence number is given so that smpplib asks no client for one (S25); the header is written by `pdu.encode`.
    generated: bytes = smpp.make_pdu(command, sequence=1, **fields).generate()
    return generated[HEADER_OCTETS:]


def _bind_fields(bind: Bind) -> dict[str, str | int | bytes]:
    if bind.interface_version != 0x34:
        raise LocalProtocolError(f"interface_version: 0x{bind.interface_version:02X}, only 0x34 is spoken")
    return {
        "system_id": checked_text("system_id", bind.system_id, 15),
        "password": checked_text("password", bind.password, 8),
        "system_type": checked_text("system_type", bind.system_type, 12),
        "addr_ton": checked_int("addr_ton", bind.addr_ton),
        "addr_npi": checked_int("addr_npi", bind.addr_npi),
        "address_range": checked_text("address_range", bind.address_range, 40),
    }


def _submit_fields(submit: SubmitSm) -> dict[str, str | int | bytes]:
    if len(submit.short_message) > MOST_SHORT_MESSAGE:
        raise LocalProtocolError(f"short_message: {len(submit.short_message)} octets, at most {MOST_SHORT_MESSAGE} fit")
    return {
        "service_type": checked_text("service_type", submit.service_type, MOST_SERVICE_TYPE),
        "source_addr_ton": checked_int("source_ton", submit.source_ton),
        "source_addr_npi": checked_int("source_npi", submit.source_npi),
        "source_addr": checked_text("source", submit.source, MOST_ADDRESS),
        "dest_addr_ton": checked_int("dest_ton", submit.dest_ton),
        "dest_addr_npi": checked_int("dest_npi", submit.dest_npi),
        "destination_addr": checked_text("destination", submit.destination, MOST_ADDRESS),
        "esm_class": checked_int("esm_class", submit.esm_class),
        "protocol_id": checked_int("protocol_id", submit.protocol_id),
        "priority_flag": checked_int("priority_flag", submit.priority_flag),
        "schedule_delivery_time": checked_text("schedule_delivery_time", submit.schedule_delivery_time, MOST_TIME),
        "validity_period": checked_text("validity_period", submit.validity_period, MOST_TIME),
        "registered_delivery": checked_int("registered_delivery", submit.registered_delivery),
        "replace_if_present_flag": checked_int("replace_if_present_flag", submit.replace_if_present_flag),
        "data_coding": checked_int("data_coding", submit.data_coding),
        "sm_default_msg_id": checked_int("sm_default_msg_id", submit.sm_default_msg_id),
        "short_message": submit.short_message,
    }


def _query_fields(query: QuerySm) -> dict[str, str | int | bytes]:
    if not query.message_id:
        raise LocalProtocolError("message_id: must not be empty")
    return {
        "message_id": checked_text("message_id", query.message_id, MOST_MESSAGE_ID),
        "source_addr_ton": checked_int("source_ton", query.source_ton),
        "source_addr_npi": checked_int("source_npi", query.source_npi),
        "source_addr": checked_text("source", query.source, MOST_ADDRESS),
    }
