"""Read the card of the reply number (``reply.toml``): how subscribers' texts reach us, and what one costs them.

``reply.example.toml`` explains every key.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.carriers import authorities_of, password_of
from broadcaster.files.moments import BAD_TIME, Moments
from broadcaster.files.prefixes import read_plan
from broadcaster.files.sheets import open_table
from broadcaster.files.tomlfile import Table, load
from broadcaster.lang import Said
from broadcaster.model import CarrierCard, CarrierCode, DropReason, Endpoint, Environment, IdRule, Msisdn
from broadcaster.text.fold import fold

REPLY_CODE: Final = CarrierCode("reply")
"""Under this code the reply number's texts and its link are kept; no carrier's card may have it."""

_Ascii = Annotated[str, Field(pattern=r"^[ -~]*$")]


class _Reply(Table):
    number: Annotated[str, Field(pattern=r"^[0-9]{4}$")]
    environment: Environment
    cost_vnd: Annotated[int, Field(ge=0, le=100_000)]
    channel: Literal["smpp", "file"]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{0,253}$")] = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 2775
    tls: bool = False
    tls_ca: str = ""
    system_id: Annotated[_Ascii, Field(max_length=15)] = ""
    password_file: Annotated[str, Field(min_length=1)] | None = None
    password_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    system_type: Annotated[_Ascii, Field(max_length=12)] = ""
    enquire_link_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    response_timeout_s: Annotated[float, Field(ge=0.1, le=300)] = 30.0

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.channel == "smpp" and not (self.host and self.system_id):
            raise ValueError(Said(vi='channel = "smpp" cần host và system_id', en='channel = "smpp" needs host and system_id'))
        if self.password_file and self.password_env:
            raise ValueError(
                Said(
                    vi="chỉ ghi một trong hai khóa password_file và password_env",
                    en="give only one of password_file and password_env",
                )
            )
        if self.tls_ca and not self.tls:
            raise ValueError(Said(vi="tls_ca chỉ có nghĩa khi tls = true", en="tls_ca means something only with tls = true"))
        return self


@dataclass(frozen=True, slots=True)
class ReplyCard:
    """The reply number: `cost_vnd` is what one text costs the subscriber; `account` its receive-only bind, None for files."""

    number: str
    cost_vnd: int
    account: CarrierCard | None


def read_reply_card(path: Path, env: Mapping[str, str], environment: Environment) -> ReplyCard | None:
    """Return the card, None when there is no file. Raises `ConfigurationError` or `InvalidFileError`."""
    if not path.exists():
        return None
    card = load(path, _Reply)
    if card.environment is not environment:
        message = Said(
            vi=f"thẻ này dành cho môi trường {card.environment}, còn hệ thống đang chạy ở môi trường {environment}",
            en=f"this card is for {card.environment}, but the installation is set to {environment}",
        )
        raise InvalidFileError([Problem(str(path), message, key="environment")])
    return ReplyCard(card.number, card.cost_vnd, _account(path, card, env) if card.channel == "smpp" else None)


def reply_number_of(card: ReplyCard | None, number: str, path: Path) -> str | None:
    """Return the number that texts may name, None while none is hired. Raises `ConfigurationError` when nobody would hear a reply."""
    if not number:
        return None
    if card is None:
        raise ConfigurationError(
            Said(
                f"Có reply_number = {number} nhưng không có thẻ {path}: không tin nào được hứa nhận trả lời.",
                f"There is reply_number = {number}, but no card {path}: no text may promise a reply.",
            ),
            Said(
                "chép reply.example.toml rồi sửa, hoặc để trống reply_number", "copy reply.example.toml, or leave reply_number empty"
            ),
        )
    if card.number != number:
        raise ConfigurationError(
            Said(
                f"reply_number = {number} khác với số {card.number} ghi trên {path}.",
                f"reply_number = {number} is not the number {card.number} on {path}.",
            )
        )
    return number


def _account(path: Path, card: _Reply, env: Mapping[str, str]) -> CarrierCard:
    return CarrierCard(
        code=REPLY_CODE,
        name=card.number,
        environment=card.environment,
        mnc="00",
        endpoint=Endpoint(card.host, card.port),
        system_id=card.system_id,
        password=password_of(path, card, env),
        system_type=card.system_type,
        tls=card.tls,
        tls_ca=authorities_of(path, card),
        tps=1,
        window=1,
        max_parts=1,
        allow_unicode=False,
        forbidden="",
        source_ton=0,
        source_npi=0,
        destination_ton=0,
        destination_npi=0,
        long_text="udh8",
        ids=IdRule(),
        receipt_means="none",
        status_verdicts={},
        enquire_link_s=card.enquire_link_s,
        response_timeout_s=card.response_timeout_s,
        throttle_pause_s=1.0,
        retry_after_s=(),
        receipt_timeout_h=1,
    )


class Text(NamedTuple):
    """One subscriber's text as the reply number's provider lists it; `at` in UTC."""

    number: Msisdn
    at: dt.datetime
    content: str


_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "number": frozenset({"msisdn", "so may", "so thue bao", "so dien thoai", "so gui", "sdt", "number", "source", "sender"}),
    "time": frozenset({"thoi gian", "thoi diem", "ngay gio", "time", "at", "received at", "received"}),
    "text": frozenset({"noi dung", "noi dung tin", "tin nhan", "text", "content", "message"}),
}


def read_texts(path: Path) -> tuple[list[Text], list[Problem]]:
    """Return the texts that a provider's table lists (CSV, TSV or XLSX with headings) and what is wrong with its other rows.

    Times without an offset are Vietnam's. A number is named by its line only. Raises `ConfigurationError`, or `InvalidFileError` when
    it is no table, or one of the three columns (number, time, text) is missing.
    """
    texts: list[Text] = []
    problems: list[Problem] = []
    moments, plan, name = Moments(), read_plan(), str(path)
    with open_table(path) as table:
        rows = iter(table)
        places = _places(name, next(rows, (1, []))[1])
        for line, row in rows:
            number_text, time_text, content = ((row[at] if at < len(row) else "").strip() for at in places)
            number, seconds = plan.normalise(number_text), moments.read(time_text)
            if isinstance(number, DropReason):
                problems.append(Problem(name, Said(vi="không phải số di động Việt Nam", en="not a Vietnamese mobile number"), line))
            elif seconds == BAD_TIME:
                problems.append(Problem(name, Said(vi="thời điểm không đọc được", en="the time cannot be read"), line))
            else:
                texts.append(Text(number, dt.datetime.fromtimestamp(seconds, dt.UTC), content))
    return texts, problems


def _places(name: str, headings: Sequence[str]) -> tuple[int, int, int]:
    """Return where number, time and text stand. Raises `InvalidFileError` naming every column that is missing."""
    folded = [" ".join(fold(heading).casefold().replace("_", " ").split()) for heading in headings]
    found = {key: next((at for at, heading in enumerate(folded) if heading in names), None) for key, names in _COLUMNS.items()}
    missing = [key for key, at in found.items() if at is None]
    if missing:
        words = ", ".join(f"{key} ({', '.join(sorted(_COLUMNS[key])[:3])}…)" for key in missing)
        raise InvalidFileError(
            [Problem(name, Said(vi=f"dòng tiêu đề thiếu cột: {words}", en=f"the heading lacks columns: {words}"), 1)]
        )
    number, time, text = (at for at in found.values() if at is not None)
    return number, time, text
