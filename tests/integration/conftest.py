"""A whole installation on this machine: simulated carriers and the service as real processes, with one campaign ready to go."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broadcaster.files.carriers import read_cards
from broadcaster.files.people import add_person, generate_key, public_key_of
from broadcaster.files.settings import load_settings
from broadcaster.flow import admit, compose, enlist, intake
from broadcaster.link.ledger import LedgerRow, read_ledger
from broadcaster.model import (
    AreaCode,
    Audience,
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
from broadcaster.flow.verify import Check, verify
from broadcaster.store.campaigns import find_campaign

REPOSITORY = Path(__file__).parents[2]
HEADS = {"viettel": "8496", "vinaphone": "8491", "mobifone": "8490", "vietnamobile": "8492", "gmobile": "84993"}
MNC = {"viettel": "04", "vinaphone": "02", "mobifone": "01", "vietnamobile": "05", "gmobile": "07"}
COMMUNES = ("21025", "21040", "21548")
PATIENCE_S = 60.0


class Rig:
    """One installation in `folder` with `subscribers` per carrier; everything it starts dies with it."""

    def __init__(self, folder: Path, carriers: dict[str, str], subscribers: int, *, tps: int, window: int, variant: Variant) -> None:
        self.folder = folder / "installation"
        self.carriers = carriers
        self._processes: list[subprocess.Popen[str]] = []
        initialise(self.folder, Environment.REHEARSAL, actor="test", resources=REPOSITORY)
        self.ledgers = {CarrierCode(code): folder / f"{code}.jsonl" for code in carriers}
        self.service_log = folder / "service.log"
        for code, script in carriers.items():
            self._write_card(code, 1, tps, window)
            (folder / f"{code}.toml").write_text(script)
        for code in carriers:
            self._write_card(code, self._simulate(folder, code), tps, window)
        self.people = self._people()
        self._load(folder, subscribers)
        self.order = self._order(subscribers * len(carriers), variant)
        self._ready()

    def _write_card(self, code: str, port: int, tps: int, window: int) -> None:
        text = (REPOSITORY / "carriers" / "rehearsal" / f"{code}.toml").read_text()
        lines = [line for line in text.splitlines() if line.split("=")[0].strip() not in {"port", "tps", "window", "assumed"}]
        lines += [f"port = {port}", f"tps = {tps}", f"window = {window}"]
        (self.folder / "carriers" / f"{code}.toml").write_text("\n".join(lines) + "\n")

    def _simulate(self, folder: Path, code: str) -> int:
        command = ["carrier", "simulate", str(self.folder / "carriers" / f"{code}.toml"), "--port", "0"]
        command += ["--faults", str(folder / f"{code}.toml"), "--ledger", str(self.ledgers[CarrierCode(code)])]
        process = self._start(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        return int(process.stdout.readline())

    def _start(self, command: list[str], **streams: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "BROADCASTER_CONFIG": str(self.folder / CONFIG_FILE)}
        process = subprocess.Popen([sys.executable, "-m", "broadcaster", *command], text=True, env=environment, **streams)  # type: ignore[call-overload]
        self._processes.append(process)
        return process  # type: ignore[no-any-return]

    def _people(self) -> dict[str, Person]:
        self.keys = {}
        for name, role in (("soan", Role.AUTHOR), ("duyet-1", Role.APPROVER), ("duyet-2", Role.APPROVER), ("truc", Role.DUTY_OFFICER)):
            self.keys[name] = generate_key()
            person = Person(name=name, title=name, roles=frozenset({role}), public_key=public_key_of(self.keys[name]))
            add_person(self.folder / "people.toml", person)
        return dict(self.open().people())

    def open(self) -> Installation:
        return open_installation(load_settings(self.folder / CONFIG_FILE, {}), actor="test")

    def _load(self, folder: Path, subscribers: int) -> None:
        now = dt.datetime.now(dt.UTC)
        here = self.open()
        for code in self.carriers:
            cells = [f"{code},lte,452,{MNC[code]},100,{1000 + at},S{at},15.1,108.8,{commune},2025-07-01," for at, commune in enumerate(COMMUNES)]
            inventory = folder / f"cells-{code}.csv"
            header = "carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to"
            inventory.write_text("\n".join([header, *cells]) + "\n")
            intake.import_cells(here.store, here.auditor, inventory, here.areas())
            seen = (now - dt.timedelta(hours=1)).astimezone(dt.timezone(dt.timedelta(hours=7))).strftime("%Y-%m-%dT%H:%M:%S")
            rows = [f"{HEADS[code]}{at:0{11 - len(HEADS[code])}d},lte:452-{MNC[code]}:{1000 + at % len(COMMUNES)},{seen}" for at in range(subscribers)]
            roster = folder / f"roster-{code}.csv"
            roster.write_text("\n".join(["msisdn,cell,last_seen", *rows]) + "\n")
            intake.import_roster(
                here.store, here.auditor, here.vault, roster, carrier=CarrierCode(code), observed_at=now, legal_basis="test", now=now
            )

    def _order(self, most: int, variant: Variant) -> Order:
        return Order(
            name="dien-tap",
            title="Diễn tập",
            environment=Environment.REHEARSAL,
            message_class=MessageClass.ADVISORY,
            instruction="12/CT-UBND",
            template="t08-gia-danh",
            variant=variant,
            values={},
            sender="SKHCN-QNG",
            audience=Audience(tuple(AreaCode(code) for code in COMMUNES), tuple(sorted(map(CarrierCode, self.carriers))), 72, 48, most),
            window=DailyWindow(dt.time(0), dt.time(0)),
            start=None,
            start_within_h=2,
            deadline_h=12,
            validity_h=12,
            override_refusals=False,
            unknown_policy=UnknownPolicy.AT_MOST_ONCE,
        )

    def _ready(self) -> None:
        """Submit, approve and schedule the order for now."""
        here = self.open()
        now = dt.datetime.now(dt.UTC)
        template = next(item for item in here.templates() if item.key == self.order.template)
        bodies = compose.bodies(self.order, template, here.cards(), reply_number="1234", alternative=None)
        audience = enlist.count(here.store, self.order, now)
        draft = admit.draft(self.order, bodies, audience.rosters, audience.counts, here.cards(), now)
        admit.submit(here.store, here.auditor, draft, submitter=self.people["soan"], hours=here.settings.window, now=now)
        for name in ("duyet-1", "duyet-2", "truc"):
            verdict = admit.approve(
                here.store, here.auditor, self.order.name, person=self.people[name], key=self.keys[name], people=self.people, now=now
            )
            if verdict.ok:
                break
        admit.schedule(
            here.store,
            here.auditor,
            self.order.name,
            people=self.people,
            starts_at=now,
            expect_recipients=draft.recipients,
            now=now,
        )

    def serve(self, *options: str) -> subprocess.Popen[str]:
        """Start the service."""
        with self.service_log.open("a") as log:
            return self._start(["service", "run", *options], stdout=log, stderr=log)

    def wait_for(self, happened: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
        """Wait until something is so; fail with the service's last words when it does not come about."""
        until = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not happened():
            dead = process is not None and process.poll() is not None
            if dead or time.monotonic() > until:
                pytest.fail("it did not happen; the service said:\n" + self.service_log.read_text()[-3000:])
            pause.wait(0.02)

    def taken(self) -> int:
        """How many parts the carriers have taken so far, by their ledgers."""
        return sum(row.event == "submit" and row.status == 0 for code in self.ledgers for row in self.rows(code))

    def rows(self, code: CarrierCode) -> Iterator[LedgerRow]:
        if self.ledgers[code].exists():
            yield from read_ledger(self.ledgers[code])

    def verify(self) -> list[Check]:
        here = self.open()
        return verify(
            here.store, here.vault, here.audit_key, self.order.name, cards=here.cards(), people=self.people, ledgers=self.ledgers
        )

    def state(self) -> str:
        with self.open().store.read() as connection:
            return find_campaign(connection, self.order.name).state.value

    def stop(self, process: subprocess.Popen[str]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE_S)

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(
        carriers: dict[str, str], subscribers: int, *, tps: int = 500, window: int = 20, variant: Variant = Variant.UNACCENTED
    ) -> Rig:
        rigs.append(Rig(tmp_path, carriers, subscribers, tps=tps, window=window, variant=variant))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()
