"""Read the carrier cards: ``carriers/<code>.toml``, one per account, every key explained in the cards that ship with the program.

A card never holds the password: it names a file readable by its owner only, or an environment variable.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.hours import card_window, cover_the_day
from broadcaster.files.places import line_of
from broadcaster.files.prefixes import read_plan
from broadcaster.files.tomlfile import Table, load
from broadcaster.lang import Said
from broadcaster.model import CarrierCard, CarrierCode, DropReason, Endpoint, Environment, IdRule, Msisdn, Secret
from broadcaster.rules.order import parse_window
from broadcaster.smpp.receipt import ReceiptState, state_key
from broadcaster.smpp.status import Verdict

MAX_PASSWORD_OCTETS: Final = 8
"""SMPP 3.4 §5.2.2: nine octets with the closing NUL; longer ones would be cut silently by some libraries."""

MOST_TEST_NUMBERS: Final = 10
MOST_ALTERNATES: Final = 8
MOST_RECEIPT_STATES: Final = 200

_CODE: Final = re.compile(r"[a-z][a-z0-9-]{0,30}", re.ASCII)
_ALTERNATE: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]{1,253})):(?P<port>[0-9]{1,5})", re.ASCII)
_RECEIPT_STATE: Final = re.compile(r"(?:err:)?[a-z0-9._-]{1,16}", re.ASCII | re.IGNORECASE)
_STATUS: Final = re.compile(r"0x[0-9A-Fa-f]{1,8}|[0-9]{1,10}", re.ASCII)

_IdForm = Literal["raw", "hex", "dec"]
_Ascii = Annotated[str, Field(pattern=r"^[ -~]*$")]
_DataCoding = Annotated[int, Field(ge=0, le=255)]
_Quota = int | None
_Percent = Annotated[int, Field(ge=1, le=100)]
_Waits = Annotated[tuple[Annotated[int, Field(ge=1, le=86_400)], ...], Field(max_length=10)]


class Access(Protocol):
    """The keys of a card by which an account is entered."""

    @property
    def password_file(self) -> str | None: ...
    @property
    def password_env(self) -> str | None: ...
    @property
    def tls_ca(self) -> str: ...


class _HourlyTps(Table):
    window: str
    tps: Annotated[int, Field(ge=1, le=10_000)]

    @field_validator("window")
    @classmethod
    def _readable(cls, window: str) -> str:
        card_window(window)
        return window


class _Maintenance(Table):
    start: AwareDatetime
    end: AwareDatetime

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start >= self.end:
            raise ValueError(Said(vi="start phải trước end", en="start must be before end"))
        return self


class _Card(Table):
    name: Annotated[str, Field(min_length=1, max_length=60)]
    environment: Environment
    mnc: Annotated[str, Field(pattern=r"^[0-9]{2}$")]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)]
    tls: bool = False
    tls_ca: str = ""
    alternate_hosts: Annotated[tuple[str, ...], Field(max_length=MOST_ALTERNATES)] = ()
    binds: Annotated[int, Field(ge=1, le=32)] = 1
    system_id: Annotated[_Ascii, Field(min_length=1, max_length=15)]
    password_file: Annotated[str, Field(min_length=1)] | None = None
    password_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    system_type: Annotated[_Ascii, Field(max_length=12)] = ""
    tps: Annotated[int, Field(ge=1, le=10_000)] | None
    """None where the card says ``unlimited``."""
    hourly_tps: tuple[_HourlyTps, ...] = ()
    closed: tuple[str, ...] = ()
    maintenance: tuple[_Maintenance, ...] = ()
    parts_per_day: _Quota = None
    parts_per_month: _Quota = None
    window: Annotated[int, Field(ge=1, le=1000)] = 10
    max_parts: Annotated[int, Field(ge=1, le=10)] = 4
    allow_unicode: bool = True
    forbidden: str = ""
    source_ton: Annotated[int, Field(ge=0, le=6)] = 5
    source_npi: Annotated[int, Field(ge=0, le=18)] = 0
    destination_ton: Annotated[int, Field(ge=0, le=6)] = 1
    destination_npi: Annotated[int, Field(ge=0, le=18)] = 1
    long_text: Literal["udh8", "udh16", "sar", "payload"] = "udh8"
    gsm_data_coding: _DataCoding = 0x00
    ucs2_data_coding: _DataCoding = 0x08
    gsm_alphabet: Literal["gsm", "latin1", "ascii"] = "gsm"
    validity_form: Literal["relative", "absolute", "none"] = "relative"
    smsc_utc_offset_min: Annotated[int, Field(ge=-720, le=720, multiple_of=15)] = 420
    response_id: _IdForm = "raw"
    receipt_id: _IdForm = "raw"
    receipt_means: Literal["handset", "smsc", "none", "unknown"] = "unknown"
    receipt_timeout_h: Annotated[int, Field(ge=1, le=168)] = 72
    receipt_scope: Literal["all", "first", "last"] = "all"
    user_message_reference: bool = False
    cancels: bool = False
    enquire_link_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    response_timeout_s: Annotated[float, Field(ge=0.1, le=300)] = 60.0
    throttle_pause_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    retry_after_s: _Waits = (30, 120, 600)
    queue_full_after_s: _Waits = (60, 180, 600)
    refused_first_percent: _Percent = 50
    refused_recent_percent: _Percent = 20
    queue_full_percent: _Percent = 10
    temporary_recent_percent: _Percent = 20
    invalid_recent_percent: _Percent = 5
    status_verdicts: dict[str, Verdict] = Field(default_factory=dict)
    receipt_form: Literal["smpp", "comma"] = "smpp"
    receipt_states: Annotated[dict[str, ReceiptState], Field(max_length=MOST_RECEIPT_STATES)] = Field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    test_numbers: Annotated[tuple[str, ...], Field(max_length=MOST_TEST_NUMBERS)] = ()

    @field_validator("tps", mode="before")
    @classmethod
    def _unlimited(cls, value: object) -> object:
        return None if value == "unlimited" else value

    @field_validator("parts_per_day", "parts_per_month", mode="before")
    @classmethod
    def _quota(cls, value: object) -> object:
        if value == "unlimited":
            return None
        if type(value) is not int or value < 1:
            raise ValueError(
                Said(vi='phải là số nguyên từ 1 trở lên hoặc "unlimited"', en='must be a whole number, at least 1, or "unlimited"')
            )
        return value

    @field_validator("alternate_hosts")
    @classmethod
    def _hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        bad = [place for place, host in enumerate(hosts, 1) if _endpoint(host) is None]
        if bad:
            raise ValueError(
                Said(
                    vi=f'địa chỉ thứ {bad[0]} phải có dạng "máy:cổng", cổng từ 1 đến 65535 (IPv6: "[::1]:2775")',
                    en=f'host {bad[0]} must be written "host:port", port 1 to 65535 (IPv6: "[::1]:2775")',
                )
            )
        return hosts

    @field_validator("closed")
    @classmethod
    def _windows(cls, windows: tuple[str, ...]) -> tuple[str, ...]:
        if cover_the_day(list(map(card_window, windows))):
            raise ValueError(
                Said(
                    vi="các khung giờ closed gộp lại không được phủ cả ngày: sẽ không gửi được tin nào",
                    en="closed must not cover the whole day, all windows together: nothing could ever be sent",
                )
            )
        return windows

    @field_validator("status_verdicts")
    @classmethod
    def _codes(cls, verdicts: dict[str, Verdict]) -> dict[str, Verdict]:
        bad = sorted(code for code in verdicts if not _STATUS.fullmatch(code))
        if bad:
            raise ValueError(
                Said(
                    vi=f"mã trạng thái phải là số dạng 0x0400 hoặc 1024, không phải: {', '.join(bad)}",
                    en=f"a status code must be a number such as 0x0400 or 1024, not: {', '.join(bad)}",
                )
            )
        return verdicts

    @field_validator("receipt_states")
    @classmethod
    def _words(cls, states: dict[str, ReceiptState]) -> dict[str, ReceiptState]:
        bad = [place for place, word in enumerate(states, 1) if not _RECEIPT_STATE.fullmatch(word)]
        if bad:
            raise ValueError(
                Said(
                    vi=f'khóa thứ {bad[0]} phải là từ hoặc số trạng thái (như "HETHAN" hay "200") hoặc mã lỗi (như "err:045")',
                    en=f'key {bad[0]} must be a state\'s word or number ("HETHAN", "200") or an error code ("err:045")',
                )
            )
        if len({state_key(word) for word in states}) < len(states):
            raise ValueError(
                Said(vi="có khóa bị lặp lại (không kể chữ hoa và số 0 đầu)", en="a key is there twice, but for case or zeros")
            )
        return states

    @field_validator("assumed")
    @classmethod
    def _assumed_keys(cls, assumed: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(assumed) - set(cls.model_fields))
        if unknown:
            names = ", ".join(unknown)
            raise ValueError(Said(vi=f"không phải khóa của thẻ: {names}", en=f"not keys of a card: {names}"))
        return assumed

    @field_validator("test_numbers")
    @classmethod
    def _numbers(cls, numbers: tuple[str, ...]) -> tuple[str, ...]:
        # The number itself is never shown; its place in the list is.
        found = [read_plan().normalise(number) for number in numbers]
        bad = [(place, number) for place, number in enumerate(found, 1) if isinstance(number, DropReason)]
        if bad:
            place, reason = bad[0]
            raise ValueError(
                Said(
                    vi=f"số thứ {place} không phải số di động Việt Nam ({reason})",
                    en=f"number {place} is not a Vietnamese mobile number ({reason})",
                )
            )
        if len(set(found)) < len(found):
            raise ValueError(Said(vi="có số bị lặp lại", en="a number is there twice"))
        return tuple(str(number) for number in found)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.password_file and self.password_env:
            raise ValueError(
                Said(
                    vi="chỉ ghi một trong hai khóa password_file và password_env",
                    en="give only one of password_file and password_env",
                )
            )
        if self.gsm_data_coding == self.ucs2_data_coding:
            raise ValueError(
                Said(
                    vi="gsm_data_coding và ucs2_data_coding phải khác nhau",
                    en="gsm_data_coding and ucs2_data_coding must differ",
                )
            )
        if self.tps is not None and any(slot.tps > self.tps for slot in self.hourly_tps):
            raise ValueError(
                Said(
                    vi="hourly_tps chỉ được thấp hơn hoặc bằng tps của hợp đồng",
                    en="hourly_tps may only lower the contract's tps",
                )
            )
        if self.tls_ca and not self.tls:
            raise ValueError(Said(vi="tls_ca chỉ có nghĩa khi tls = true", en="tls_ca means something only with tls = true"))
        if self.environment is Environment.LIVE:
            if self.tps is None:
                raise ValueError(Said(vi='tps = "unlimited" chỉ dùng khi diễn tập', en='tps = "unlimited" is for rehearsals only'))
            if not (self.password_file or self.password_env):
                raise ValueError(
                    Said(
                        vi="thẻ thật phải có password_file hoặc password_env",
                        en="a live card must have password_file or password_env",
                    )
                )
        return self


def read_card(path: Path, env: Mapping[str, str]) -> CarrierCard:
    """Return the card of one carrier; its code is the stem of the file name.

    The password comes from `password_file` (beside the card, mode 0600 or stricter) or from the variable `password_env` of `env`; a
    rehearsal card may have none. Raises `ConfigurationError` or `InvalidFileError`.
    """
    if not _CODE.fullmatch(path.stem):
        message = Said(
            vi="tên tệp thẻ phải gồm chữ thường không dấu, chữ số và gạch ngang",
            en="a card's file name must be of lower-case letters, digits and dashes",
        )
        raise InvalidFileError([Problem(str(path), message)])
    card = load(path, _Card)
    return CarrierCard(
        code=CarrierCode(path.stem),
        name=card.name,
        environment=card.environment,
        mnc=card.mnc,
        endpoint=Endpoint(card.host, card.port),
        system_id=card.system_id,
        password=password_of(path, card, env),
        system_type=card.system_type,
        tls=card.tls,
        tps=card.tps,
        window=card.window,
        max_parts=card.max_parts,
        allow_unicode=card.allow_unicode,
        forbidden=card.forbidden,
        source_ton=card.source_ton,
        source_npi=card.source_npi,
        destination_ton=card.destination_ton,
        destination_npi=card.destination_npi,
        long_text=card.long_text,
        ids=IdRule(response=card.response_id, receipt=card.receipt_id),
        receipt_means=card.receipt_means,
        status_verdicts={int(code, 0): verdict for code, verdict in card.status_verdicts.items()},
        enquire_link_s=card.enquire_link_s,
        response_timeout_s=card.response_timeout_s,
        throttle_pause_s=card.throttle_pause_s,
        retry_after_s=card.retry_after_s,
        receipt_timeout_h=card.receipt_timeout_h,
        assumed=card.assumed,
        test_numbers=tuple(Msisdn(int(number)) for number in card.test_numbers),
        tls_ca=authorities_of(path, card),
        alternates=tuple(found for host in card.alternate_hosts if (found := _endpoint(host)) is not None),
        binds=card.binds,
        gsm_data_coding=card.gsm_data_coding,
        ucs2_data_coding=card.ucs2_data_coding,
        gsm_alphabet=card.gsm_alphabet,
        validity_form=card.validity_form,
        smsc_utc_offset_min=card.smsc_utc_offset_min,
        hourly_tps=tuple((parse_window(slot.window), slot.tps) for slot in card.hourly_tps),
        closed=tuple(map(parse_window, card.closed)),
        maintenance=tuple((slot.start.astimezone(dt.UTC), slot.end.astimezone(dt.UTC)) for slot in card.maintenance),
        parts_per_day=card.parts_per_day,
        parts_per_month=card.parts_per_month,
        receipt_scope=card.receipt_scope,
        user_message_reference=card.user_message_reference,
        cancels=card.cancels,
        refused_first_percent=card.refused_first_percent,
        refused_recent_percent=card.refused_recent_percent,
        queue_full_percent=card.queue_full_percent,
        receipt_form=card.receipt_form,
        receipt_states={word: state.value for word, state in card.receipt_states.items()},
        queue_full_after_s=card.queue_full_after_s,
        temporary_recent_percent=card.temporary_recent_percent,
        invalid_recent_percent=card.invalid_recent_percent,
    )


def read_cards(folder: Path, env: Mapping[str, str], environment: Environment) -> dict[CarrierCode, CarrierCard]:
    """Return every card of `folder` by code, in order of code; problems of all cards are raised together.

    A card of the other environment is a problem: a rehearsal must be unable to reach a real carrier.
    """
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        message = Said(vi=f"không có thẻ nhà mạng nào trong {folder}", en=f"no carrier card in {folder}")
        raise ConfigurationError(message)
    cards: dict[CarrierCode, CarrierCard] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            card = read_card(path, env)
        except InvalidFileError as error:
            problems += error.problems
            continue
        if card.environment is not environment:
            problems.append(_wrong_environment(path, card.environment, environment))
        cards[card.code] = card
    if problems:
        raise InvalidFileError(problems)
    return cards


def _endpoint(text: str) -> Endpoint | None:
    """Return the host written as ``host:port``, else None."""
    found = _ALTERNATE.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        return None
    return Endpoint(found["v6"] or found["name"], int(found["port"]))


def _wrong_environment(path: Path, found: Environment, wanted: Environment) -> Problem:
    message = Said(
        vi=f"thẻ này dành cho môi trường {found}, còn hệ thống đang chạy ở môi trường {wanted}",
        en=f"this card is for {found}, but the installation is set to {wanted}",
    )
    return Problem(str(path), message, line_of(path, "environment"), "environment")


def authorities_of(path: Path, card: Access) -> Path | None:
    """Return the file of trusted authorities, which lies beside the card."""
    if not card.tls_ca:
        return None
    file = path.parent / card.tls_ca
    try:
        ssl.create_default_context(cafile=file)
    except OSError:
        message = Said(vi=f"không đọc được chứng chỉ CA (PEM) trong {file}", en=f"no CA certificate (PEM) can be read from {file}")
        raise InvalidFileError([Problem(str(path), message, line_of(path, "tls_ca"), "tls_ca")]) from None
    return file


def password_of(path: Path, card: Access, env: Mapping[str, str]) -> Secret:
    """Return the password that a card names, empty when it names none. Raises `InvalidFileError`."""
    if card.password_env:
        found: str | Said = env.get(card.password_env) or Said(
            vi=f"chưa đặt biến môi trường {card.password_env}", en=f"the environment variable {card.password_env} is not set"
        )
        key = "password_env"
    elif card.password_file:
        found = _password_in(path.parent / card.password_file)
        key = "password_file"
    else:
        return Secret("")
    if isinstance(found, str) and not _fits(found):
        found = Said(
            vi=f"mật khẩu SMPP phải có từ 1 đến {MAX_PASSWORD_OCTETS} ký tự ASCII in được",
            en=f"an SMPP password must have 1 to {MAX_PASSWORD_OCTETS} printable ASCII characters",
        )
    if isinstance(found, Said):
        raise InvalidFileError([Problem(str(path), found, line_of(path, key), key)])
    return Secret(found)


def _password_in(path: Path) -> str | Said:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            return Said(
                vi=f"tệp mật khẩu {path} phải có quyền 0600 hoặc chặt hơn, đang là {mode:04o}",
                en=f"the password file {path} must have mode 0600 or stricter, it has {mode:04o}",
            )
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        return Said(vi=f"không đọc được tệp mật khẩu {path}", en=f"cannot read the password file {path}")


def _fits(password: str) -> bool:
    return 1 <= len(password) <= MAX_PASSWORD_OCTETS and password.isascii() and password.isprintable()
