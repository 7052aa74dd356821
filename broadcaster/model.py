"""The nouns that every layer shares: plain frozen values, no behaviour beyond what their own fields answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Literal, NewType

Msisdn = NewType("Msisdn", int)
"""A Vietnamese mobile number in international form without plus, as an integer: 84912345678."""

Token = NewType("Token", bytes)
"""The 16-byte enciphered form under which a number is kept (store/vault.py)."""

CarrierCode = NewType("CarrierCode", str)
"""The short name of a carrier account: the stem of its card's file name, e.g. ``viettel``."""

AreaCode = NewType("AreaCode", str)
"""The five-digit code of a commune, ward or special zone in the national register."""

CampaignId = NewType("CampaignId", int)
MessageId = NewType("MessageId", int)
RosterId = NewType("RosterId", int)

TIMEZONE = "Asia/Ho_Chi_Minh"


class Environment(StrEnum):
    """Whether texts may reach the public. It is part of what approvers sign."""

    REHEARSAL = "rehearsal"
    LIVE = "live"


class MessageClass(StrEnum):
    """How urgent a warning is; windows, refusals and policies hang on it."""

    ADVISORY = "advisory"
    URGENT = "urgent"


class UnknownPolicy(StrEnum):
    """What becomes of a message whose acceptance cannot be known after a crash (docs/delivery.md)."""

    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"
    OPERATOR = "operator"


class Variant(StrEnum):
    """The two spellings of every Vietnamese text."""

    ACCENTED = "accented"
    UNACCENTED = "unaccented"


class Role(StrEnum):
    """What a person may do; one person may hold several roles, but signs once."""

    OPERATOR = "operator"
    AUTHOR = "author"
    CONTENT_AUTHORITY = "content-authority"
    APPROVER = "approver"
    DUTY_OFFICER = "duty-officer"
    REVIEWER = "reviewer"
    AUDITOR = "auditor"


class CampaignState(StrEnum):
    """Where a campaign stands; the table of moves is rules/lifecycle.py."""

    SUBMITTED = "submitted"
    APPROVED = "approved"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    HALTED = "halted"
    EXPIRED = "expired"


class State(IntEnum):
    """State of one part, and of a message; the numbers are a lattice.

    A part is at the highest number any of its attempts reached; a message is at the lowest number any of its parts is at. From
    `EXPIRED` upward a state is final evidence from the carrier and never changes again.
    """

    EXCLUDED = -1
    READY = 0
    RETRY = 1
    """Definitely not accepted; will be tried again, unless one of the next three comes first."""
    CANCELLED = 2
    LAPSED = 3
    """The window or the order's deadline passed before the first byte was written."""
    SUPPRESSED = 4
    """The subscriber refused between planning and sending."""
    REFUSED = 10
    """Definitely not accepted, for good."""
    UNCERTAIN = 20
    """Written, or perhaps written, and no answer: nobody can know."""
    ACCEPTED = 30
    """The carrier took it and gave an id; no final receipt yet."""
    EXPIRED = 40
    DELETED = 41
    UNDELIVERABLE = 42
    REJECTED = 43
    DELIVERED = 50


class Exclusion(IntEnum):
    """Why a person in the audience gets no message."""

    REFUSED = 1
    DUPLICATE = 2
    STALE = 3
    UNKNOWN_CELL = 4


class DropReason(StrEnum):
    """Why a row of a carrier's export does not become a subscriber."""

    EMPTY = "empty"
    NOT_A_NUMBER = "not-a-number"
    WRONG_LENGTH = "wrong-length"
    FIXED_LINE = "fixed-line"
    SHORT_CODE = "short-code"
    FOREIGN = "foreign"
    UNALLOCATED = "unallocated"
    MACHINE = "machine"
    """A number of a device (M2M), not of a person."""
    ROUNDED = "rounded"
    """A spreadsheet cut its digits off (``8.49E+10``): nobody can tell whose it was."""
    AMBIGUOUS = "ambiguous"
    """``84`` and seven digits: an 084… without its zero, or a number of another prefix cut short."""
    FORMULA = "formula"
    ROAMING = "roaming"
    """The SIM is of another country's network."""
    BAD_CELL = "bad-cell"
    BAD_TIME = "bad-time"
    FEW_COLUMNS = "few-columns"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Area:
    """One commune-level unit, valid for a span of dates (key: code and valid_from)."""

    code: AreaCode
    name: str
    kind: str
    area_km2: float
    lat: float
    lon: float
    former_province: str
    former_districts: tuple[str, ...]
    valid_from: dt.date
    valid_to: dt.date | None = None


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """Hours of the day, in Asia/Ho_Chi_Minh, in which sending is allowed: [opens, closes), whole minutes.

    `closes` of 24:00 is written as `dt.time(0)`; opens == closes == 00:00 is the whole day. A window never spans midnight otherwise.
    """

    opens: dt.time
    closes: dt.time

    @property
    def all_day(self) -> bool:
        return self.opens == self.closes == dt.time(0)


