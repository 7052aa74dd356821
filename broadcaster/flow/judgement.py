"""Whether a stored campaign is approved now: its signatures against the digest of what is stored, by the register of people."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from broadcaster.model import Person
from broadcaster.rules import approval as rule
from broadcaster.rules.order import order_from_json
from broadcaster.store.campaigns import Campaign, approvals


def judgement(connection: Connection, found: Campaign, people: Mapping[str, Person]) -> rule.Judgement:
    """Judge the campaign's signatures; whoever submitted it is barred."""
    order = order_from_json(found.content["order"])
    requirement = rule.required(order.audience.max_recipients, order.environment)
    signatures = approvals(connection, found.id)
    return rule.judge(rule.digest(found.content), signatures, people.values(), {found.submitted_by}, requirement)
