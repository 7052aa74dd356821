"""The installation that every simulation copies, and the campaign each one signs: made by the program's own intake and admission."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broadcaster.files.carriers import read_cards
from broadcaster.files.parcels import open_parcel
from broadcaster.files.people import add_person, public_key_of
from broadcaster.files.settings import load_settings
from broadcaster.files.templates import Template, read_templates
from broadcaster.flow import admit, compose, enlist, intake, inventory
from broadcaster.model import (
    AreaCode,
    Audience,
    CarrierCard,
    CarrierCode,
    DailyWindow,
    Environment,
    MessageClass,
    Order,
    Person,
    Role,
    UnknownPolicy,
    Variant,
)
from broadcaster.service.installation import CONFIG_FILE, Installation, initialise, open_installation

REPOSITORY: Final = Path(__file__).parents[2]
START: Final = dt.datetime(2026, 3, 12, 3, tzinfo=dt.UTC)
"""A Thursday, ten in the morning in Quảng Ngãi."""
CARRIERS: Final = ("mobifone", "viettel", "vinaphone")
HEADS: Final[Mapping[str, str]] = {"viettel": "8496", "vinaphone": "8491", "mobifone": "8490"}
_MNC: Final[Mapping[str, str]] = {"viettel": "04", "vinaphone": "02", "mobifone": "01"}
COMMUNES: Final = ("21025", "21040", "21172", "21548", "21034", "21196")
PER_COMMUNE: Final = 10
SIGNERS: Final = ("duyet-1", "duyet-2")
NAME: Final = "dien-tap"
URGENT: Final = "khan-cap"
ALL_DAY: Final = DailyWindow(dt.time(0), dt.time(0))


def scratch() -> Path:
    """Return a new folder, in memory where the machine has such a place: what a killed process wrote survives it all the same."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="broadcaster-sim-", dir=memory if os.access(memory, os.W_OK) else None))


@dataclass(frozen=True)
class Master:
    """An installation with cells, rosters and people, made once and copied for each simulation."""

    folder: Path
    keys: Mapping[str, Ed25519PrivateKey]
    people: Mapping[str, Person]
    cards: Mapping[CarrierCode, CarrierCard]
    templates: Mapping[str, Template]

    def copy(self, target: Path) -> Path:
        shutil.copytree(self.folder, target)
        return target


def open_at(folder: Path, *, actor: str, service: bool = False) -> Installation:
    return open_installation(load_settings(folder / CONFIG_FILE, {}), actor=actor, service=service)


@cache
def master() -> Master:
    """Make the installation. Must run under the simulation's time, which the rosters are dated by."""
    home = scratch()
    folder = home / "installation"
    # The vault's key decides the order of the messages, so it must be the same one in every process.
    with mock.patch("secrets.token_bytes", lambda octets: bytes(range(octets))):
        initialise(folder, Environment.REHEARSAL, actor="test", resources=REPOSITORY)
    roles = {"soan": Role.AUTHOR, **dict.fromkeys(SIGNERS, Role.APPROVER)}
    keys = {name: Ed25519PrivateKey.from_private_bytes(bytes([at]) * 32) for at, name in enumerate(roles, 1)}
    for name, role in roles.items():
        add_person(folder / "people.toml", Person(name, name, frozenset({role}), public_key_of(keys[name])))
    installed = open_at(folder, actor="test")
    for code in CARRIERS:
        _take_in(installed, home, code)
    cards = read_cards(folder / "carriers", os.environ, Environment.REHEARSAL)
    templates = {item.key: item for item in read_templates(installed.settings.templates_folder)}
    made = Master(folder, keys, dict(installed.people()), cards, templates)
    installed.store.close()
    return made


def discard_master() -> None:
    """Remove the installation that was made."""
    if master.cache_info().currsize:
        shutil.rmtree(master().folder.parent, ignore_errors=True)
        master.cache_clear()


def number_of(code: str, at: int) -> str:
    """Return a subscriber's number."""
    return f"{HEADS[code]}{at:07d}"


def _take_in(installed: Installation, home: Path, code: str) -> None:
    mnc = _MNC[code]
    cells = [f"{code},lte,452,{mnc},100,{1000 + at},S{at},15.1,108.8,{area},2025-07-01," for at, area in enumerate(COMMUNES)]
    listed = home / f"cells-{code}.csv"
    listed.write_text("\n".join(["carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to", *cells]) + "\n")
    inventory.import_cells(installed.store, installed.auditor, listed, installed.areas(), today=START.date())
    seen = (START - dt.timedelta(hours=1)).isoformat()
    people = range(PER_COMMUNE * len(COMMUNES))
    rows = [f"{number_of(code, at)},lte:452-{mnc}:{1000 + at % len(COMMUNES)},{seen}" for at in people]
    export = home / f"roster-{code}.csv"
    export.write_text("\n".join(["msisdn,cell,last_seen", *rows]) + "\n")
    intake.import_roster(
        installed.store,
        installed.auditor,
        installed.vault,
        open_parcel([export]),
        carrier=CarrierCode(code),
        observed_at=START,
        basis=intake.Basis("01/DT", START.date()),
        now=START,
    )


def order_for(
    name: str,
    communes: int,
    variant: Variant,
    policy: UnknownPolicy,
    *,
    window: DailyWindow = ALL_DAY,
    deadline_h: int = 12,
    carriers: tuple[str, ...] = CARRIERS,
) -> Order:
    """Return the order of a campaign to this many communes; `URGENT` goes before the other one and says something else."""
    urgent = name == URGENT
    return Order(
        name=name,
        title="Diễn tập",
        environment=Environment.REHEARSAL,
        message_class=MessageClass.URGENT if urgent else MessageClass.ADVISORY,
        instruction="12/CT-UBND",
        template="t12-thong-tin-ca-nhan" if urgent else "t08-gia-danh",
        variant=variant,
        values={},
        sender="SKHCN-QNG",
        audience=Audience(tuple(sorted(map(AreaCode, COMMUNES[:communes]))), tuple(map(CarrierCode, carriers)), 72, 48, 900),
        window=window,
        start=None,
        start_within_h=2,
        deadline_h=deadline_h,
        validity_h=12,
        override_refusals=False,
        unknown_policy=policy,
    )


def admit_order(
    installed: Installation, order: Order, cards: Mapping[CarrierCode, CarrierCard], now: dt.datetime, starts_in_s: float
) -> admit.Draft:
    """Submit, sign and schedule an order."""
    made = master()
    bodies = compose.bodies(order, made.templates[order.template], cards, reply_number="1234", alternative=None)
    audience = enlist.count(installed.store, order, now)
    draft = admit.draft(order, bodies, audience.rosters, audience.counts, cards, now)
    hours = installed.settings.window
    admit.submit(installed.store, installed.auditor, draft, submitter=made.people["soan"], hours=hours, now=now)
    for name in SIGNERS:
        verdict = admit.approve(
            installed.store, installed.auditor, order.name, person=made.people[name], key=made.keys[name], people=made.people, now=now
        )
        if verdict.ok:
            break
    admit.schedule(
        installed.store,
        installed.auditor,
        order.name,
        people=made.people,
        starts_at=now + dt.timedelta(seconds=starts_in_s),
        expect_recipients=draft.recipients,
        now=now,
    )
    return draft


def card_for(code: str, port: int, **values: object) -> CarrierCard:
    """Return a carrier's rehearsal card with other values."""
    card = master().cards[CarrierCode(code)]
    return replace(card, endpoint=replace(card.endpoint, port=port), **values)
