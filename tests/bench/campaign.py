"""Measure the main job at two sizes on this machine: import, planning, sending with receipts, report, memory.

`make bench` runs it. Every step is the product's own command as a process of its own; times are wall clock, memory is the peak
resident size the kernel reports for that process. The simulated carriers share the machine, so rates are a floor.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

from rehearsal import CAMPAIGN, ROSTER_BASIS, Rehearsal

from demo.generate import NETWORKS, cells_path, generate, roster_path

SEED = 12


class Bench:
    def __init__(self, folder: Path, subscribers: int) -> None:
        self.folder = folder
        self.subscribers = subscribers
        self.rehearsal = Rehearsal(folder)
        self.command = self.rehearsal.command
        self.rows: list[tuple[str, str]] = []

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
        self.rehearsal.initialise()
        for network in NETWORKS:
            faults = self.folder / f"faults-{network.code}.toml"
            faults.write_text("seed = 1\n[receipt]\ndelay_ms = [0, 200]\n")
            own = ('tps = "unlimited"', "window = 500", 'response_id = "dec"', 'receipt_id = "dec"', 'host = "127.0.0.1"')
            path = self.rehearsal.write_card(network.code, *own, "port = 1")
            ledger = self.folder / f"{network.code}.jsonl"
            words = ("carrier", "simulate", str(path), "--port", "0", "--faults", str(faults), "--ledger", str(ledger))
            carrier = self.rehearsal.start(*words)
            assert carrier.stdout is not None
            path.write_text(path.read_text().replace("port = 1", f"port = {int(carrier.stdout.readline())}"))

    def _import(self) -> int:
        generate(self.folder, self.subscribers, SEED, dt.datetime.now(dt.UTC).replace(microsecond=0))
        for network in NETWORKS:
            self.command("cell", "import", str(cells_path(self.folder, network.code)))
        seconds = 0.0
        peak = 0.0
        for network in NETWORKS:
            export = str(roster_path(self.folder, network.code))
            run = self.command("roster", "import", export, "--carrier", network.code, *ROSTER_BASIS)
            seconds, peak = seconds + run.seconds, max(peak, run.peak_mb)
        rows = sum(sum(1 for _ in roster_path(self.folder, network.code).open()) - 1 for network in NETWORKS)
        self.note("roster import (5 files, process start included)", f"{rows / seconds:,.0f} rows/s, {seconds:.1f} s, {peak:.0f} MB")
        return rows

    def _plan(self) -> int:
        order = self.rehearsal.write_order()
        run = self.command("--json", "campaign", "plan", str(order))
        recipients = int(json.loads(run.text)["recipients"])
        self.note("campaign plan", f"{run.seconds:.1f} s, {run.peak_mb:.0f} MB, {recipients:,} recipients")
        self.rehearsal.sign(order)
        return recipients

    def _send(self, recipients: int) -> None:
        self.rehearsal.schedule(recipients)
        service = self.rehearsal.start("service", "run")
        self.command("campaign", "status", CAMPAIGN, "--watch", "--quiet-s", "3")
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
            run = self.command("report", "export", CAMPAIGN, "--format", form, "--output", str(self.folder / f"report.{form}"))
            self.note(f"report export --format {form}", f"{run.seconds:.1f} s, {run.peak_mb:.0f} MB")
        ledgers = [word for network in NETWORKS for word in ("--ledger", f"{network.code}={self.folder / f'{network.code}.jsonl'}")]
        run = self.command("campaign", "verify", CAMPAIGN, *ledgers)
        self.note("campaign verify against five ledgers", f"{run.seconds:.1f} s, {run.peak_mb:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[10_000, 100_000])
    for size in parser.parse_args().sizes:
        folder = Path(tempfile.mkdtemp(prefix="broadcaster-bench-"))
        bench = Bench(folder, size)
        try:
            bench.measure()
        finally:
            bench.rehearsal.close()
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
