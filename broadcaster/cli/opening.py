"""What a command works on: the settings, the installation, the one who acts, and the clock."""

from __future__ import annotations

import datetime as dt
import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broadcaster.cli.commands import invocation
from broadcaster.errors import ConfigurationError, NotFoundError
from broadcaster.lang import Said

if TYPE_CHECKING:
    from broadcaster.files.settings import Settings
    from broadcaster.files.templates import Template
    from broadcaster.model import CarrierCard, CarrierCode
    from broadcaster.service.installation import Installation
    from broadcaster.text.compose import Spellings

CONFIG_FILE: Final = "broadcaster.toml"


def config_path() -> Path | None:
    """Return the settings file: --config, else BROADCASTER_CONFIG, else broadcaster.toml here, else None."""
    named = invocation().config or (Path(given) if (given := os.environ.get("BROADCASTER_CONFIG")) else None)
    here = Path(CONFIG_FILE)
    return named or (here if here.exists() else None)


def settings() -> Settings:
    """Load the settings. Raises `ConfigurationError` or `InvalidFileError`."""
    from broadcaster.files.settings import load_settings

    return load_settings(config_path(), os.environ)


def login() -> str:
    """Return the operating system's name of who runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid-{os.getuid()}"


def installation(actor: str | None = None, *, service: bool = False) -> Installation:
    """Open the installation in the name of `actor`, by default the login name. Raises what `open_installation` does."""
    from broadcaster.service.installation import open_installation

    return open_installation(installed_settings(), actor=actor or login(), service=service)


def installed_settings() -> Settings:
    """Load the settings of an installation. Raises `ConfigurationError` when there is none here, or as `settings` does."""
    found = settings()
    if config_path() is None and not found.vault_key_file.exists():
        raise ConfigurationError(
            Said(f"Ở đây không có {CONFIG_FILE}: {Path.cwd()}", f"There is no {CONFIG_FILE} here: {Path.cwd()}"),
            Said(
                "vào thư mục của hệ thống bằng `cd`, hoặc chỉ ra tệp bằng --config hay biến BROADCASTER_CONFIG",
                "`cd` into the installation, or name the file with --config or the variable BROADCASTER_CONFIG",
            ),
        )
    return found


def cards_of(found: Settings) -> dict[CarrierCode, CarrierCard]:
    """Read the carriers' cards that the settings name."""
    from broadcaster.files.carriers import read_cards

    return read_cards(found.carriers_folder, os.environ, found.environment)


def footer_of(found: Settings) -> tuple[str | None, Spellings]:
    """Return the reply number, if one is hired, and the sentence that stands in for it.

    A number whose texts cost the subscriber something comes as a sentence, which says what.
    Raises `ConfigurationError` or `InvalidFileError` when the number has no card, or a wrong one.
    """
    from broadcaster.files.replies import read_reply_card, reply_number_of
    from broadcaster.model import Variant
    from broadcaster.text.compose import Spellings, footer_for
    from broadcaster.text.fold import fold

    card = read_reply_card(found.reply_card, os.environ, found.environment)
    number = reply_number_of(card, found.reply_number, found.reply_card)
    if number and card and card.cost_vnd:
        accented = f"{footer_for(Variant.ACCENTED, number)} ({card.cost_vnd}đ)"
        return None, Spellings(accented, fold(accented))
    return number, Spellings(found.refusal_alternative, fold(found.refusal_alternative))


def find_template(templates: Sequence[Template], name: str) -> Template:
    """Return the template with this key or tactic number. Raises `NotFoundError`."""
    wanted = name.casefold()
    for template in templates:
        if wanted in (template.key.casefold(), (template.tactic or "").casefold()):
            return template
    raise NotFoundError(
        Said(f"không có mẫu tin “{name}”", f"there is no template “{name}”"),
        Said("xem danh sách: broadcaster template list", "list them with: broadcaster template list"),
    )


def find_card(cards: dict[CarrierCode, CarrierCard], code: str) -> CarrierCard:
    """Return the card with this code. Raises `NotFoundError`."""
    for card in cards.values():
        if card.code == code:
            return card
    known = ", ".join(sorted(cards))
    raise NotFoundError(
        Said(f"không có thẻ nhà mạng “{code}”", f"there is no carrier card “{code}”"), Said(f"hiện có: {known}", f"known: {known}")
    )


def now() -> dt.datetime:
    """Return the present moment in UTC."""
    return dt.datetime.now(dt.UTC)
