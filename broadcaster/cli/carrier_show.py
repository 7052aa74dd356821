"""`broadcaster carrier show`: one carrier's terms, and what they allow now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.model import CarrierCard, DailyWindow
    from broadcaster.rules.terms import Quota
    from broadcaster.store.control import AccountOrder, Stop
    from broadcaster.store.usage import Usage

_WORDS: Final[Mapping[str, Said]] = {
    "rehearsal": Said("diễn tập", "rehearsal"),
    "live": Said("thật", "live"),
    "relative": Said("khoảng thời gian", "a span of time"),
    "absolute": Said("thời điểm", "a moment"),
    "handset": Said("đã đến máy", "reached the handset"),
    "smsc": Said("đã đến tổng đài nhà mạng", "reached the SMSC"),
    "unknown": Said("chưa rõ nghĩa", "meaning unknown"),
    "all": Said("mọi phần", "every part"),
    "first": Said("phần đầu", "the first part"),
    "last": Said("phần cuối", "the last part"),
}
"""The card's own words, for a person."""


class _Now(NamedTuple):
    """What people ordered of the account, and what it has used, at a moment."""

    at: dt.datetime
    order: AccountOrder | None
    stop: Stop | None
    usage: Usage
    receipt_faults: Mapping[str, int]

    @property
    def paused(self) -> bool:
        return self.order is not None and self.order.paused

    def closed_until(self, card: CarrierCard) -> dt.datetime | None:
        from broadcaster.rules.terms import closed_until

        return closed_until(card, self.at)

    def quota_used(self, card: CarrierCard) -> Quota | None:
        from broadcaster.rules.terms import quota_used

        return quota_used(card, self.usage.today_parts, self.usage.month_parts)

    def tps(self, card: CarrierCard) -> int | None:
        """Return the rate that the card and people's orders allow, 0 while nothing may be sent; None is unlimited."""
        from broadcaster.rules.terms import tps_now

        if self.paused or self.stop or self.closed_until(card) or self.quota_used(card):
            return 0
        ceilings = (tps_now(card, self.at), self.order.tps if self.order else None)
        return min((tps for tps in ceilings if tps is not None), default=None)


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
    from broadcaster.store.control import account_orders, standing_stop
    from broadcaster.store.receipt_faults import faults_by_carrier
    from broadcaster.store.usage import used

    here, at = opening.installation(), opening.now()
    card = opening.find_card(here.cards(), code)
    with here.store.read() as connection:
        order, stop = account_orders(connection).get(card.code), standing_stop(connection)
        faults = faults_by_carrier(connection).get(card.code, {})
        now = _Now(at, order, stop, used(connection, card.code, at), faults)
    output.answer(_document(card, now), lambda: _show(card, now))


def _document(card: CarrierCard, now: _Now) -> dict[str, Any]:
    from broadcaster.rules.order import window_text
    from broadcaster.rules.terms import quota_left

    usage, counted = now.usage, _has_quotas(card)
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
        "tps_now": now.tps(card),
        "hourly_tps": [{"window": window_text(window), "tps": tps} for window, tps in card.hourly_tps],
        "closed": list(map(window_text, card.closed)),
        "maintenance": [{"start": start, "end": end} for start, end in card.maintenance],
        "closed_until": now.closed_until(card),
        "parts_per_day": card.parts_per_day,
        "parts_per_month": card.parts_per_month,
        "parts_today": usage.today_parts if counted else None,
        "parts_this_month": usage.month_parts if counted else None,
        "quota_left": quota_left(card, usage.today_parts, usage.month_parts),
        "quota_used": now.quota_used(card),
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
        "receipt_form": card.receipt_form,
        "receipt_states": dict(card.receipt_states),
        "receipt_faults": dict(now.receipt_faults),
        "user_message_reference": card.user_message_reference,
        "cancels": card.cancels,
        "refused_first_percent": card.refused_first_percent,
        "refused_recent_percent": card.refused_recent_percent,
        "invalid_recent_percent": card.invalid_recent_percent,
        "queue_full_percent": card.queue_full_percent,
        "temporary_recent_percent": card.temporary_recent_percent,
        "retry_after_s": list(card.retry_after_s),
        "queue_full_after_s": list(card.queue_full_after_s),
        "test_numbers": len(card.test_numbers),
        "paused": now.paused,
        "stopped": now.stop is not None,
        "ordered_tps": now.order and now.order.tps,
        "assumed": list(card.assumed),
    }


