"""The installation's settings: flags before environment (``BROADCASTER_…``) before TOML before defaults.

``config.example.toml`` explains every key. How many approvals a campaign needs is on purpose not a setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from broadcaster.errors import InvalidFileError, Problem
from broadcaster.files.tomlfile import Table, load, parse
from broadcaster.lang import Said
from broadcaster.model import DailyWindow, Environment
from broadcaster.rules.order import parse_window

ENV_PREFIX: Final = "BROADCASTER_"
DATABASE_FILE: Final = "broadcaster.db"

_SQLITE_FILE: Final = re.compile(r"sqlite:///(?!:memory:)[^?\s][^?]*(?<!/)")
_OTHERS_NUMBERS: Final = frozenset({"5656"})
"""The national Do-Not-Call and report number (circular 22/2021/TT-BTTTT): not ours to answer."""


class Settings(Table):
    """Everything that differs between installations; paths are absolute once loaded."""

    environment: Environment = Environment.REHEARSAL
    organisation: Annotated[str, Field(min_length=1, max_length=120)] = "Sở Khoa học và Công nghệ tỉnh Quảng Ngãi"
    governing_body: Annotated[str, Field(min_length=1, max_length=120)] = "Ủy ban nhân dân tỉnh Quảng Ngãi"
    state_folder: Path = Path("state")
    database_url: str = ""
    """``sqlite:///`` and the file's path, the only engine of this version; while empty, a file in the state folder."""
    carriers_folder: Path = Path("carriers")
    templates_folder: Path = Path("templates")
    people_file: Path = Path("people.toml")
    vault_key_file: Path = Path("vault.key")
    reply_number: Annotated[str, Field(pattern=r"^([0-9]{4})?$")] = ""
    """Where subscribers text their refusal; empty while none is hired, and then no text may promise a reply."""
    refusal_alternative: Annotated[str, Field(max_length=60)] = "Từ chối: báo UBND xã."
    sending_hours: str = "07:00-22:00"
    """Local hours in which advisory warnings may be sent; outside are the quiet hours."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("sending_hours")
    @classmethod
    def _hours(cls, text: str) -> str:
        if parse_window(text).all_day:
            raise ValueError(Said(vi="phải chừa giờ nghỉ, ví dụ 07:00-22:00", en="must leave quiet hours, such as 07:00-22:00"))
        return text

    @field_validator("database_url")
    @classmethod
    def _sqlite_file(cls, url: str) -> str:
        if url and not _SQLITE_FILE.fullmatch(url):
            raise ValueError(
                Said(
                    vi="phiên bản này chỉ dùng SQLite: để trống, hoặc ghi sqlite:///đường/dẫn/tệp.db",
                    en="this version uses SQLite only: leave it empty or give sqlite:///path/to/file.db",
                )
            )
        return url

    @field_validator("reply_number")
    @classmethod
    def _ours(cls, number: str) -> str:
        if number in _OTHERS_NUMBERS:
            raise ValueError(Said(vi=f"{number} là đầu số của cơ quan khác", en=f"{number} belongs to another authority"))
        return number

    @model_validator(mode="after")
    def _a_way_to_refuse(self) -> Self:
        if not (self.reply_number or self.refusal_alternative.strip()):
            raise ValueError(
                Said(
                    vi="chưa có reply_number thì phải ghi refusal_alternative",
                    en="without reply_number there must be a refusal_alternative",
                )
            )
        return self

    @property
    def window(self) -> DailyWindow:
        """Return `sending_hours` as a window."""
        return parse_window(self.sending_hours)


_PATHS: Final = tuple(name for name, field in Settings.model_fields.items() if field.annotation is Path)


def load_settings(path: Path | None, env: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Settings:
    """Return the settings, each key from the strongest source that gives it.

    `flags` has the keys of the file. Relative paths count from the file's folder where the file or a default gives them, from the
    working folder otherwise. Raises `ConfigurationError` or `InvalidFileError`.
    """
    base = path.parent if path else Path()
    settings = load(path, Settings) if path else Settings()
    values = _values(settings, base, set(Settings.model_fields))
    named = {name: env[ENV_PREFIX + name.upper()] for name in Settings.model_fields if ENV_PREFIX + name.upper() in env}
    for source, given in ((ENV_PREFIX, named), ("--", dict(flags or {}))):
        values |= _given(source, given, values)
    if not values["database_url"]:
        values["database_url"] = f"sqlite:///{values['state_folder'] / DATABASE_FILE}"
    return Settings.model_validate(values)


def _values(settings: Settings, base: Path, names: set[str]) -> dict[str, Any]:
    """Return the named values, paths made absolute from `base`."""
    found = {name: getattr(settings, name) for name in names}
    return {name: (base / value).absolute() if name in _PATHS else value for name, value in found.items()}


def _given(source: str, given: Mapping[str, str], weaker: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that one source gives as strings, checked together with those it overrides."""
    together = {name: str(value) for name, value in weaker.items()} | dict(given)
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in together.items())
    try:
        return _values(parse(text, source, Settings), Path(), set(given))
    except InvalidFileError as error:
        raise InvalidFileError([Problem(_spelt(source, problem.key), problem.message) for problem in error.problems]) from None


def _spelt(source: str, name: str | None) -> str:
    if source == ENV_PREFIX:
        return source + (name or "").upper()
    return source + (name or "").replace("_", "-")
