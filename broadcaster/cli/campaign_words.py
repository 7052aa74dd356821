"""What the verbs of `campaign` say: the same facts as words for a person and as JSON values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from broadcaster.cli import output
from broadcaster.errors import RefusedError
from broadcaster.lang import Said, say
from broadcaster.model import Area, Environment

if TYPE_CHECKING:
    from broadcaster.flow.verify import Check
    from broadcaster.rules.approval import Judgement, Requirement
    from broadcaster.rules.terms import Quota
    from broadcaster.store.campaigns import Campaign
    from broadcaster.store.control import AccountOrder, Stop

NAMED_COMMUNES: Final = 5

_LINK_NAMES: Final[Mapping[str, Said]] = {
    "connecting": Said("đang kết nối", "connecting"),
    "bound": Said("đã kết nối", "bound"),
    "refused": Said("bị nhà mạng từ chối", "refused"),
    "lost": Said("mất kết nối", "lost"),
    "stopped": Said("đã dừng", "stopped"),
    "down": Said("không kết nối", "down"),
}

_QUOTA_USED: Final[Mapping[Quota, Said]] = {
    "day": Said("hết hạn mức ngày", "the day's quota is used up"),
    "month": Said("hết hạn mức tháng", "the month's quota is used up"),
}


def link_name(state: str) -> str:
    """Return a link's state in words."""
    return str(_LINK_NAMES.get(state, state))


def service_words(running: bool) -> str:
    """Say whether the service runs."""
    return (
        say("Dịch vụ đang chạy.", "The service is running.")
        if running
        else say("Dịch vụ không chạy: không có gì được gửi.", "The service is not running: nothing is being sent.")
    )


def stop_words(stop: Stop) -> str:
    """Say that everything is stopped, since when and why."""
    since = output.moment(output.moment_of_ms(stop.since_ms))
    return say(f"ĐÃ DỪNG TOÀN BỘ từ {since}: {stop.reason}", f"EVERYTHING IS STOPPED since {since}: {stop.reason}")


def account_words(order: AccountOrder) -> str:
    """Say what a person ordered of one carrier's account."""
    paused = say("tạm ngừng gửi", "paused") if order.paused else say("được gửi", "open")
    pace = "" if order.tps is None else say(f", tối đa {order.tps} phần/giây", f", {order.tps} parts/s at most")
    return f"{paused}{pace} ({order.reason})"


_RECEIPT_FAULTS: Final[Mapping[str, Said]] = {
    "dlr_id_conflict": Said("{} mang hai mã tin khác nhau", "{} with two different ids"),
    "unparsed": Said("{} không đọc được", "{} that could not be read"),
    "unknown_state": Said("{} có trạng thái không rõ", "{} of a state nobody knows"),
    "two_candidates": Said("{} khớp với hai tin", "{} that fit two messages"),
}


def receipt_fault_words(faults: Mapping[str, int]) -> str:
    """Say how many receipts of one carrier were taken though something was wrong with them; empty when none was."""
    return ", ".join(str(_RECEIPT_FAULTS[fault]).format(output.number(receipts)) for fault, receipts in faults.items())


def withheld_words(closed_until: dt.datetime | None, quota: Quota | None) -> str:
    """Say which of a carrier's terms lets nothing be sent now; empty when none does."""
    if closed_until is not None:
        return say(f"đóng đến {output.moment(closed_until)}", f"closed until {output.moment(closed_until)}")
    return str(_QUOTA_USED[quota]) if quota else ""


def banner(environment: str) -> str:
    """Say in capitals whether the public will be reached."""
    if environment == Environment.LIVE:
        return say("*** THẬT: tin sẽ đến máy của người dân ***", "*** LIVE: the public will get these texts ***")
    return say("DIỄN TẬP: chỉ gửi đến nhà mạng giả lập", "REHEARSAL (DIỄN TẬP): simulated carriers only")


def area_words(audience: Mapping[str, Any], areas: Sequence[Area]) -> str:
    """Return the area of an order's audience, as `order_to_json` has it, in words."""
    circles, polygons = audience["circles"], audience["polygons"]
    outlines = [
        say(f"{float(km):g} km quanh {lat}, {lon}", f"{float(km):g} km around {lat}, {lon}")
        for lat, lon, km in circles[:NAMED_COMMUNES]
    ]
    if len(circles) > NAMED_COMMUNES:
        outlines.append(say(f"{len(circles) - NAMED_COMMUNES} vòng tròn khác", f"{len(circles) - NAMED_COMMUNES} more circles"))
    if polygons:
        outlines.append(say(f"{len(polygons)} đa giác", f"{len(polygons)} polygons"))
    codes = audience["communes"]
    if outlines:
        return "; ".join(([_commune_words(codes, areas)] if codes else []) + outlines)
    return _commune_words(codes, areas) if codes else say("toàn tỉnh", "the whole province")


