"""Measure the main job at two sizes on this machine: import, planning, sending with receipts, report, memory.

`make bench` runs it. Every step is the product's own command as a process of its own; times are wall clock, memory is the peak
resident size the kernel reports for that process. The simulated carriers share the machine, so rates are a floor.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from broadcaster.files.people import generate_key, public_key_of, write_key
from demo.generate import NETWORKS, cells_path, generate, roster_path

ROOT = Path(__file__).parents[2]
SEED = 12
REPLACED = {"port", "tps", "window", "assumed", "response_id", "receipt_id"}
"""Keys of the rehearsal cards that a bench sets itself: no limit, a wide window, ids as a simulator without a script spells them."""
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
max_recipients = 2_000_000

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


class Bench:
    def __init__(self, folder: Path, subscribers: int) -> None:
        self.folder = folder
        self.subscribers = subscribers
        self.home = folder / "installation"
        self.rows: list[tuple[str, str]] = []
        self._children: list[subprocess.Popen[str]] = []

    def command(self, *words: str) -> Run:
        began = time.perf_counter()
        process = self._start(*words)
        text = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in {0, 3}:
            sys.exit(f"broadcaster {words[:3]}: exit {process.returncode}\n{text}")
        return Run(text, time.perf_counter() - began, usage.ru_maxrss / 1024)

    def _start(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "BROADCASTER_CONFIG": str(self.home / "broadcaster.toml"), "BROADCASTER_LANG": "en"}
        log = (self.folder / "log.txt").open("a")
        process = subprocess.Popen(
            [sys.executable, "-m", "broadcaster", *words], stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=ROOT
        )
        log.close()
        self._children.append(process)
        return process

    def note(self, what: str, value: str) -> None:
        self.rows.append((what, value))
        print(f"  {what:<46} {value}", flush=True)

    def measure(self) -> None:
        print(f"{self.subscribers} subscribers", flush=True)
        self._prepare()
        truth = self._import()
        plan = self._plan()
        self._send(plan)
        self._report(truth)

    def _prepare(self) -> None:
        self.command("init", str(self.home))
        for network in NETWORKS:
            card = (ROOT / "carriers" / "rehearsal" / f"{network.code}.toml").read_text()
            lines = [line for line in card.splitlines() if line.split("=")[0].strip() not in REPLACED]
            path = self.home / "carriers" / f"{network.code}.toml"
            path.write_text(
                "\n".join([*lines, 'tps = "unlimited"', "window = 500", "port = 1", 'response_id = "dec"', 'receipt_id = "dec"'])
                + "\n"
            )
            faults = self.folder / f"faults-{network.code}.toml"
            faults.write_text("seed = 1\n[receipt]\ndelay_ms = [0, 200]\n")
            ledger = self.folder / f"{network.code}.jsonl"
            carrier = self._start("carrier", "simulate", str(path), "--port", "0", "--faults", str(faults), "--ledger", str(ledger))
            assert carrier.stdout is not None
            path.write_text(path.read_text().replace("port = 1", f"port = {int(carrier.stdout.readline())}"))
        for name, role in (("soan", "author"), ("duyet-1", "approver"), ("duyet-2", "approver"), ("truc", "duty-officer")):
            write_key(self.home / "keys" / f"{name}.pem", key := generate_key())
            public = base64.b64encode(public_key_of(key)).decode()
            self.command("person", "add", name, "--title", name, "--role", role, "--public-key", public)

    def _import(self) -> int:
        generate(self.folder, self.subscribers, SEED, dt.datetime.now(dt.UTC).replace(microsecond=0))
        for network in NETWORKS:
            self.command("cell", "import", str(cells_path(self.folder, network.code)))
        seconds = 0.0
        peak = 0.0
        for network in NETWORKS:
            run = self.command(
                "roster", "import", str(roster_path(self.folder, network.code)), "--carrier", network.code, "--legal-basis", "bench"
            )
            seconds, peak = seconds + run.seconds, max(peak, run.peak_mb)
        rows = sum(sum(1 for _ in roster_path(self.folder, network.code).open()) - 1 for network in NETWORKS)
        self.note("roster import (5 files, process start included)", f"{rows / seconds:,.0f} rows/s, {seconds:.1f} s, {peak:.0f} MB")
        return rows

    def _plan(self) -> int:
        order = self.home / "campaigns" / "do-toc-do.toml"
        order.write_text(ORDER)
        run = self.command("--json", "campaign", "plan", str(order))
        recipients = int(json.loads(run.text)["recipients"])
        self.note("campaign plan", f"{run.seconds:.1f} s, {run.peak_mb:.0f} MB, {recipients:,} recipients")
        self.command("campaign", "submit", str(order), "--as", "soan")
        for name in ("duyet-1", "duyet-2", "truc"):
            self.command("campaign", "approve", "do-toc-do", "--as", name, "--key", str(self.home / "keys" / f"{name}.pem"))
        return recipients

    def _send(self, recipients: int) -> None:
        words = ("campaign", "schedule", "do-toc-do", "--in", "1", "--yes", "--expect-recipients", str(recipients))
        self.command(*words)
        service = self._start("service", "run")
        self.command("campaign", "status", "do-toc-do", "--watch", "--quiet-s", "3")
        service.send_signal(signal.SIGTERM)
        _, _, usage = os.wait4(service.pid, 0)
        service.returncode = 0
        first, last, answered = self._span()
        seconds = (last - first) / 1e9
        cpu = usage.ru_utime + usage.ru_stime
        self.note("parts sent, answered and receipted", f"{answered / seconds:,.0f} parts/s ({answered:,} parts in {seconds:.1f} s)")
        self.note("service: CPU per part, peak memory", f"{cpu / answered * 1e6:.0f} µs, {usage.ru_maxrss / 1024:.0f} MB")

    def _span(self) -> tuple[int, int, int]:
        """Return when the first part arrived and the last receipt was acknowledged, by the carriers' ledgers, and the parts."""
        first, last, parts = 1 << 63, 0, 0
        for network in NETWORKS:
            for line in (self.folder / f"{network.code}.jsonl").open():
                row = json.loads(line)
                first, last = min(first, row["t"]), max(last, row["t"])
                parts += row["e"] == "submit"
        return first, last, parts

    def _report(self, _rows: int) -> None:
        for form in ("html", "csv", "json"):
            run = self.command("report", "export", "do-toc-do", "--format", form, "--output", str(self.folder / f"report.{form}"))
            self.note(f"report export --format {form}", f"{run.seconds:.1f} s, {run.peak_mb:.0f} MB")
        ledgers = [word for network in NETWORKS for word in ("--ledger", f"{network.code}={self.folder / f'{network.code}.jsonl'}")]
        run = self.command("campaign", "verify", "do-toc-do", *ledgers)
        self.note("campaign verify against five ledgers", f"{run.seconds:.1f} s, {run.peak_mb:.0f} MB")

    def close(self) -> None:
        for child in self._children:
            if child.returncode is None:
                child.kill()
                child.wait()
            if child.stdout:
                child.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[10_000, 100_000])
    for size in parser.parse_args().sizes:
        folder = Path(tempfile.mkdtemp(prefix="broadcaster-bench-"))
        bench = Bench(folder, size)
        try:
            bench.measure()
        finally:
            bench.close()
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
