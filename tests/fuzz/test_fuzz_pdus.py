"""Malformed PDUs (F20–F24, F27): only declared errors, no growth of memory, and the next good PDU is read or the session is dead.

`make test` runs a dose, `make prove` the whole: more than 100,000.
"""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Iterator
from itertools import chain, islice

import pytest
from fuzz_seeds import SEEDS, Victim, lengths, mutations, read_body, truncations

from broadcaster.smpp import Role

WHOLE = os.environ.get("BROADCASTER_PROVE") == "1"
MUTATIONS = 100_000 if WHOLE else 3_000
EVERY = 1 if WHOLE else 7
"""Of the truncations and lengths, one in so many."""
MOST_GROWTH_OCTETS = 1 << 20


def malformed(seed: int) -> Iterator[bytes]:
    return chain(islice(truncations(), 0, None, EVERY), islice(lengths(), 0, None, EVERY), islice(mutations(seed), MUTATIONS))


def test_there_are_seeds_enough() -> None:
    assert len(SEEDS) >= 40
    assert len(set(SEEDS)) == len(SEEDS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", Role)
def test_f23_a_bad_pdu_harms_nothing_but_itself(role: Role) -> None:
    victim = Victim(role)
    for octets in islice(malformed(1), 1_000):
        victim.suffer(octets)
    gc.collect()
    tracemalloc.start()
    try:
        count = 0
        for octets in malformed(12):
            victim.suffer(octets)
            count += 1
        gc.collect()
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= MOST_GROWTH_OCTETS, f"{peak} octets at the worst, {left} left, after {count} PDUs"
    assert victim.survived > count / 4
    assert sum(victim.deaths.values()) > 0
    if WHOLE:
        assert count > 100_000


@pytest.mark.timeout(900)
def test_f23_a_bad_body_is_read_or_refused() -> None:
    for octets in malformed(5):
        read_body(octets)
