"""Whether a stored campaign is approved now: its signatures against the digest of what is stored, by the register of people.

What was edited by another road than ours may be anything: content that is not even an order is not approved, and breaks nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from broadcaster.lang import Said
from broadcaster.model import Order, Person
from broadcaster.rules import approval as rule
from broadcaster.rules.order import order_from_json
from broadcaster.store.campaigns import Campaign, approvals

_UNREADABLE = rule.Judgement((), (Said("nội dung lưu trữ không đọc được", "the stored content cannot be read"),), (), ok=False)


def readable_order(found: Campaign) -> Order | None:
    """Return the stored order, None when the stored content is no order with its texts."""
    try:
        for body in found.content["bodies"]:
            _ = body["carrier"], body["text"], body["parts"]
        rule.canonical(found.content)
        return order_from_json(found.content["order"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def judgement(connection: Connection, found: Campaign, people: Mapping[str, Person]) -> rule.Judgement:
    """Judge the campaign's signatures; whoever submitted it, by the signed content as by the row, is barred."""
    order = readable_order(found)
    if order is None:
        return _UNREADABLE
    requirement = rule.required(order.audience.max_recipients, order.environment, overrides_refusals=order.override_refusals)
    signatures = approvals(connection, found.id)
    barred = {found.submitted_by, str(found.content.get("submitted_by"))}
    return rule.judge(rule.digest(found.content), signatures, people.values(), barred, requirement)
