"""Stage 4 (done once per distinct text, when a campaign is drafted): template, values and footer become each carrier's text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from broadcaster.errors import InvalidFileError, Problem
from broadcaster.files.templates import Template
from broadcaster.lang import Said
from broadcaster.model import CarrierCard, CarrierCode, Environment, Order
from broadcaster.rules.wire import cut, pieces, receipt_part, text_rules
from broadcaster.text.compose import Spellings, compose, footer_for
from broadcaster.text.finding import Severity
from broadcaster.text.lint import lint, lint_sender


class Body(NamedTuple):
    """One carrier's text: `coding` is ``gsm`` or ``ucs2``, `units` its septets or UTF-16 units, `sha256` of its UTF-8.

    `parts` counts submit_sm; `receipt_part` is the one of them that gets a receipt, 0 when each does (F11).
    """

    carrier: CarrierCode
    text: str
    coding: str
    parts: int
    units: int
    sha256: str
    receipt_part: int


def bodies(
    order: Order,
    template: Template,
    cards: Mapping[CarrierCode, CarrierCard],
    *,
    reply_number: str | None,
    alternative: Spellings | None,
) -> list[Body]:
    """Render the order's text for each of its carriers and lint it as that carrier will see it.

    Raises `InvalidFileError` with everything a carrier would reject, `InvalidTemplateError` with everything wrong with the values.
    """
    footer = footer_for(order.variant, reply_number, alternative)
    rehearsal = order.environment is Environment.REHEARSAL
    text = compose(template.render(order.variant, order.values), variant=order.variant, rehearsal=rehearsal, footer=footer)
    problems = [_problem(order, Said("", ""), finding.message) for finding in lint_sender(order.sender)]
    made = []
    for code in order.audience.carriers:
        card = cards[code]
        rules = text_rules(card, order.variant, rehearsal=rehearsal, footer=footer)
        errors = [finding.message for finding in lint(text, rules) if finding.severity is Severity.ERROR]
        problems += [_problem(order, Said(f"{card.name}: ", f"{card.name}: "), message) for message in errors]
        segments, parts = cut(text, card), len(pieces(text, card))
        digest = hashlib.sha256(text.encode()).hexdigest()
        made.append(Body(code, text, str(segments.coding), parts, segments.units, digest, receipt_part(card, parts)))
    if problems:
        raise InvalidFileError(problems)
    return made


def _problem(order: Order, whose: Said, what: Said) -> Problem:
    return Problem(order.template, Said(whose.vi + what.vi, whose.en + what.en), key=str(order.variant))
