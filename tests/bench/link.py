"""Measure the SMPP link alone against three other Python clients, in one run on one machine.

`make bench` runs it. Every client talks over the loopback to the sink of `sink.c`, built here, in a process of its own. What is
counted are whole round trips: submit_sm, its response, the receipt by deliver_sm, and its response. A run lasts from the first
submit_sm's arrival at the sink until the last deliver_sm_resp has arrived there and the client's program has taken every response and
receipt, whichever is later (smpp34 acknowledges receipts long before its user gets them); no client's start or end is counted. The
asyncio clients run on asyncio's own event loop; smpplib, which has none, reads its socket.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent
OURS: Final = ("broadcaster", "broadcaster+")
"""The second one reads the receipts as well; the goal is measured with the first, which does what the others do."""
PEERS: Final = ("smpplib", "aiosmpplib", "smpp34")
ROUNDS: Final = 3
TIMEOUT_S: Final = 120
LEAST_PER_SECOND: Final = 60_000
LEAST_TIMES_BEST: Final = 15


class Result(NamedTuple):
    """One client's run."""

    per_second: float
    cpu_us: float


def build_sink(folder: Path) -> Path:
    sink = folder / "sink"
    compiler = os.environ.get("CC") or shutil.which("cc") or sys.exit("a C compiler (cc) is needed")
    subprocess.run([compiler, "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", sink, FOLDER / "sink.c"], check=True)
    return sink


def measure(sink: Path, name: str, count: int, window: int) -> Result:
    """Run one client against a fresh sink. Raises AssertionError when not every message made its round trip."""
    with subprocess.Popen([str(sink), str(count)], stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        try:
            port = int(serving.stdout.readline())
            words = [sys.executable, str(FOLDER / "link_clients.py"), name, str(port), str(count), str(window)]
            client = subprocess.Popen(words, cwd=FOLDER.parents[1], stdout=subprocess.PIPE, text=True)
            assert client.stdout is not None
            assert serving.stdout.readline() == "began\n"
            began = time.perf_counter()
            assert client.stdout.readline() == "done\n", f"{name} failed"
            spent_s = time.perf_counter() - began
            submits, receipts, acknowledged, spent_ns = map(int, serving.stdout.readline().split())
            client.stdout.close()
            _, status, usage = os.wait4(client.pid, 0)
            client.returncode = os.waitstatus_to_exitcode(status)
        finally:
            serving.kill()
    assert client.returncode == 0, f"{name} failed"
    assert submits == receipts == acknowledged == count, (name, submits, receipts, acknowledged)
    return Result(count / max(spent_s, spent_ns / 1e9), (usage.ru_utime + usage.ru_stime) / count * 1e6)


def median(results: list[Result]) -> Result:
    return sorted(results)[len(results) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000, help="messages of our client")
    parser.add_argument("--peer-count", type=int, default=10_000, help="messages of each other client")
    parser.add_argument("--window", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=(*OURS, *PEERS))
    options = parser.parse_args()
    names = [options.only] if options.only else [*OURS, *PEERS]
    results: dict[str, list[Result]] = {name: [] for name in names}
    folder = Path(tempfile.mkdtemp(prefix="broadcaster-link-"))
    try:
        sink = build_sink(folder)
        # Round by round, so that a noisy minute of the machine touches all clients alike.
        for _ in range(options.rounds):
            for name in names:
                count = options.count if name in OURS else options.peer_count
                results[name].append(measure(sink, name, count, options.window))
    finally:
        shutil.rmtree(folder)
    print_table(results, options.window)


def print_table(results: dict[str, list[Result]], window: int) -> None:
    medians = {name: median(of_one) for name, of_one in results.items()}
    peers = [results[name] for name in PEERS if name in results]
    # Round against round, since minutes of one machine differ more than these clients do from one another.
    best = [max(result.per_second for result in of_round) for of_round in zip(*peers, strict=True)]
    print(f"\nround trips (submit, response, receipt, its response), window {window}, medians of {len(next(iter(results.values())))}")
    print(f"  {'client':<12} {'per second':>11} {'of the best other':>18} {'CPU each':>10} {'all runs':>30}")
    for name, result in medians.items():
        ratio = f"{times_best(results[name], best):.2f} x" if best else "-"
        runs = " ".join(f"{one.per_second:,.0f}" for one in results[name])
        print(f"  {name:<12} {result.per_second:>11,.0f} {ratio:>18} {result.cpu_us:>7.1f} µs {runs:>30}")
    if best and OURS[0] in medians:
        met = medians[OURS[0]].per_second >= LEAST_PER_SECOND and times_best(results[OURS[0]], best) >= LEAST_TIMES_BEST
        print(f"  goal: {LEAST_PER_SECOND:,} per second and {LEAST_TIMES_BEST} x the best other: {'met' if met else 'not met'}")


def times_best(results: list[Result], best: list[float]) -> float:
    """Return the median, over the rounds, of one client's rate as a multiple of the best other's in the same round."""
    return statistics.median(result.per_second / rate for result, rate in zip(results, best, strict=True))


if __name__ == "__main__":
    main()
