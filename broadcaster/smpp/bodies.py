"""PDU bodies as values (SMPP 3.4, chapter 4). Texts are str, message content is bytes, optional parameters are `{tag: bytes}`.

Their reprs mask phone numbers and leave out passwords and message texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Final, NamedTuple, TypeAlias

from broadcaster.smpp.fields import NO_TLVS, Tlvs, masked

RESPONSE_BIT: Final = 0x80000000


class Command(IntEnum):
    """Every command id of SMPP 3.4, table 5-1."""

    BIND_RECEIVER = 0x00000001
    BIND_TRANSMITTER = 0x00000002
    QUERY_SM = 0x00000003
    SUBMIT_SM = 0x00000004
    DELIVER_SM = 0x00000005
    UNBIND = 0x00000006
    REPLACE_SM = 0x00000007
    CANCEL_SM = 0x00000008
    BIND_TRANSCEIVER = 0x00000009
    OUTBIND = 0x0000000B
    ENQUIRE_LINK = 0x00000015
    SUBMIT_MULTI = 0x00000021
    ALERT_NOTIFICATION = 0x00000102
    DATA_SM = 0x00000103
    GENERIC_NACK = 0x80000000
    BIND_RECEIVER_RESP = 0x80000001
    BIND_TRANSMITTER_RESP = 0x80000002
    QUERY_SM_RESP = 0x80000003
    SUBMIT_SM_RESP = 0x80000004
    DELIVER_SM_RESP = 0x80000005
    UNBIND_RESP = 0x80000006
    REPLACE_SM_RESP = 0x80000007
    CANCEL_SM_RESP = 0x80000008
    BIND_TRANSCEIVER_RESP = 0x80000009
    ENQUIRE_LINK_RESP = 0x80000015
    SUBMIT_MULTI_RESP = 0x80000021
    DATA_SM_RESP = 0x80000103


class BindKind(IntEnum):
    """What an ESME asks to be; the value is the command id of its bind."""

    RECEIVER = Command.BIND_RECEIVER
    TRANSMITTER = Command.BIND_TRANSMITTER
    TRANSCEIVER = Command.BIND_TRANSCEIVER


@dataclass(frozen=True, slots=True)
class Bind:
    """bind_receiver, bind_transmitter or bind_transceiver (4.1). interface_version is always 0x34 when we send it (S23)."""

    kind: BindKind
    system_id: str
    password: str = field(repr=False)
    system_type: str = ""
    interface_version: int = 0x34
    addr_ton: int = 0
    addr_npi: int = 0
    address_range: str = ""

    @property
    def command(self) -> Command:
        """Name the command that carries this body."""
        return Command(self.kind)


@dataclass(frozen=True, slots=True)
class BindResp:
    """The answer to a bind of the same kind (4.1.2)."""

    kind: BindKind
    system_id: str = ""
    tlvs: Tlvs = field(default_factory=dict)

    @property
    def command(self) -> Command:
        """Name the command that carries this body."""
        return Command(self.kind | RESPONSE_BIT)


class _ShortMessage(NamedTuple):
    """What submit_sm and deliver_sm share (4.4.1, 4.6.1); a named tuple because it is made a hundred thousand times a second."""

    source: str
    destination: str
    short_message: bytes = b""
    source_ton: int = 0
    source_npi: int = 0
    dest_ton: int = 0
    dest_npi: int = 0
    esm_class: int = 0
    protocol_id: int = 0
    priority_flag: int = 0
    schedule_delivery_time: str = ""
    validity_period: str = ""
    registered_delivery: int = 0
    replace_if_present_flag: int = 0
    data_coding: int = 0
    sm_default_msg_id: int = 0
    service_type: str = ""
    tlvs: Tlvs = NO_TLVS

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(source={masked(self.source)!r}, destination={masked(self.destination)!r}, "
            f"esm_class=0x{self.esm_class:02X}, data_coding={self.data_coding}, octets={len(self.short_message)})"
        )


class SubmitSm(_ShortMessage):
    """A message from us to the SMSC (4.4.1)."""

    __slots__ = ()
    command: ClassVar[Command] = Command.SUBMIT_SM


class DeliverSm(_ShortMessage):
    """A receipt or a subscriber's message from the SMSC (4.6.1)."""

    __slots__ = ()
    command: ClassVar[Command] = Command.DELIVER_SM


@dataclass(frozen=True, slots=True)
class SubmitSmResp:
    """The SMSC's answer to submit_sm (4.4.2); `message_id` None means a header without a body."""

    message_id: str | None = None
    tlvs: Tlvs = field(default_factory=dict)
    command: ClassVar[Command] = Command.SUBMIT_SM_RESP


