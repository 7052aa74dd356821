"""Measure the whole pipeline of the service against the C sink, and in the same run the best Python client that keeps nothing.

`python tests/bench/pipeline.py 100000` is the quick form, `1000000` the one that counts; `100000 3600000 --interleave` compares sizes
The service is the product's own process on a real SQLite file (WAL, synchronous=FULL), with a signed campaign; refusals, window and
rate are checked at each lease. A part's way is lease, send, durable outcome, receipt durable before its acknowledgement, both matched
and folded into states and totals. The sink answers everything, with ids in no order, and sends a receipt for each. Two clocks are
shown: the sink's, from the first submit_sm to the last deliver_sm_resp, and the one until the database itself says that every message
is delivered. CPU time is the service's alone, from the first submit_sm on.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from link import PEERS, build_sink, measure, median
from pipeline_table import Row, in_turns, show_ratio, show_rows
from rehearsal import ROSTER_BASIS, Rehearsal
from sqlalchemy import text

from broadcaster.model import State
from broadcaster.store.engine import Store, open_store

T = TypeVar("T")

CARRIER: Final = "viettel"
FIRST_NUMBER: Final = 84_960_000_000
CELLS: Final = (
    "carrier,radio,mcc,mnc,area,cell,site,lat,lon,commune,valid_from,valid_to\n"
    "viettel,lte,452,04,1000,25600001,QNG040000,15.11330,108.80208,Phường Cẩm Thành,2025-07-01,\n"
    "viettel,lte,452,04,1000,25600257,QNG040001,15.10850,108.77177,Phường Nghĩa Lộ,2025-07-01,\n"
)
CELL_NAMES: Final = ("452-04-25600001", "452-04-25600257")
SAMPLE_S: Final = 0.1
STALLED_S: Final = 20
WINDOW: Final = 1_000
LEAST_PER_SECOND: Final = 25_000
LEAST_TIMES_BEST: Final = 8
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20


class Usage(NamedTuple):
    """What a process has used: CPU seconds of all its threads, of its first thread, and memory."""

    cpu_s: float
    loop_s: float
    memory_mb: float


def usage(pid: int) -> Usage:
    return Usage(_cpu_s(Path(f"/proc/{pid}/stat")), _cpu_s(Path(f"/proc/{pid}/task/{pid}/stat")), _memory_mb(pid))


def _cpu_s(path: Path) -> float:
    fields = path.read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _memory_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB


class Sampler:
    """Follow the memory of a process until `stop`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stopped = threading.Event()
        self.memory_mb: list[float] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self.memory_mb.append(_memory_mb(self._pid))

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def slope_mb(self, messages: int) -> float:
        """Return the growth per 100,000 messages from the second fifth of the run to its last, both by their medians."""
        fifth = len(self.memory_mb) // 5
        if not fifth:
            return 0.0
        early = statistics.median(self.memory_mb[fifth : 2 * fifth])
        return (statistics.median(self.memory_mb[-fifth:]) - early) / (messages * 3.5 / 5) * 100_000


class Result(NamedTuple):
    """One run of the pipeline."""

    wire_s: float
    """From the first submit_sm to the last deliver_sm_resp."""
    folded_s: float
    """From the first submit_sm until the database says that every message is delivered."""
    cpu_s: float
    loop_s: float
    peak_mb: float
    slope_mb: float
    commits_ms: list[float]
    database_mb: float
    profile: list[str]


