"""Python's cyclic garbage collector, set for a process that makes a million short-lived values and hardly a cycle."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)
"""A window's worth of parts, with their events, comes and goes between two collections; the usual 700 would look at each half-way."""


def spare_collector() -> None:
    """Take what start-up made out of the collector's sight for good, and let it look more seldom.

    Reference counts free nearly everything here. Without this a quarter of the time of a busy link goes into looking for cycles, and
    each full collection stops the process for as long as it takes to walk every module there is.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
