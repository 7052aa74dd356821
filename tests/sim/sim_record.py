"""What happened in one simulation, for whoever judges it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sim_scenario import Scenario

from broadcaster.model import CarrierCard, CarrierCode


class Written(NamedTuple):
    """One part that the service handed to the network."""

    ns: int
    carrier: str
    connection: int
    sequence: int
    number: str
    part: int
    parts: int
    ref: int | None
    sha: str
    life: int
    skew_ns: int
    """How wrong our machine's clock was."""


@dataclass
class Record:
    """What happened, for whoever judges it."""

    scenario: Scenario
    folder: Path
    cards: Mapping[CarrierCode, CarrierCard]
    ledgers: Mapping[CarrierCode, Path]
    recipients: dict[str, int] = field(default_factory=dict)
    """Campaign → its audience without the excluded."""
    texts: dict[tuple[str, str], str] = field(default_factory=dict)
    """Carrier and digest of a part's text → the campaign."""
    written: list[Written] = field(default_factory=list)
    refused_ns: dict[str, int] = field(default_factory=dict)
    """Number → when a person's refusal was committed, on the loop's clock."""
    stopped_ns: list[tuple[str, int, int]] = field(default_factory=list)
    """What was stopped (``everything``, a campaign or a carrier), from when until when: the commits, on the loop's clock."""
    ordered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Subject and order → how often it was given and not refused."""
    clock_set_ns: list[tuple[int, int]] = field(default_factory=list)
    """When our machine's clock was set, on the loop's clock, and how wrong it was from then on."""
    lives: int = 0
    began_ns: dict[int, int] = field(default_factory=dict)
    """Life → when it began."""
    lost_ns: dict[int, int] = field(default_factory=dict)
    """Connection → when our end of it was over."""
    killed: set[int] = field(default_factory=set)
    """The lives that did not end of their own will."""
    start_ns: int = 0
    """The wall clock at the loop's zero."""
    hits: Counter[str] = field(default_factory=Counter)
    bodies: set[str] = field(default_factory=set)
    """The text of every part."""
    told: list[str] = field(default_factory=list)
    """What libraries logged."""
    events: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    """What the service logged: seconds, event, values."""
    faults: list[str] = field(default_factory=list)
    """What is wrong already: exceptions that nobody caught, and what never came to rest."""
    ended_s: float = 0.0
    ended_ms: int = 0
    """Our wall clock at the end."""
    turns: int = 0

    def digest(self) -> str:
        """Return what two runs of one seed must have in common."""
        told = [
            (round(at_s, 6), event, sorted(f"{key}={value}" for key, value in values.items() if key != "reason"))
            for at_s, event, values in self.events
        ]
        written = [each._replace(connection=0) for each in self.written]
        return hashlib.sha256(repr((told, written)).encode()).hexdigest()[:16]
