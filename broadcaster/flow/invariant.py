"""What a check of delivery's promises says."""

from __future__ import annotations

from typing import NamedTuple

from broadcaster.lang import Said


class Check(NamedTuple):
    """One invariant (docs/delivery.md): whether it holds, what was looked at, and what differs."""

    id: str
    ok: bool
    said: Said
    details: list[Said]
