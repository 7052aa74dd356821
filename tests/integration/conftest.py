"""A whole installation on this machine: simulated carriers and the service as real processes, with one campaign ready to go."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import text

from broadcaster.files.carriers import read_cards
from broadcaster.files.parcels import open_parcel
from broadcaster.files.people import add_person, generate_key, public_key_of
from broadcaster.files.settings import load_settings
from broadcaster.flow import admit, compose, enlist, intake, inventory
from broadcaster.flow.status import Status, status
from broadcaster.flow.verify import Check, verify
from broadcaster.lang import speak
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
    State,
    UnknownPolicy,
    Variant,
)
from broadcaster.service.installation import CONFIG_FILE, Installation, initialise, open_installation
from broadcaster.store.campaigns import find_campaign
from tests.integration.command_line import CommandLine

REPOSITORY = Path(__file__).parents[2]
HEADS = {"viettel": "8496", "vinaphone": "8491", "mobifone": "8490", "vietnamobile": "8492", "gmobile": "84993"}
MNC = {"viettel": "04", "vinaphone": "02", "mobifone": "01", "vietnamobile": "05", "gmobile": "07"}
COMMUNES = ("21025", "21040", "21548")
NO_MORE: Mapping[str, str] = MappingProxyType({})
LAUNCHER = (sys.executable, "-m", "broadcaster")
PATIENCE_S = 60.0
PASSWORD = "Mk-thu-9"


class Rig:
    """One installation in `folder` with `subscribers` per carrier; everything it starts dies with it.

    `carriers` maps codes to fault scripts; `absent` ones are not started. The campaign starts `starts_in_s` after it is scheduled.
    """

    def __init__(
        self,
        folder: Path,
        carriers: dict[str, str],
        subscribers: int,
        *,
        tps: int = 500,
        window: int = 20,
        variant: Variant = Variant.UNACCENTED,
        starts_in_s: float = 0.0,
        absent: tuple[str, ...] = (),
        most: int | None = None,
    ) -> None:
        self.home = folder
        self.folder = folder / "installation"
        self.carriers = carriers
        self.tps, self.window, self.starts_in_s = tps, window, starts_in_s
        self._processes: list[subprocess.Popen[str]] = []
        self._taken: tuple[list[int], int] = [], 0
        initialise(self.folder, Environment.REHEARSAL, actor="test", resources=REPOSITORY)
        self.ledgers = {CarrierCode(code): folder / f"{code}.jsonl" for code in carriers}
        self.service_log = folder / "service.log"
        for card in (self.folder / "carriers").glob("*.toml"):
            if card.stem not in carriers:
                card.unlink()
        for code, script in carriers.items():
            self.write_card(code, 1)
            (folder / f"{code}.toml").write_text(script)
        for code in carriers:
            self.write_card(code, free_port() if code in absent else self.simulate(code))
        self.people = self._people()
        self.store = self.open().store
        self._load(folder, subscribers)
        self.order = self._order(subscribers * len(carriers) if most is None else most, variant)
        self._ready()

    def write_card(self, code: str, port: int, password: str = PASSWORD) -> None:
        """Write a carrier's card and password anew."""
        own = {"port", "tps", "window", "assumed", "password_file"}
        text = (REPOSITORY / "carriers" / "rehearsal" / f"{code}.toml").read_text()
        lines = [line for line in text.splitlines() if line.split("=")[0].strip() not in own]
        lines += [f"port = {port}", f"tps = {self.tps}", f"window = {self.window}", f'password_file = "{code}.secret"']
        (self.folder / "carriers" / f"{code}.toml").write_text("\n".join(lines) + "\n")
        secret = self.folder / "carriers" / f"{code}.secret"
        secret.write_text(password)
        secret.chmod(0o600)

    def port(self, code: str) -> int:
        return read_cards(self.folder / "carriers", os.environ, Environment.REHEARSAL)[CarrierCode(code)].endpoint.port

    def simulate(self, code: str, port: int = 0) -> int:
        """Start a carrier; return its port."""
        command = ["carrier", "simulate", str(self.folder / "carriers" / f"{code}.toml"), "--port", str(port)]
        command += ["--faults", str(self.home / f"{code}.toml"), "--ledger", str(self.ledgers[CarrierCode(code)])]
        with self.service_log.open("a") as log:
            process = self._start(command, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        return int(process.stdout.readline())

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        process = self._start(list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def control(self, act: Callable[..., object]) -> int:
        """Pause, resume or cancel from this process; return when it was committed, in ns."""
        here = self.open()
        act(here.store, here.auditor, self.order.name, reason="thử", now=dt.datetime.now(dt.UTC))
        return time.time_ns()

    def _start(
        self, command: list[str], launcher: Sequence[str] = LAUNCHER, environment: Mapping[str, str] = NO_MORE, **streams: object
    ) -> subprocess.Popen[str]:
        whole = {**os.environ, "BROADCASTER_CONFIG": str(self.folder / CONFIG_FILE), **environment}
        words = [*launcher, *command]
        process = subprocess.Popen(words, text=True, env=whole, **streams)  # type: ignore[call-overload]
        self._processes.append(process)
        return process  # type: ignore[no-any-return]

    def _people(self) -> dict[str, Person]:
        self.keys = {}
        for name, role in (
            ("soan", Role.AUTHOR),
            ("duyet-1", Role.APPROVER),
            ("duyet-2", Role.APPROVER),
            ("truc", Role.DUTY_OFFICER),
        ):
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
            cells = [
                f"{code},lte,452,{MNC[code]},100,{1000 + at},S{at},15.1,108.8,{commune},2025-07-01,"
                for at, commune in enumerate(COMMUNES)
            ]
            listed = folder / f"cells-{code}.csv"
            header = "carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to"
            listed.write_text("\n".join([header, *cells]) + "\n")
            inventory.import_cells(here.store, here.auditor, listed, here.areas(), today=now.date())
            seen = (now - dt.timedelta(hours=1)).astimezone(dt.timezone(dt.timedelta(hours=7))).strftime("%Y-%m-%dT%H:%M:%S")
            rows = [
                f"{HEADS[code]}{at:0{11 - len(HEADS[code])}d},lte:452-{MNC[code]}:{1000 + at % len(COMMUNES)},{seen}"
                for at in range(subscribers)
            ]
            roster = folder / f"roster-{code}.csv"
            roster.write_text("\n".join(["msisdn,cell,last_seen", *rows]) + "\n")
            basis = intake.Basis("01/DT", now.date())
            parcel = open_parcel([roster])
            intake.import_roster(
                here.store, here.auditor, here.vault, parcel, carrier=CarrierCode(code), observed_at=now, basis=basis, now=now
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
            audience=Audience(
                tuple(AreaCode(code) for code in COMMUNES), tuple(sorted(map(CarrierCode, self.carriers))), 72, 48, most
            ),
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
            starts_at=now + dt.timedelta(seconds=self.starts_in_s),
            expect_recipients=draft.recipients,
            now=now,
        )

    def serve(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Start the service, with more variables in its environment if wanted."""
        with self.service_log.open("a") as log:
            return self._start(["service", "run", *options], environment=environment, stdout=log, stderr=log)

    def serve_until(self, point: str, nth: int) -> subprocess.Popen[str]:
        """Start a service that dies when it reaches a point of tests/integration/failpoints.py for the n-th time."""
        with self.service_log.open("a") as log:
            launcher = [sys.executable, str(Path(__file__).with_name("failpoints.py")), point, str(nth)]
            return self._start(["service", "run"], launcher=launcher, stdout=log, stderr=log)

    def wait_for(self, happened: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
        """Wait until something is so; fail with the service's last words when it does not come about."""
        until = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not happened():
            dead = process is not None and process.poll() is not None
            if dead or time.monotonic() > until:
                pytest.fail("it did not happen; the service said:\n" + self.service_log.read_text()[-3000:])
            pause.wait(0.02)

    def submits(self) -> list[LedgerRow]:
        """Everything that reached a carrier, in order of its arrival."""
        return sorted((row for code in self.ledgers for row in self.rows(code) if row.event == "submit"), key=lambda row: row.t)

    def taken(self) -> int:
        """How many parts the carriers have taken so far, by their ledgers, which are read anew when one has grown."""
        sizes = [path.stat().st_size if path.exists() else 0 for path in self.ledgers.values()]
        if sizes != self._taken[0]:
            count = sum(row.event == "submit" and row.status == 0 for code in self.ledgers for row in self.rows(code))
            self._taken = sizes, count
        return self._taken[1]

    def rows(self, code: CarrierCode) -> Iterator[LedgerRow]:
        if self.ledgers[code].exists():
            yield from read_ledger(self.ledgers[code])

    def verify(self) -> list[Check]:
        here = self.open()
        return verify(
            here.store, here.vault, here.audit_key, self.order.name, cards=here.cards(), people=self.people, ledgers=self.ledgers
        )

    def status(self) -> Status:
        here = self.open()
        return status(here.store, self.order.name, cards=here.cards(), people=self.people, now=dt.datetime.now(dt.UTC))

    def state(self) -> str:
        with self.store.read() as connection:
            return find_campaign(connection, self.order.name).state.value

    def count(self, state: State) -> int:
        """How many messages stand in this state."""
        with self.store.read() as connection:
            query = text("SELECT count(*) FROM message WHERE state = :state")
            return int(connection.execute(query, {"state": int(state)}).scalar_one())

    def leaks(self) -> list[str]:
        """What the service and the carriers wrote to their logs that must be in none: numbers of subscribers, passwords."""
        said = self.service_log.read_text() if self.service_log.exists() else ""
        numbers = {row.dst.lstrip("+") for code in self.ledgers for row in self.rows(code)}
        national = {"0" + number.removeprefix("84") for number in numbers}
        found = set(re.findall(r"\d{9,}", said))
        return sorted(found & (numbers | national)) + ([PASSWORD] if PASSWORD in said else [])

    def stop(self, process: subprocess.Popen[str]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE_S)

    def close(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(carriers: dict[str, str], subscribers: int, **more: Any) -> Rig:
        rigs.append(Rig(tmp_path, carriers, subscribers, **more))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()
    assert [leak for rig in rigs for leak in rig.leaks()] == []


@pytest.fixture
def command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """Make a new installation the working folder; nothing of the caller's environment reaches it, nor its settings the caller."""
    mask = os.umask(0o077)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    for name in [name for name in os.environ if name.startswith("BROADCASTER_")]:
        monkeypatch.delenv(name)
    speak("vi")
    made = CommandLine(tmp_path / "noi-cai-dat", capsys, monkeypatch)
    assert made("init", str(made.folder)).code == 0
    monkeypatch.chdir(made.folder)
    yield made
    os.umask(mask)
