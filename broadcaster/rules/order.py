"""Write an order as plain JSON values in one canonical form, and read it back: what is stored, digested and signed."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from broadcaster.lang import Said
from broadcaster.model import (
    AreaCode,
    Audience,
    CarrierCode,
    Circle,
    DailyWindow,
    Environment,
    MessageClass,
    Order,
    Polygon,
    UnknownPolicy,
    Variant,
)

ALL_DAY: Final = "all-day"
TITLE_CHARS: Final = 200
_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)", re.ASCII)


def parse_window(text: str) -> DailyWindow:
    """Return the window written as ``07:00-22:00`` or ``all-day``. Raises `ValueError` carrying a `Said`."""
    if text == ALL_DAY:
        return DailyWindow(dt.time(0), dt.time(0))
    match = _WINDOW.fullmatch(text)
    if match:
        opens = dt.time(int(match[1]), int(match[2]))
        closes = dt.time(int(match[3]), int(match[4])) if match[3] else dt.time(0)
        if closes == dt.time(0) or opens < closes:
            return DailyWindow(opens, closes)
    raise ValueError(
        Said(
            vi="phải là khung giờ dạng 07:00-22:00 (không qua nửa đêm) hoặc all-day",
            en="must be a window such as 07:00-22:00 (not across midnight) or all-day",
        )
    )


def window_text(window: DailyWindow) -> str:
    """Return the form that `parse_window` reads."""
    if window.all_day:
        return ALL_DAY
    closes = "24:00" if window.closes == dt.time(0) else f"{window.closes:%H:%M}"
    return f"{window.opens:%H:%M}-{closes}"


def remainder_order(order: Order, *, name: str, max_recipients: int) -> Order:
    """Return the order that goes, on the same terms, to those whom this one does not reach; its start is still to be named."""
    ending = " (gửi tiếp)"
    title = order.title if order.title.endswith(ending) else order.title[: TITLE_CHARS - len(ending)] + ending
    # Everybody left of the earlier campaign, which had the outlines in its own audience: a remainder needs none.
    communes = () if order.audience.circles or order.audience.polygons else order.audience.communes
    asked = replace(order.audience, communes=communes, circles=(), polygons=())
    audience = replace(asked, remainder_of=order.name, max_recipients=max_recipients)
    return replace(order, name=name, title=title, start=None, audience=audience)


def order_to_json(order: Order) -> dict[str, Any]:
    """Return the order as JSON values, every mapping sorted, so that equal orders give equal bytes."""
    audience = order.audience
    return {
        "audience": {
            "active_within_h": audience.active_within_h,
            "carriers": sorted(audience.carriers),
            "circles": [_degrees(item.lat, item.lon, item.radius_km) for item in audience.circles],
            "communes": sorted(audience.communes),
            "max_recipients": audience.max_recipients,
            "polygons": [[[_degrees(*corner) for corner in ring] for ring in item.rings] for item in audience.polygons],
            "remainder_of": audience.remainder_of,
            "roster_max_age_h": audience.roster_max_age_h,
        },
        "deadline_h": order.deadline_h,
        "environment": order.environment.value,
        "instruction": order.instruction,
        "max_tps": {carrier: order.max_tps[carrier] for carrier in sorted(order.max_tps)},
        "message_class": order.message_class.value,
        "name": order.name,
        "override_refusals": order.override_refusals,
        "sender": order.sender,
        "start": None if order.start is None else order.start.astimezone(dt.UTC).isoformat(),
        "start_within_h": order.start_within_h,
        "template": order.template,
        "title": order.title,
        "unknown_policy": order.unknown_policy.value,
        "validity_h": order.validity_h,
        "values": {key: order.values[key] for key in sorted(order.values)},
        "variant": order.variant.value,
        "window": window_text(order.window),
    }


def _degrees(*figures: float) -> list[str]:
    """Return figures as texts: what is signed has one spelling only, which numbers with a point have not."""
    return [repr(float(figure)) for figure in figures]


def order_from_json(document: Mapping[str, Any]) -> Order:
    """Return the order that `order_to_json` wrote. Raises `KeyError` or `ValueError` on anything else."""
    audience = document["audience"]
    start = document["start"]
    return Order(
        name=document["name"],
        title=document["title"],
        environment=Environment(document["environment"]),
        message_class=MessageClass(document["message_class"]),
        instruction=document["instruction"],
        template=document["template"],
        variant=Variant(document["variant"]),
        values=dict(document["values"]),
        sender=document["sender"],
        audience=Audience(
            communes=tuple(AreaCode(code) for code in audience["communes"]),
            carriers=tuple(CarrierCode(code) for code in audience["carriers"]),
            active_within_h=audience["active_within_h"],
            roster_max_age_h=audience["roster_max_age_h"],
            max_recipients=audience["max_recipients"],
            remainder_of=audience["remainder_of"],
            circles=tuple(Circle(*map(float, item)) for item in audience["circles"]),
            polygons=tuple(
                Polygon(tuple(tuple((float(lon), float(lat)) for lon, lat in ring) for ring in rings))
                for rings in audience["polygons"]
            ),
        ),
        window=parse_window(document["window"]),
        start=None if start is None else dt.datetime.fromisoformat(start),
        start_within_h=document["start_within_h"],
        deadline_h=document["deadline_h"],
        validity_h=document["validity_h"],
        override_refusals=document["override_refusals"],
        unknown_policy=UnknownPolicy(document["unknown_policy"]),
        max_tps={CarrierCode(code): tps for code, tps in document["max_tps"].items()},
    )
