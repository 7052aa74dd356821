"""`broadcaster carrier show`: one carrier's terms, and what they allow now."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command
from broadcaster.lang import say

if TYPE_CHECKING:
    from broadcaster.model import CarrierCard
    from broadcaster.store.control import AccountOrder
    from broadcaster.store.usage import Usage


@click.command(
    "show",
    cls=Command,
    help=say(
        "Xem một thẻ nhà mạng: địa chỉ và máy dự phòng, tốc độ theo giờ, giờ đóng, bảo trì, hạn mức và phần còn lại, cách viết tin, "
        "biên nhận, và lúc này được gửi bao nhiêu.",
        "Show one card: address and alternate hosts, rates by the hour, closed hours, maintenance, quotas and what is left of them, "
        "forms of texts, receipts, and how much may be sent now.",
    ),
)
@click.argument(
    "code",
    metavar=say("NHÀ_MẠNG", "CARRIER"),
    help=say("Mã nhà mạng, xem bằng `carrier list`.", "The carrier's code, as `carrier list` shows it."),
)
def show(code: str) -> None:
    from broadcaster.store.control import account_orders
    from broadcaster.store.usage import used

    here, now = opening.installation(), opening.now()
    card = opening.find_card(here.cards(), code)
    with here.store.read() as connection:
        order, usage = account_orders(connection).get(card.code), used(connection, card.code, now)
    output.answer(_document(card, order, usage, now), lambda: _show(card, order, usage, now))


def _document(card: CarrierCard, order: AccountOrder | None, usage: Usage, now: dt.datetime) -> dict[str, Any]:
    from broadcaster.rules.order import window_text
    from broadcaster.rules.terms import closed_until, quota_left, tps_now

    return {
        "code": card.code,
        "name": card.name,
        "environment": card.environment,
        "mnc": card.mnc,
        "hosts": list(map(str, card.endpoints)),
        "tls": card.tls,
        "system_id": card.system_id,
        "binds": card.binds,
        "window": card.window,
        "tps": card.tps,
        "tps_now": tps_now(card, now),
        "hourly_tps": [{"window": window_text(window), "tps": tps} for window, tps in card.hourly_tps],
        "closed": list(map(window_text, card.closed)),
        "maintenance": [{"start": start, "end": end} for start, end in card.maintenance],
        "closed_until": closed_until(card, now),
        "parts_per_day": card.parts_per_day,
        "parts_per_month": card.parts_per_month,
        "parts_today": usage.today_parts,
        "parts_this_month": usage.month_parts,
        "quota_left": quota_left(card, usage.today_parts, usage.month_parts),
        "max_parts": card.max_parts,
        "allow_unicode": card.allow_unicode,
        "forbidden": card.forbidden,
        "long_text": card.long_text,
        "gsm_data_coding": card.gsm_data_coding,
        "ucs2_data_coding": card.ucs2_data_coding,
        "gsm_alphabet": card.gsm_alphabet,
        "validity_form": card.validity_form,
        "response_id": card.ids.response,
        "receipt_id": card.ids.receipt,
        "receipt_means": card.receipt_means,
        "receipt_scope": card.receipt_scope,
        "user_message_reference": card.user_message_reference,
        "cancels": card.cancels,
        "refused_first_percent": card.refused_first_percent,
        "refused_recent_percent": card.refused_recent_percent,
        "queue_full_percent": card.queue_full_percent,
        "test_numbers": len(card.test_numbers),
        "paused": order is not None and order.paused,
        "ordered_tps": order and order.tps,
        "assumed": list(card.assumed),
    }


def _show(card: CarrierCard, order: AccountOrder | None, usage: Usage, now: dt.datetime) -> None:
    from broadcaster.rules.order import window_text
    from broadcaster.rules.terms import closed_until

    unlimited = say("không giới hạn", "unlimited")
    hourly = [f"{window_text(window)}: {tps}" for window, tps in card.hourly_tps]
    outages = [f"{output.moment(start)} – {output.moment(end)}" for start, end in card.maintenance if end > now]
    until = closed_until(card, now)
    coding = f"GSM 0x{card.gsm_data_coding:02X} ({card.gsm_alphabet}), UCS-2 0x{card.ucs2_data_coding:02X}"
    output.facts(
        {
            say("Nhà mạng", "Carrier"): f"{card.name} ({card.code}, {card.environment}, 452-{card.mnc})",
            say("Địa chỉ", "Address"): ", ".join(map(str, card.endpoints)) + (", TLS" if card.tls else ""),
            say("Kết nối", "Connections"): say(
                f"{card.binds}, cửa sổ {card.window} mỗi kết nối", f"{card.binds}, window {card.window} each"
            ),
            say("Phần/s", "Parts/s"): "; ".join([unlimited if card.tps is None else output.number(card.tps), *hourly]),
            say("Lúc này", "Now"): _now(card, until, now),
            say("Giờ đóng", "Closed"): ", ".join(map(window_text, card.closed)) or None,
            say("Bảo trì", "Maintenance"): "; ".join(outages) or None,
            say("Hôm nay", "Today"): _share(usage.today_parts, card.parts_per_day),
            say("Tháng này", "This month"): _share(usage.month_parts, card.parts_per_month),
            say("Nội dung", "Texts"): say(
                f"tối đa {card.max_parts} phần, ghép kiểu {card.long_text}, mã {coding}",
                f"at most {card.max_parts} parts, long ones by {card.long_text}, coding {coding}",
            ),
            say("Thời hạn", "Validity"): card.validity_form,
            say("Mã tin", "Ids"): f'response_id = "{card.ids.response}", receipt_id = "{card.ids.receipt}"',
            say("Biên nhận", "Receipts"): say(
                f"{card.receipt_means}, phần: {card.receipt_scope}", f"{card.receipt_means}, parts: {card.receipt_scope}"
            ),
            say("Lệnh", "Orders"): words.account_words(order) if order else None,
            say("Giả định", "Assumed"): ", ".join(card.assumed) or None,
        }
    )


def _now(card: CarrierCard, until: dt.datetime | None, now: dt.datetime) -> str:
    from broadcaster.rules.terms import tps_now

    if until is not None:
        return say(f"đóng đến {output.moment(until)}", f"closed until {output.moment(until)}")
    tps = tps_now(card, now)
    if tps is None:
        return say("không giới hạn", "unlimited")
    return say(f"{output.number(tps)} phần/s", f"{output.number(tps)} parts/s")


def _share(parts: int, quota: int | None) -> str:
    """Say how much of a quota is used."""
    used = say(f"đã gửi {output.number(parts)} phần", f"{output.number(parts)} parts sent")
    if quota is None:
        return used
    return used + say(f" trên hạn mức {output.number(quota)}", f" of a quota of {output.number(quota)}")
