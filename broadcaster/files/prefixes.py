"""Read the prefix table that ships with the program."""

from __future__ import annotations

import csv
import datetime as dt
from functools import cache
from importlib import resources

from broadcaster.model import CarrierCode
from broadcaster.rules.numbers import NumberPlan, Prefix


@cache
def read_plan() -> NumberPlan:
    """Return the number plan of ``data/prefixes.csv`` (its sources are in ``data/SOURCES.md``)."""
    text = resources.files("broadcaster.files").joinpath("data/prefixes.csv").read_text("utf-8")
    return NumberPlan(
        Prefix(
            digits=row["prefix"],
            operator=row["operator"],
            holder=CarrierCode(row["holder"]),
            valid_from=dt.date.fromisoformat(row["valid_from"]) if row["valid_from"] else None,
        )
        for row in csv.DictReader(text.splitlines())
    )