class Pipeline:
    """One campaign to so many subscribers of one carrier, which is the sink."""

    def __init__(self, folder: Path, messages: int, options: argparse.Namespace) -> None:
        self.folder = folder
        self.messages = messages
        self.options = options
        self.parts = messages
        self.rehearsal = Rehearsal(folder)

    def measure(self, sink: Path) -> Result:
        """Run the whole campaign."""
        return self._against(sink, self._send)

    def measure_restart(self, sink: Path) -> float:
        """Kill the service half-way; return the seconds from its next start to its first part."""
        return self._against(sink, self._restart)

    def _against(self, sink: Path, run: Callable[[subprocess.Popen[str]], T]) -> T:
        self._prepare()
        words = [str(sink), str(self.parts), str(self.options.delay_ms)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as serving:
            assert serving.stdout is not None
            try:
                self._write_card(int(serving.stdout.readline()))
                return run(serving)
            finally:
                serving.kill()

    def _prepare(self) -> None:
        home = self.rehearsal
        home.initialise()
        for path in (home.home / "carriers").glob("*.toml"):
            path.unlink()
        self._write_card(1)
        (self.folder / "cells.csv").write_text(CELLS)
        home.command("cell", "import", str(self.folder / "cells.csv"))
        seen = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        with (self.folder / "roster.csv").open("w") as roster:
            roster.write("msisdn,cell,last_seen\n")
            roster.writelines(f"{FIRST_NUMBER + at},{CELL_NAMES[at & 1]},{seen}\n" for at in range(self.messages))
        home.command("roster", "import", str(self.folder / "roster.csv"), "--carrier", CARRIER, *ROSTER_BASIS)
        order = home.write_order()
        text = order.read_text().replace('areas = "province"', f'areas = "province"\ncarriers = ["{CARRIER}"]')
        order.write_text(text.replace("unaccented", "accented") if self.options.accented else text)
        (carrier,) = json.loads(home.command("--json", "campaign", "plan", str(order)).text)["carriers"]
        self.parts = carrier["parts"]
        home.sign(order)
        home.schedule(self.messages)

    def _write_card(self, port: int) -> None:
        own = ('tps = "unlimited"', f"window = {self.options.window}", 'response_id = "raw"', 'receipt_id = "raw"')
        self.rehearsal.write_card(CARRIER, *own, 'host = "127.0.0.1"', f"port = {port}")

    def _send(self, serving: subprocess.Popen[str]) -> Result:
        assert serving.stdout is not None
        service = self._start()
        began = self._wait_for_sink(serving, service)
        before = usage(service.pid)
        sampler = Sampler(service.pid)
        submits, receipts, acknowledged, spent_ns = map(int, serving.stdout.readline().split())
        assert submits == receipts == acknowledged == self.parts, (submits, receipts, acknowledged, self.rehearsal.log)
        folded_s = self._wait_for_states(self.messages) - began
        after = usage(service.pid)
        sampler.stop()
        service.send_signal(signal.SIGTERM)
        _, status, spent = os.wait4(service.pid, 0)
        service.returncode = os.waitstatus_to_exitcode(status)
        assert service.returncode == 0, self.rehearsal.log
        self._check()
        found = json.loads(self._figures.read_text())
        return Result(
            spent_ns / 1e9,
            folded_s,
            after.cpu_s - before.cpu_s,
            after.loop_s - before.loop_s,
            spent.ru_maxrss / 1024,
            sampler.slope_mb(self.messages),
            found["commits_ms"],
            self._database.stat().st_size / 2**20,
            found["profile"],
        )

    @property
    def _figures(self) -> Path:
        return self.folder / "figures.json"

    def _start(self) -> subprocess.Popen[str]:
        words = [str(Path(__file__).with_name("pipeline_service.py")), str(self._figures)]
        return self.rehearsal.run_python(*words, *(["--profile"] if self.options.profile else []))

    def _restart(self, serving: subprocess.Popen[str]) -> float:
        service = self._start()
        self._wait_for_sink(serving, service)
        self._wait_for_states(self.messages // 2)
        os.kill(service.pid, signal.SIGKILL)
        service.wait()
        assert serving.stdout is not None
        serving.stdout.readline()
        began = time.perf_counter()
        return self._wait_for_sink(serving, self._start()) - began

    def _wait_for_sink(self, serving: subprocess.Popen[str], service: subprocess.Popen[str]) -> float:
        """Return when the first submit_sm arrived; a service that ends before it ends the bench."""
        assert serving.stdout is not None
        sending = threading.Event()
        threading.Thread(target=_end_together, args=(service.pid, serving, sending), daemon=True).start()
        if serving.stdout.readline() != "began\n":
            sys.exit(f"the service sent nothing\n{self.rehearsal.log}")
        sending.set()
        return time.perf_counter()

    @property
    def _database(self) -> Path:
        return next((self.rehearsal.home / "state").glob("*.db"))

    def _wait_for_states(self, messages: int) -> float:
        """Return when the totals said that so many messages were delivered."""
        store = open_store(f"sqlite:///{self._database}")
        most, moved = 0, time.perf_counter()
        while (delivered := self._delivered(store)) < messages:
            if delivered > most:
                most, moved = delivered, time.perf_counter()
            elif time.perf_counter() - moved > STALLED_S:
                sys.exit(f"{delivered} of {messages} messages delivered, and no more for {STALLED_S} s\n{self.rehearsal.log}")
            time.sleep(0.05)
        moment = time.perf_counter()
        store.close()
        return moment

    @staticmethod
    def _delivered(store: Store) -> int:
        query = text("SELECT coalesce(sum(messages), 0) FROM tally WHERE state = :state")
        with store.read() as connection:
            return int(connection.execute(query, {"state": int(State.DELIVERED)}).scalar_one())

    def _check(self) -> None:
        """Hold the database against the sink's word: every message delivered, every lease closed, every receipt matched."""
        store = open_store(f"sqlite:///{self._database}")
        with store.read() as connection:
            for query, expected in (
                (f"SELECT count(*) FROM message WHERE state = {int(State.DELIVERED)}", self.messages),
                ("SELECT count(*) FROM receipt WHERE matched", self.parts),
                ("SELECT count(*) FROM submission", self.parts),
                ("SELECT count(*) FROM lease WHERE closed_ms IS NULL", 0),
            ):
                found = connection.execute(text(query)).scalar_one()
                assert found == expected, (query, found)
        store.close()


def _end_together(pid: int, serving: subprocess.Popen[str], sending: threading.Event) -> None:
    """Kill the sink when the process ends before it sent anything, without reaping it: what it has used up is still to be read."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if not sending.is_set():
        serving.kill()


def best_peer(sink: Path, count: int, window: int, rounds: int) -> tuple[str, float]:
    """Return the fastest other Python client as shipped, without any store, and its messages per second."""
    rates = {name: median([measure(sink, name, count, window) for _ in range(rounds)]).per_second for name in PEERS}
    best = max(rates, key=rates.__getitem__)
    return best, rates[best]


def show(result: Result, parts: int, peer: tuple[str, float] | None) -> None:
    rate, each = parts / result.folded_s, 1e6 / parts
    commits = sorted(result.commits_ms)
    rest_s = result.cpu_s - result.loop_s
    rows = [
        ("by the sink's clock", f"{parts / result.wire_s:,.0f} parts/s in {result.wire_s:.2f} s"),
        ("until every state is in the database", f"{rate:,.0f} parts/s in {result.folded_s:.2f} s"),
        ("service CPU", f"{result.cpu_s * each:.1f} µs a part ({result.loop_s * each:.1f} event loop, {rest_s * each:.1f} writer)"),
        ("memory: peak, growth per 100,000", f"{result.peak_mb:.0f} MB, {result.slope_mb:+.2f} MB"),
        ("commits: count, median, 99 %, longest", _spread(commits)),
        ("database", f"{result.database_mb:.0f} MB"),
    ]
    if peer:
        name, peer_rate = peer
        rows.append((f"best other client, keeping nothing ({name})", f"{peer_rate:,.0f} parts/s; ours is {rate / peer_rate:.1f} x"))
        met = rate >= LEAST_PER_SECOND and rate >= LEAST_TIMES_BEST * peer_rate
        goal = f"{LEAST_PER_SECOND:,} parts/s and {LEAST_TIMES_BEST} x the best other: {'met' if met else 'not met'}"
        rows.append(("goal", goal))
    for what, value in rows:
        print(f"  {what:<52} {value}", flush=True)
    for profile in result.profile:
        print(f"\n{profile}")


def _spread(commits: list[float]) -> str:
    if not commits:
        return "none"
    late = commits[int(len(commits) * 0.99)]
    return f"{len(commits):,}, {statistics.median(commits):.2f} ms, {late:.1f} ms, {commits[-1]:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("messages", nargs="*", type=int, default=[200_000])
    parser.add_argument("--window", type=int, default=WINDOW)
    parser.add_argument("--delay-ms", type=int, default=0, help="how long after its response the sink sends a receipt")
    parser.add_argument("--accented", action="store_true", help="the text with its accents, which takes several parts")
    parser.add_argument("--restart", action="store_true", help="kill the service half-way instead, and time its way back")
    parser.add_argument("--interleave", action="store_true", help="the smallest size before and after each other one, and the ratio")
    parser.add_argument("--no-peers", action="store_true", help="leave the other clients out")
    parser.add_argument("--profile", action="store_true", help="show where either thread's time goes (and lose a half of the rate)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="broadcaster-sink-") as folder:
        sink = build_sink(Path(folder))
        peer = None if options.no_peers or options.restart else best_peer(sink, 10_000, options.window, 3)
        rows = []
        for messages in in_turns(options.messages) if options.interleave else options.messages:
            run_folder = Path(tempfile.mkdtemp(prefix="broadcaster-pipeline-"))
            run = Pipeline(run_folder, messages, options)
            try:
                if options.restart:
                    print(f"{messages:,} messages, killed half-way: first part {run.measure_restart(sink):.1f} s after the restart")
                else:
                    rows.append(report(run, run.measure(sink), peer))
            finally:
                run.rehearsal.close()
                shutil.rmtree(run_folder)
    if rows:
        print()
        show_rows(rows)
        show_ratio(rows)


def report(run: Pipeline, result: Result, peer: tuple[str, float] | None) -> Row:
    """Print what one run gave, and return it as a row of the table."""
    options = run.options
    print(f"{run.messages:,} messages, {run.parts:,} parts, window {options.window:,}, receipts after {options.delay_ms} ms")
    show(result, run.parts, peer)
    words = ["pipeline.py", str(run.messages), *(["--accented"] if options.accented else [])]
    words += [f"--window {options.window}"] if options.window != WINDOW else []
    words += [f"--delay-ms {options.delay_ms}"] if options.delay_ms else []
    return Row(
        " ".join(words),
        run.messages,
        run.parts,
        result.folded_s,
        result.cpu_s,
        result.loop_s,
        result.peak_mb,
        result.slope_mb,
        result.commits_ms,
        peer and peer[1],
    )


if __name__ == "__main__":
    main()
