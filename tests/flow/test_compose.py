"""One order's text for each carrier."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from broadcaster.errors import InvalidFileError
from broadcaster.files.templates import Template, read_templates
from broadcaster.flow.compose import bodies
from broadcaster.model import CarrierCard, CarrierCode, Environment, Order, Variant
from broadcaster.rules.wire import submit_templates, validity
from broadcaster.text.compose import Spellings

Cards = dict[CarrierCode, CarrierCard]
VIETTEL, MOBIFONE = CarrierCode("viettel"), CarrierCode("mobifone")
FOOTER = Spellings("Từ chối: gọi 0255 3822 000", "Tu choi: goi 0255 3822 000")


@pytest.fixture(scope="module")
def template() -> Template:
    folder = Path(__file__).parents[2] / "templates"
    return next(item for item in read_templates(folder) if item.key == "t08-gia-danh")


def test_one_body_a_carrier(order: Order, template: Template, cards: Cards) -> None:
    made = bodies(order, template, cards, reply_number="8066", alternative=None)
    assert [body.carrier for body in made] == [MOBIFONE, VIETTEL]
    for body in made:
        assert body.text.startswith("DIEN TAP: ")
        assert body.text.endswith(" Tu choi: TC gui 8066")
        assert (body.coding, body.parts) == ("gsm", 1)
        assert body.units == len(body.text)
        assert body.sha256 == hashlib.sha256(body.text.encode()).hexdigest()


def test_accented_text_takes_more_parts(order: Order, template: Template, cards: Cards, order_for: Callable[..., Order]) -> None:
    (body, _) = bodies(order_for(order, variant=Variant.ACCENTED), template, cards, reply_number="8066", alternative=None)
    assert body.coding == "ucs2"
    assert body.parts > 1
    assert body.text.startswith("DIỄN TẬP: ")


def test_a_live_text_bears_no_mark(order: Order, template: Template, cards: Cards, order_for: Callable[..., Order]) -> None:
    (body, _) = bodies(order_for(order, environment=Environment.LIVE), template, cards, reply_number=None, alternative=FOOTER)
    assert "DIEN TAP" not in body.text
    assert body.text.endswith(FOOTER.unaccented)


def test_every_carriers_objections_are_listed(
    order: Order, template: Template, cards: Cards, order_for: Callable[..., Order]
) -> None:
    strict = {
        VIETTEL: replace(cards[VIETTEL], max_parts=1),
        MOBIFONE: replace(cards[MOBIFONE], allow_unicode=False),
    }
    accented = order_for(order, variant=Variant.ACCENTED, sender="quá dài cho một tên")
    with pytest.raises(InvalidFileError) as caught:
        bodies(accented, template, strict, reply_number="8066", alternative=None)
    told = [str(problem) for problem in caught.value.problems]
    assert any(cards[VIETTEL].name in line for line in told)
    assert any(cards[MOBIFONE].name in line for line in told)
    assert len(told) >= 3
    assert {problem.key for problem in caught.value.problems} == {"accented"}


def test_a_reply_number_that_is_none(order: Order, template: Template, cards: Cards) -> None:
    with pytest.raises(ValueError, match="digits"):
        bodies(order, template, cards, reply_number="8066x", alternative=None)


def test_parts_on_the_wire_are_those_of_the_body(
    order: Order, template: Template, cards: Cards, order_for: Callable[..., Order]
) -> None:
    for variant in Variant:
        for body in bodies(order_for(order, variant=variant), template, cards, reply_number="8066", alternative=None):
            made = submit_templates(body.text, cards[body.carrier], sender=order.sender, campaign=70_000, valid_minutes=90)
            assert len(made) == body.parts


@pytest.mark.parametrize(("scope", "place"), [("all", 0), ("first", 1), ("last", 2)])
def test_f11_the_body_names_the_part_that_gets_a_receipt(
    order: Order, template: Template, cards: Cards, order_for: Callable[..., Order], scope: str, place: int
) -> None:
    changed = {code: replace(card, receipt_scope=scope, long_text="udh8") for code, card in cards.items()}  # type: ignore[arg-type]
    made = bodies(order_for(order, variant=Variant.ACCENTED), template, changed, reply_number="8066", alternative=None)
    assert {(body.parts > 1, body.receipt_part) for body in made} == {(True, body.parts if place == 2 else place) for body in made}
    short = bodies(order, template, changed, reply_number="8066", alternative=None)
    assert {body.receipt_part for body in short if body.parts == 1} <= {0}


def test_f62_a_text_that_travels_whole_is_one_submit(
    order: Order, template: Template, cards: Cards, order_for: Callable[..., Order]
) -> None:
    whole = {code: replace(card, long_text="payload") for code, card in cards.items()}
    accented = order_for(order, variant=Variant.ACCENTED)
    assert {body.parts for body in bodies(accented, template, whole, reply_number="8066", alternative=None)} == {1}
    tight = {code: replace(card, max_parts=1) for code, card in whole.items()}
    with pytest.raises(InvalidFileError, match="1 phần"):
        bodies(accented, template, tight, reply_number="8066", alternative=None)


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(-1, ""), (0, ""), (1, "000000000100000R"), (90, "000000013000000R"), (1440, "000001000000000R"), (6000, "000004040000000R")],
)
def test_validity_is_a_relative_smpp_time(minutes: int, text: str) -> None:
    assert validity(minutes) == text
    assert len(text) in (0, 16)
