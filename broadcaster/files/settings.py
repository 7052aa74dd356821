"""The installation's settings: flags before environment (``BROADCASTER_…``) before TOML before defaults.

``config.example.toml`` explains every key. How many approvals a campaign needs is on purpose not a setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from broadcaster.errors import InvalidFileError, Problem
from broadcaster.files.tomlfile import Table, load, parse
from broadcaster.lang import Said
from broadcaster.model import DailyWindow, Environment
from broadcaster.rules.order import parse_window
from broadcaster.text.lint import promises_reply

ENV_PREFIX: Final = "BROADCASTER_"
DATABASE_FILE: Final = "broadcaster.db"

_SQLITE_FILE: Final = re.compile(r"sqlite:///(?!:memory:)[^?\s][^?]*(?<!/)")
_OTHERS_NUMBERS: Final = frozenset({"5656"})
"""The national Do-Not-Call and report number (circular 22/2021/TT-BTTTT): not ours to answer."""
_THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Metrics(Table):
    """What Prometheus may ask, on this machine only."""

    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 answers nobody."""


class Alarms(Table):
    """Where alarms go, and from what on there is one."""

    command: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """A program and its arguments; it reads the alarm as JSON on its standard input."""
    webhook: str = ""
    """Where the alarm is posted as JSON: ``https://…``, or ``http://`` to this machine."""
    link_down_s: Annotated[int, Field(ge=5, le=86_400)] = 60
    uncertain: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    """More uncertain messages than this, in campaigns that have not ended, are an alarm."""
    repeat_min: Annotated[int, Field(ge=1, le=1_440)] = 15
    """One cause is told at most once in so many minutes."""

    @field_validator("webhook")
    @classmethod
    def _safe(cls, url: str) -> str:
        if url and not _may_be_posted_to(url):
            raise ValueError(
                Said(
                    vi="phải là https://…, hoặc http://127.0.0.1:cổng/… trên chính máy này",
                    en="must be https://…, or http://127.0.0.1:port/… on this machine",
                )
            )
        return url


def _may_be_posted_to(url: str) -> bool:
    """Tell whether an alarm that goes there cannot be read on the way."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return False
    return host is not None and (parts.scheme == "https" or (parts.scheme == "http" and host in _THIS_MACHINE))


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
    import_folder: Path = Path("/")
    """Carriers' exports are read from here only; ``/`` is anywhere."""
    refusals_journal: Path = Path("refusals.journal")
    """Where every refusal is kept a second time, before it is acknowledged; best on another disk than the database."""
    reply_card: Path = Path("reply.toml")
    """How texts to the reply number reach us, and what they cost (files/replies.py); needed as soon as there is a number."""
    reply_number: Annotated[str, Field(pattern=r"^([0-9]{4})?$")] = ""
    """Where subscribers text their refusal; empty while none is hired, and then no text may promise a reply."""
    refusal_alternative: Annotated[str, Field(max_length=60)] = "Từ chối: báo UBND xã."
    sending_hours: str = "07:00-22:00"
    """Local hours in which advisory warnings may be sent; outside are the quiet hours."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    metrics: Metrics = Metrics()
    alarms: Alarms = Alarms()

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
        if not self.reply_number and promises_reply(self.refusal_alternative) is not None:
            raise ValueError(
                Said(
                    vi="refusal_alternative không được mời trả lời bằng tin nhắn khi chưa có reply_number",
                    en="refusal_alternative must not ask for a reply by text while there is no reply_number",
                )
            )
        return self

    @property
    def window(self) -> DailyWindow:
        """Return `sending_hours` as a window."""
        return parse_window(self.sending_hours)


_PATHS: Final = tuple(name for name, field in Settings.model_fields.items() if field.annotation is Path)
_TABLES: Final = frozenset({"metrics", "alarms"})
"""What only the file can give."""
_KEYS: Final = tuple(name for name in Settings.model_fields if name not in _TABLES)


def load_settings(path: Path | None, env: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Settings:
    """Return the settings, each key from the strongest source that gives it.

    `flags` has the keys of the file, its tables excepted. Relative paths count from the file's folder where the file or a default
    gives them, from the working folder otherwise. Raises `ConfigurationError` or `InvalidFileError`.
    """
    base = path.parent if path else Path()
    settings = load(path, Settings) if path else Settings()
    values = _values(settings, base, set(Settings.model_fields))
    named = {name: env[ENV_PREFIX + name.upper()] for name in _KEYS if ENV_PREFIX + name.upper() in env}
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
    together = {name: str(weaker[name]) for name in _KEYS} | dict(given)
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in together.items())
    try:
        return _values(parse(text, source, Settings), Path(), set(given))
    except InvalidFileError as error:
        raise InvalidFileError([Problem(_spelt(source, problem.key), problem.message) for problem in error.problems]) from None


def _spelt(source: str, name: str | None) -> str:
    if source == ENV_PREFIX:
        return source + (name or "").upper()
    return source + (name or "").replace("_", "-")