def _show(card: CarrierCard, now: _Now) -> None:
    unlimited = say("không giới hạn", "unlimited")
    hourly = [f"{_hours(window)}: {tps}" for window, tps in card.hourly_tps]
    outages = [f"{output.moment(start)} – {output.moment(end)}" for start, end in card.maintenance if end > now.at]
    coding = f"GSM 0x{card.gsm_data_coding:02X} ({card.gsm_alphabet}), UCS-2 0x{card.ucs2_data_coding:02X}"
    output.facts(
        {
            say("Nhà mạng", "Carrier"): f"{card.name} ({card.code}, {_WORDS[card.environment]}, 452-{card.mnc})",
            say("Địa chỉ", "Address"): ", ".join(map(str, card.endpoints)) + (", TLS" if card.tls else ""),
            say("Kết nối", "Connections"): say(
                f"{card.binds}, cửa sổ {card.window} mỗi kết nối", f"{card.binds}, window {card.window} each"
            ),
            say("Phần/s", "Parts/s"): "; ".join([unlimited if card.tps is None else output.number(card.tps), *hourly]),
            say("Lúc này", "Now"): _now(card, now),
            say("Giờ đóng", "Closed"): ", ".join(map(_hours, card.closed)) or None,
            say("Bảo trì", "Maintenance"): "; ".join(outages) or None,
            **(_shares(card, now.usage) if _has_quotas(card) else {}),
            say("Nội dung", "Texts"): say(
                f"tối đa {card.max_parts} phần, ghép kiểu {card.long_text}, mã {coding}",
                f"at most {card.max_parts} parts, long ones by {card.long_text}, coding {coding}",
            ),
            say("Thời hạn", "Validity"): say("không ghi", "not given")
            if card.validity_form == "none"
            else str(_WORDS[card.validity_form]),
            say("Mã tin", "Ids"): f'response_id = "{card.ids.response}", receipt_id = "{card.ids.receipt}"',
            say("Biên nhận", "Receipts"): say("không có", "none")
            if card.receipt_means == "none"
            else f"{_WORDS[card.receipt_means]}, {_WORDS[card.receipt_scope]}",
            say("Biên nhận lỗi", "Receipt faults"): words.receipt_fault_words(now.receipt_faults) or None,
            say("Lệnh", "Orders"): words.account_words(now.order) if now.order else None,
            say("Giả định", "Assumed"): ", ".join(card.assumed) or None,
        }
    )


def _has_quotas(card: CarrierCard) -> bool:
    """Tell whether the account's parts are counted at all."""
    return card.parts_per_day is not None or card.parts_per_month is not None


def _hours(window: DailyWindow) -> str:
    from broadcaster.rules.order import window_text

    return say("cả ngày", "all day") if window.all_day else window_text(window)


def _now(card: CarrierCard, now: _Now) -> str:
    if now.stop:
        return say("đã dừng toàn bộ", "everything is stopped")
    if now.paused:
        return say("tạm ngừng", "paused")
    if withheld := words.withheld_words(now.closed_until(card), now.quota_used(card)):
        return withheld
    tps = now.tps(card)
    if tps is None:
        return say("không giới hạn", "unlimited")
    return say(f"{output.number(tps)} phần/s", f"{output.number(tps)} parts/s")


def _shares(card: CarrierCard, usage: Usage) -> dict[str, str]:
    return {
        say("Hôm nay", "Today"): _share(usage.today_parts, card.parts_per_day),
        say("Tháng này", "This month"): _share(usage.month_parts, card.parts_per_month),
    }


def _share(parts: int, quota: int | None) -> str:
    """Say how much of a quota is used."""
    used = say(f"đã gửi {output.number(parts)} phần", f"{output.number(parts)} parts sent")
    if quota is None:
        return used
    return used + say(f" trên hạn mức {output.number(quota)}", f" of a quota of {output.number(quota)}")
