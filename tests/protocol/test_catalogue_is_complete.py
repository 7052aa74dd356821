"""The failure catalogue is the test list: no entry without a test that bears its number."""

from __future__ import annotations

import re
from pathlib import Path

ENTRIES = [*range(1, 18), *range(20, 29), *range(30, 43), *range(50, 58), *range(60, 65)]


def test_every_entry_of_the_failure_catalogue_has_a_test() -> None:
    assert len(ENTRIES) == 52
    sources = [path.read_text("utf-8") for path in Path(__file__).parent.glob("test_catalogue_*.py")]
    named = {int(number) for source in sources for number in re.findall(r"^def test_f(\d\d)_", source, re.MULTILINE)}
    assert named == set(ENTRIES)
