"""Read the card of the reply number (``reply.toml``): how subscribers' texts reach us, and what one costs them.

``reply.example.toml`` explains every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.carriers import authorities_of, password_of
from broadcaster.files.tomlfile import Table, load
from broadcaster.lang import Said
from broadcaster.model import CarrierCard, CarrierCode, Endpoint, Environment, IdRule

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
