"""The mutants still fit the sources and the tests they name; `make prove` hunts them (hunt.py)."""

from __future__ import annotations

import re

import pytest

from tests.mutants.hunt import ROOT, misfits
from tests.mutants.table import MUTANTS, Edit, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_changes_what_is_there_exactly_once(mutant: Mutant) -> None:
    assert misfits(mutant, ROOT) == []
    assert all(edit.old != edit.new for edit in mutant.edits)


@pytest.mark.parametrize("test", sorted({test for mutant in MUTANTS for test in mutant.noticed_by}))
def test_every_test_that_must_notice_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_names_are_used_once_and_each_mutant_has_a_test() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 15
    assert all(mutant.edits and mutant.noticed_by for mutant in MUTANTS)


@pytest.mark.parametrize(("old", "count"), [("twice", 2), ("never", 0)])
def test_what_is_not_there_exactly_once_is_told(tmp_path, old: str, count: int) -> None:
    (tmp_path / "source.py").write_text("twice twice once")
    mutant = Mutant("broken", (Edit("source.py", "once", "1"), Edit("source.py", old, "2")), ())
    assert misfits(mutant, tmp_path) == [f"source.py: {count} times: {old!r}"]