@dataclass(frozen=True, slots=True)
class DeliverSmResp:
    """Our answer to deliver_sm (4.6.2), whose message_id is always empty."""

    command: ClassVar[Command] = Command.DELIVER_SM_RESP


@dataclass(frozen=True, slots=True)
class DataSm:
    """data_sm, in either direction (4.7.1); its text is the message_payload parameter."""

    source: str = field(repr=False)
    destination: str = field(repr=False)
    source_ton: int = 0
    source_npi: int = 0
    dest_ton: int = 0
    dest_npi: int = 0
    esm_class: int = 0
    registered_delivery: int = 0
    data_coding: int = 0
    service_type: str = ""
    tlvs: Tlvs = field(default_factory=dict, repr=False)
    command: ClassVar[Command] = Command.DATA_SM
    short_message: ClassVar[bytes] = b""


@dataclass(frozen=True, slots=True)
class DataSmResp:
    """The answer to data_sm (4.7.2)."""

    message_id: str = ""
    tlvs: Tlvs = field(default_factory=dict)
    command: ClassVar[Command] = Command.DATA_SM_RESP


@dataclass(frozen=True, slots=True)
class QuerySm:
    """Ask for the state of one message (4.8.1)."""

    message_id: str
    source: str = field(repr=False)
    source_ton: int = 0
    source_npi: int = 0
    command: ClassVar[Command] = Command.QUERY_SM


@dataclass(frozen=True, slots=True)
class QuerySmResp:
    """The state of one message (4.8.2)."""

    message_id: str
    final_date: str = ""
    message_state: int = 0
    error_code: int = 0
    command: ClassVar[Command] = Command.QUERY_SM_RESP


@dataclass(frozen=True, slots=True)
class CancelSm:
    """Withdraw one message by id, or all of one source and destination when the id is empty (4.9.1)."""

    message_id: str
    source: str = field(repr=False)
    destination: str = field(repr=False)
    source_ton: int = 0
    source_npi: int = 0
    dest_ton: int = 0
    dest_npi: int = 0
    service_type: str = ""
    command: ClassVar[Command] = Command.CANCEL_SM


@dataclass(frozen=True, slots=True)
class CancelSmResp:
    """The answer to cancel_sm (4.9.2)."""

    command: ClassVar[Command] = Command.CANCEL_SM_RESP


@dataclass(frozen=True, slots=True)
class Unbind:
    """Ask to end the session (4.2.1)."""

    command: ClassVar[Command] = Command.UNBIND


@dataclass(frozen=True, slots=True)
class UnbindResp:
    """Agree to end the session (4.2.2)."""

    command: ClassVar[Command] = Command.UNBIND_RESP


@dataclass(frozen=True, slots=True)
class EnquireLink:
    """Ask whether the peer is alive (4.11.1)."""

    command: ClassVar[Command] = Command.ENQUIRE_LINK


@dataclass(frozen=True, slots=True)
class EnquireLinkResp:
    """Be alive (4.11.2)."""

    command: ClassVar[Command] = Command.ENQUIRE_LINK_RESP


@dataclass(frozen=True, slots=True)
class GenericNack:
    """Refuse a PDU as a whole (4.3.1)."""

    command: ClassVar[Command] = Command.GENERIC_NACK


@dataclass(frozen=True, slots=True)
class AlertNotification:
    """The SMSC says that a subscriber became reachable (4.12.1); it has no answer."""

    source: str = field(repr=False)
    esme: str
    source_ton: int = 0
    source_npi: int = 0
    esme_ton: int = 0
    esme_npi: int = 0
    tlvs: Tlvs = field(default_factory=dict, repr=False)
    command: ClassVar[Command] = Command.ALERT_NOTIFICATION


@dataclass(frozen=True, slots=True)
class Outbind:
    """The SMSC asks an ESME to bind as receiver (4.1.7); it has no answer."""

    system_id: str
    password: str = field(repr=False)
    command: ClassVar[Command] = Command.OUTBIND


@dataclass(frozen=True, slots=True)
class Unknown:
    """A command that this package does not speak, its body untouched."""

    command: int
    body: bytes = field(repr=False)


Body: TypeAlias = (
    Bind | BindResp | SubmitSm | SubmitSmResp | DeliverSm | DeliverSmResp | DataSm | DataSmResp | QuerySm | QuerySmResp | CancelSm
    | CancelSmResp | Unbind | UnbindResp | EnquireLink | EnquireLinkResp | GenericNack | AlertNotification | Outbind | Unknown
)  # fmt: skip
