"""Play simulations by seed and say what is wrong: `.venv/bin/python tests/sim/replay.py SEED…`.

`--log` shows what the service said. `--count` plays that many seeds from `--first` on, `--seconds` plays on for so long, in as many
processes as there are processors; both end with what was met, and with `--least` whatever was met less often than that is wrong too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from sim_checks import judge
from sim_coverage import missing
from sim_field import discard_master
from sim_record import Record
from sim_scenario import draw
from sim_world import simulate

AT_ONCE = 10


class Played(NamedTuple):
    """What came of some seeds."""

    seeds: int
    wrong: dict[int, list[str]]
    hits: Counter[str]
    parts: int


def play(seeds: range) -> Played:
    """Play some seeds."""
    wrong: dict[int, list[str]] = {}
    hits: Counter[str] = Counter()
    parts = 0
    try:
        for seed in seeds:
            record, found = simulate(draw(seed), judge)
            hits.update(record.hits)
            parts += len(record.written)
            if found:
                wrong[seed] = found
    finally:
        discard_master()
    return Played(len(seeds), wrong, hits, parts)


def _ranges(first: int, count: int | None, seconds: float | None) -> Iterator[range]:
    ends_at = None if seconds is None else time.monotonic() + seconds
    for at in itertools.count(first, AT_ONCE):
        until = at + AT_ONCE if count is None else min(at + AT_ONCE, first + count)
        if at >= until or (ends_at is not None and time.monotonic() > ends_at):
            return
        yield range(at, until)


def _play_many(options: argparse.Namespace) -> int:
    hits: Counter[str] = Counter()
    wrong: dict[int, list[str]] = {}
    seeds = parts = 0
    jobs = options.jobs
    with ProcessPoolExecutor(jobs) as pool:
        ranges = _ranges(options.first, options.count, options.seconds)
        running = [pool.submit(play, some) for some in itertools.islice(ranges, jobs)]
        while running:
            played = running.pop(0).result()
            running += [pool.submit(play, some) for some in itertools.islice(ranges, 1)]
            hits.update(played.hits)
            wrong.update(played.wrong)
            seeds, parts = seeds + played.seeds, parts + played.parts
            for seed, found in played.wrong.items():
                _tell(seed, found)
    print(f"{seeds} simulations, {parts} parts written, {hits['crashes']} crashes; wrong: {len(wrong)}")
    print(", ".join(f"{what} {count}" for what, count in sorted(hits.items())))
    few = missing(hits, options.least) if options.least else []
    if few:
        print(f"met less than {options.least} times: {', '.join(few)}")
    return 1 if wrong or few else 0


def _tell(seed: int, wrong: list[str]) -> None:
    print(f"seed {seed} is wrong; again: .venv/bin/python tests/sim/replay.py {seed} --log", flush=True)
    for each in wrong:
        print(f"  {each}", flush=True)


def _show(record: Record, *, log: bool) -> None:
    scenario, people = record.scenario, sum(record.recipients.values())
    print(
        f"seed {scenario.seed}: {people} recipients, {len(record.written)} parts written, {record.lives} lives, "
        f"{record.hits['crashes']} crashes, {record.ended_s:.0f} s, trace {record.digest()}"
    )
    if log:
        for code, mood in scenario.moods.items():
            print(f"  {code}: {scenario.cards[code]} {[(each.kind, dict(each.values), each.trigger) for each in mood.faults]}")
        print(f"  {scenario.further}\n  {scenario.weather}\n  {scenario.deaths}\n  {scenario.deeds}\n  {scenario.disk}")
        for at_s, event, values in record.events:
            print(f"  {at_s:10.4f} {event} {values}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="*")
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--least", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if not options.seeds:
        return _play_many(options)
    bad = False
    for seed in options.seeds:
        record, wrong = simulate(draw(seed), judge)
        _show(record, log=options.log)
        if wrong:
            _tell(seed, wrong)
            bad = True
    discard_master()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
