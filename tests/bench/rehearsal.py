"""A rehearsal installation to measure: the product's own commands, each a process of its own, and the people who sign."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from broadcaster.files.people import add_person, generate_key, public_key_of, write_key
from broadcaster.model import Person, Role

ROOT = Path(__file__).parents[2]
CARRIERS = ROOT / "carriers" / "rehearsal"
REPLACED = {"host", "port", "tps", "window", "assumed", "response_id", "receipt_id"}
"""Keys of the rehearsal cards that a bench sets itself."""
OFFICES = (("soan", "author"), ("duyet-1", "approver"), ("duyet-2", "approver"), ("truc", "duty-officer"))
CAMPAIGN = "do-toc-do"
ROSTER_BASIS = ("--legal-basis", "01/DT", "--legal-date", "2026-01-05", "--observed-at", "newest")
ORDER = """
[campaign]
title = "Đo tốc độ"
environment = "rehearsal"
class = "advisory"

[instruction]
number = "12/CT-UBND"
date = 2019-06-12
issued_by = "Ủy ban nhân dân tỉnh Quảng Ngãi"

[text]
template = "t08-gia-danh"
variant = "unaccented"
sender = "SKHCN-QNG"

[audience]
areas = "province"
active_within_h = 72
roster_max_age_h = 48
max_recipients = 5_000_000

[time]
window = "all-day"
start_within_h = 2
deadline_h = 12
validity_h = 12
"""


class Run(NamedTuple):
    """One finished command: what it printed, how long it took, its peak memory."""

    text: str
    seconds: float
    peak_mb: float


class Rehearsal:
    """An installation under `folder`, and every process started for it; `close` ends those that still run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "installation"
        self._children: list[subprocess.Popen[str]] = []

    def command(self, *words: str) -> Run:
        """Run one command of the program; a failing one ends the bench with what it said."""
        began = time.perf_counter()
        process = self.start(*words)
        text = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in {0, 3}:
            sys.exit(f"broadcaster {words[:3]}: exit {process.returncode}\n{text}{self.log}")
        return Run(text, time.perf_counter() - began, usage.ru_maxrss / 1024)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start one command of the program."""
        return self.run_python("-m", "broadcaster", *words)

    def run_python(self, *words: str) -> subprocess.Popen[str]:
        """Start a Python process in this installation."""
        settings = {"BROADCASTER_CONFIG": str(self.home / "broadcaster.toml"), "BROADCASTER_LANG": "en", "PYTHONPATH": str(ROOT)}
        with (self.folder / "log.txt").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *words], stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **settings}, cwd=ROOT
            )
        self._children.append(process)
        return process

    @property
    def log(self) -> str:
        """The end of what the processes wrote to their error output."""
        return (self.folder / "log.txt").read_text()[-1_500:]

    def initialise(self) -> None:
        """Make the installation and register the people who sign."""
        self.command("init", str(self.home))
        for name, role in OFFICES:
            write_key(self.home / "keys" / f"{name}.pem", key := generate_key())
            add_person(self.home / "people.toml", Person(name, name, frozenset({Role(role)}), public_key_of(key)))

    def write_card(self, carrier: str, *lines: str) -> Path:
        """Write the carrier's rehearsal card with these lines in the place of the keys that a bench sets."""
        shipped = (CARRIERS / f"{carrier}.toml").read_text().splitlines()
        kept = [line for line in shipped if line.split("=")[0].strip() not in REPLACED]
        path = self.home / "carriers" / f"{carrier}.toml"
        path.write_text("\n".join([*kept, *lines]) + "\n")
        return path

    def write_order(self) -> Path:
        order = self.home / "campaigns" / f"{CAMPAIGN}.toml"
        order.write_text(ORDER)
        return order

    def sign(self, order: Path) -> None:
        """Submit the order and collect every signature it takes."""
        author, *signers = [name for name, _ in OFFICES]
        self.command("campaign", "submit", str(order), "--as", author)
        for name in signers:
            self.command("campaign", "approve", CAMPAIGN, "--as", name, "--key", str(self.home / "keys" / f"{name}.pem"))

    def schedule(self, recipients: int) -> None:
        """Let the campaign start in a second."""
        self.command("campaign", "schedule", CAMPAIGN, "--in", "1", "--yes", "--expect-recipients", str(recipients))

    def close(self) -> None:
        for child in self._children:
            if child.returncode is None:
                child.kill()
                child.wait()
            if child.stdout:
                child.stdout.close()
