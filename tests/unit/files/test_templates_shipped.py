"""The templates that ship with the program are the directive's tactics, ready to send."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from broadcaster.files.templates import Purpose, Template, lint_template, read_templates
from broadcaster.model import Variant
from broadcaster.text.compose import compose, footer_for
from broadcaster.text.fold import fold
from broadcaster.text.segment import Coding, segment

SHIPPED = read_templates(Path(__file__).parents[3] / "templates")
each = pytest.mark.parametrize("template", SHIPPED, ids=lambda template: template.key)


def longest(template: Template, variant: Variant, *, rehearsal: bool) -> str:
    values = {name: "ạ" * variable.rule.max_length for name, variable in template.variables.items()}
    return compose(template.render(variant, values), variant=variant, rehearsal=rehearsal, footer=footer_for(variant, "1234"))


def test_every_tactic_of_the_directive_has_its_template() -> None:
    assert [template.tactic for template in SHIPPED if template.purpose is Purpose.WARNING] == [f"T{n:02}" for n in range(1, 14)]
    assert {template.key for template in SHIPPED if template.purpose is not Purpose.WARNING} == {"dinh-chinh", "dien-tap"}


@each
def test_lint_finds_nothing(template: Template) -> None:
    assert [str(found) for found in lint_template(template, max_parts_accented=3)] == []


@each
def test_unaccented_fits_one_gsm_part_with_mark_and_footer(template: Template) -> None:
    segments = segment(longest(template, Variant.UNACCENTED, rehearsal=True))
    assert (segments.coding, len(segments.parts)) == (Coding.GSM, 1)


@each
def test_accented_fits_three_parts_with_mark_and_footer(template: Template) -> None:
    segments = segment(longest(template, Variant.ACCENTED, rehearsal=True))
    assert segments.coding is Coding.UCS2
    assert len(segments.parts) <= 3


@each
def test_the_spellings_differ_in_accents_only(template: Template) -> None:
    accented = longest(template, Variant.ACCENTED, rehearsal=False)
    assert longest(template, Variant.UNACCENTED, rehearsal=False) == fold(accented) != accented


@each
def test_the_directive_stands_behind_it(template: Template) -> None:
    assert (template.provenance.document, template.provenance.date) == ("12/CT-UBND", dt.date(2019, 6, 12))


@each
def test_a_warning_refuses_one_thing_aloud(template: Template) -> None:
    if template.purpose is Purpose.WARNING:
        assert template.accented.source.count("KHÔNG") == 1
        assert "không" not in template.accented.source
