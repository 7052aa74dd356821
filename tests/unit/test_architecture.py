"""ARCHITECTURE.md says of the states what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from broadcaster.model import State

TEXT = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text("utf-8")


def test_the_table_of_states_is_the_enum() -> None:
    found = {}
    for numbers, names in re.findall(r"^\| (−?\d+(?:–\d+)?) \| ([A-Z_, ]+) \|", TEXT, re.MULTILINE):
        low, _, high = numbers.replace("−", "-").partition("–")
        found |= dict(zip(names.split(", "), range(int(low), int(high or low) + 1), strict=True))
    assert found == {state.name: int(state) for state in State}