def _commune_words(codes: Sequence[str], areas: Sequence[Area]) -> str:
    names: dict[str, str] = {area.code: area.name for area in areas}
    listed = [names.get(code, code) for code in codes]
    rest = len(listed) - NAMED_COMMUNES
    more = say(f" và {rest} nơi khác", f" and {rest} more") if rest > 0 else ""
    return ", ".join(listed[:NAMED_COMMUNES]) + more


def _approximate(found: Campaign) -> str:
    """Say how many recipients only the nearest commune's centre places, as that was signed; empty when none."""
    people = found.content.get("approximate")
    if not people:
        return ""
    text = output.number(people)
    return say(f" (trong đó {text} xếp xã gần đúng)", f" ({text} of them placed approximately)")


def signatures(requirement: Requirement) -> str:
    """Return the signatures an order needs, in words."""
    text = say(
        f"{requirement.approvers} người phê duyệt", f"{requirement.approvers} approver{'s' if requirement.approvers > 1 else ''}"
    )
    return text + (say(" và lãnh đạo trực", " and the duty officer") if requirement.duty_officer else "")


def requirement_json(requirement: Requirement) -> dict[str, object]:
    """Return the signatures an order needs as plain JSON values."""
    return {"approvers": requirement.approvers, "duty_officer": requirement.duty_officer}


def typed_recipients(found: Campaign, areas: Sequence[Area], starts_at: dt.datetime) -> int:
    """Show what is about to happen and return the number the operator types. Raises `RefusedError` when it is none."""
    order = found.content["order"]
    for text in (
        banner(order["environment"]),
        f"{found.name}: {order['title']}",
        say("Nơi nhận: ", "Area: ") + area_words(order["audience"], areas),
        say("Nhà mạng: ", "Carriers: ") + ", ".join(order["audience"]["carriers"]),
        say("Bắt đầu: ", "Start: ") + output.moment(starts_at),
        say("Số thuê bao sẽ nhận tin: ", "Recipients: ") + output.number(found.recipients) + _approximate(found),
    ):
        output.tell(text)
    return typed_number(
        say("Gõ lại số thuê bao để xác nhận", "Type the number of recipients to confirm"),
        Said("kịch bản thì dùng --yes --expect-recipients SỐ", "scripts use --yes --expect-recipients N"),
    )


def typed_number(question: str, for_scripts: Said) -> int:
    """Return the number the operator types. Raises `RefusedError` when it is none."""
    try:
        text = click.prompt(question, type=str, err=True)
    except click.Abort:
        output.tell("")
        text = ""
    digits = text.strip().replace(".", "").replace(",", "")
    if not (digits.isascii() and digits.isdigit()):
        raise RefusedError(
            Said("Chưa xác nhận bằng một con số; chưa có gì thay đổi.", "The number was not confirmed; nothing has changed."),
            for_scripts,
        )
    return int(digits)


def judgement_json(verdict: Judgement) -> dict[str, object]:
    """Return what the signatures are worth as plain JSON values."""
    return {
        "approved": verdict.ok,
        "valid": list(verdict.valid),
        "missing": [str(item) for item in verdict.missing],
        "discounted": [str(item) for item in verdict.discounted],
    }


def show_judgement(verdict: Judgement) -> None:
    """Print what the signatures are worth."""
    output.line(say("Chữ ký được tính: ", "Signatures that count: ") + (", ".join(verdict.valid) or "–"))
    for item in verdict.discounted:
        output.line(say("Không được tính: ", "Does not count: ") + str(item))
    for item in verdict.missing:
        output.line(say("Còn thiếu: ", "Still missing: ") + str(item))
    if verdict.ok:
        output.line(say("Đã đủ phê duyệt. Bước tiếp theo: campaign schedule.", "Approved. Next: campaign schedule."))


def campaign_json(found: Campaign) -> dict[str, object]:
    """Return a campaign as plain JSON values."""
    from broadcaster.store.campaigns import remainder_of

    return {
        "id": found.id,
        "name": found.name,
        "title": found.content["order"]["title"],
        "environment": found.content["order"]["environment"],
        "state": found.state,
        "recipients": found.recipients,
        "digest": found.digest,
        "submitted_by": found.submitted_by,
        "submitted_at": output.moment_of_ms(found.submitted_ms),
        "planned_at": output.moment_of_ms(found.planned_ms),
        "started_at": output.moment_of_ms(found.started_ms),
        "finished_at": output.moment_of_ms(found.finished_ms),
        "reason": found.reason,
        "remainder_of": remainder_of(found),
    }


def show_checks(checks: Sequence[Check]) -> None:
    """Print each check with its details."""
    for check in checks:
        output.line(f"{'✓' if check.ok else '✗'} {check.said}")
        for detail in check.details:
            output.line(f"    {detail}")
    failed = sum(not check.ok for check in checks)
    output.line(
        say(f"{failed} trong {len(checks)} điều không khớp.", f"{failed} of {len(checks)} checks do not hold.")
        if failed
        else say(f"Cả {len(checks)} điều đều khớp.", f"All {len(checks)} checks hold.")
    )