@dataclass(frozen=True, slots=True)
class Circle:
    """Every place within a distance of one place (degrees of WGS 84)."""

    lat: float
    lon: float
    radius_km: float


@dataclass(frozen=True, slots=True)
class Polygon:
    """An outer ring and its holes; each ring is (longitude, latitude) pairs in order, as GeoJSON has them, without the last again."""

    rings: tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True, slots=True)
class Audience:
    """The rule that says who is to be warned, as it is signed."""

    communes: tuple[AreaCode, ...]
    """Codes, sorted; empty means the whole province, unless there are `circles` or `polygons`."""
    carriers: tuple[CarrierCode, ...]
    active_within_h: int
    """A subscriber last seen longer before the roster's observation time than this is stale."""
    roster_max_age_h: int
    """Each carrier's newest complete roster is taken, and must not be older than this at the start."""
    max_recipients: int
    remainder_of: str | None = None
    """Name of an earlier campaign: then only those of its recipients whom it definitely did not reach, and its rosters."""
    circles: tuple[Circle, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    """Who was last seen under a cell that stands inside one of these is warned too, whatever its commune."""


@dataclass(frozen=True, slots=True)
class Order:
    """A campaign as its file orders it. Everything here is part of what approvers sign."""

    name: str
    title: str
    environment: Environment
    message_class: MessageClass
    instruction: str
    """Number and date of the written instruction behind it."""
    template: str
    variant: Variant
    values: Mapping[str, str]
    sender: str
    audience: Audience
    window: DailyWindow
    start: dt.datetime | None
    """UTC; None when the time is given at scheduling."""
    start_within_h: int
    """The campaign must have started this many hours after the (planned) start, else the approval is void."""
    deadline_h: int
    """No first attempt later than this many hours after the start."""
    validity_h: int
    """How long the carrier may keep trying a switched-off phone."""
    override_refusals: bool
    unknown_policy: UnknownPolicy
    max_tps: Mapping[CarrierCode, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that never shows itself: not in logs, reprs, tracebacks or JSON."""

    _value: str

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class IdRule:
    """How a carrier spells one message id in its responses and in its receipts.

    Each is ``raw``, ``hex`` or ``dec``; both are brought to one normal form before they are compared.
    """

    response: str = "raw"
    receipt: str = "raw"


@dataclass(frozen=True, slots=True)
class CarrierCard:
    """Everything carriers differ in, read from ``carriers/<code>.toml`` (files/carriers.py explains each key)."""

    code: CarrierCode
    name: str
    environment: Environment
    """A rehearsal installation uses rehearsal cards only, a live one live cards only."""
    mnc: str
    endpoint: Endpoint
    system_id: str
    password: Secret
    system_type: str
    tls: bool
    tps: int | None
    """Contract rate in parts per second; None is unlimited (rehearsal only)."""
    window: int
    max_parts: int
    allow_unicode: bool
    forbidden: str
    """Characters the gateway rejects."""
    source_ton: int
    source_npi: int
    destination_ton: int
    destination_npi: int
    long_text: str
    """How a long text travels: in parts tied together by ``udh8``, ``udh16`` or ``sar`` (TLVs), or whole in ``payload``."""
    ids: IdRule
    receipt_means: str
    """``handset``, ``smsc``, ``none`` or ``unknown``: what a receipt of this carrier proves."""
    status_verdicts: Mapping[int, str]
    """Vendor status codes → verdict names (smpp/status.py)."""
    enquire_link_s: float
    response_timeout_s: float
    throttle_pause_s: float
    retry_after_s: tuple[int, ...]
    """Waits between tries after a temporary refusal; when used up, the refusal is final (F52)."""
    receipt_timeout_h: int
    assumed: tuple[str, ...] = ()
    """Keys whose value is our assumption, not the carrier's word."""
    test_numbers: tuple[Msisdn, ...] = field(default=(), repr=False)
    """Phones of our own, registered with the carrier: the only ones `carrier check` may text."""
    tls_ca: Path | None = None
    """Certificates (PEM) of the only authorities to be trusted for this carrier; None trusts the system's."""
    alternates: tuple[Endpoint, ...] = ()
    """Further hosts of the same account, tried in turn when `endpoint` fails."""
    binds: int = 1
    """How many connections the account may hold at once; receipts may come on any of them (F04)."""
    gsm_data_coding: int = 0x00
    ucs2_data_coding: int = 0x08
    gsm_alphabet: Literal["gsm", "latin1", "ascii"] = "gsm"
    """``gsm``, ``latin1`` or ``ascii``: in what the SMSC reads octets under `gsm_data_coding` (F62)."""
    validity_form: Literal["relative", "absolute", "none"] = "relative"
    """``relative``, ``absolute`` or ``none``: how the period of validity is written (SMPP 3.4, 7.1.1)."""
    smsc_utc_offset_min: int = 420
    """The SMSC's own time, for absolute forms."""
    hourly_tps: tuple[tuple[DailyWindow, int], ...] = ()
    """Lower rates that hold at certain hours; the lowest of those that apply counts."""
    closed: tuple[DailyWindow, ...] = ()
    """Hours in which the carrier takes nothing."""
    maintenance: tuple[tuple[dt.datetime, dt.datetime], ...] = ()
    """Announced interruptions, UTC, [from, until)."""
    parts_per_day: int | None = None
    parts_per_month: int | None = None
    """Quotas in parts, by days and months of Vietnam's time; None is no quota."""
    receipt_scope: Literal["all", "first", "last"] = "all"
    """``all``, ``first`` or ``last``: for which part of a long text a receipt is asked for (F11)."""
    user_message_reference: bool = False
    """The SMSC takes user_message_reference and repeats it in receipts (SMPP 3.4, 5.3.2.17)."""
    cancels: bool = False
    """The SMSC knows cancel_sm (SMPP 3.4, 4.9)."""
    refused_first_percent: int = 50
    """One refusal code on this share of the first 20 answers stops the carrier (F53, F55)."""
    refused_recent_percent: int = 20
    """One refusal code on this share of the last 1,000 answers stops the carrier (F53, F55)."""
    queue_full_percent: int = 10
    """RMSGQFUL on more than this share of the last 100 answers is throttling (F51)."""
    receipt_form: Literal["smpp", "comma"] = "smpp"
    """``smpp`` or ``comma``: in which grammar the text of a receipt is written (smpp/grammar.py, F07)."""
    receipt_states: Mapping[str, str] = field(default_factory=dict)
    """Vendor words or numbers of states, and error codes (``err:045``) → names of smpp.receipt.ReceiptState (F14)."""
    queue_full_after_s: tuple[int, ...] = (60, 180, 600)
    """Waits between tries of a number whose own queue is full; when used up, the refusal is final (F51)."""
    temporary_recent_percent: int = 20
    """Temporary refusals on more than this share of a bind's last 200 answers pause the bind (F52)."""
    invalid_recent_percent: int = 5
    """A code that calls numbers, sender or text invalid on more than this share of the last 1,000 answers stops the carrier (F53)."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return every host of the account, the preferred one first."""
        return (self.endpoint, *self.alternates)


@dataclass(frozen=True, slots=True)
class Person:
    """Who may sign: a public key with roles. `name` is an office, e.g. ``lanh-dao-so``."""

    name: str
    title: str
    roles: frozenset[Role]
    public_key: bytes
    """Raw 32-byte Ed25519 key."""


@dataclass(frozen=True, slots=True)
class Approval:
    """One signature over an order's digest."""

    person: str
    digest: str
    signature: bytes
    signed_at: dt.datetime
