"""`broadcaster message`: what became of one message."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.flow.trace import Event, Story

STDIN: Final = "-"

commands = Group("message", help=say("Từng tin một: chuyện gì đã xảy ra với nó.", "Single messages: what happened to them."))


@commands.command(
    "trace",
    help=say(
        "Kể toàn bộ chuyện của một tin theo thứ tự thời gian: thuê bao từ danh sách nào, các lệnh dừng và chạy, từng phiếu, từng "
        "lần gửi, trả lời, biên nhận, lời từ chối. Mỗi lần tra cứu được ghi vào nhật ký kiểm toán.",
        "Tell a message's whole story in the order of time: the subscriber's roster, orders to stop and go on, each lease, attempt, "
        "answer and receipt, refusals. Each look is recorded in the audit chain.",
    ),
)
@click.argument(
    "asked",
    metavar=say("TIN|SỐ", "MESSAGE|NUMBER"),
    help=say(
        "Mã tin (như 3:17), hoặc số di động; ghi - để nhập số qua stdin, tránh lưu trong lịch sử lệnh.",
        "A message (such as 3:17) or a mobile number; - reads it from stdin, out of the shell's history.",
    ),
)
@click.option(
    "--campaign",
    metavar=say("CHIẾN_DỊCH", "CAMPAIGN"),
    help=say("Chỉ trong chiến dịch này.", "Only in this campaign."),
)
def trace(asked: str, campaign: str | None) -> None:
    from broadcaster.files.prefixes import read_plan
    from broadcaster.flow.trace import trace as look
    from broadcaster.store.times import to_ms

    installation = opening.installation()
    given = sys.stdin.readline().strip() if asked == STDIN else asked
    stories = look(
        installation.store,
        installation.vault,
        installation.auditor,
        given,
        campaign=campaign,
        plan=read_plan(),
        now_ms=to_ms(opening.now()),
    )
    names: dict[str, str] = {area.code: area.name for area in installation.areas()}
    output.answer([_plain(story) for story in stories], lambda: _show(stories, names))


def _plain(story: Story) -> dict[str, Any]:
    events = [{"at": output.moment_of_ms(event.at_ms), "kind": event.kind, **event.detail} for event in story.events]
    exclusion = story.exclusion.name.lower() if story.exclusion else None
    return story._asdict() | {"state": story.state.name.lower(), "exclusion": exclusion, "events": events}


def _show(stories: list[Story], names: Mapping[str, str]) -> None:
    from broadcaster.review.words import outcome_name

    for place, story in enumerate(stories):
        if place:
            output.line()
        output.facts(
            {
                say("Tin", "Message"): story.message,
                say("Chiến dịch", "Campaign"): story.campaign,
                say("Số máy", "Number"): story.number,
                say("Nhà mạng", "Carrier"): story.carrier,
                say("Xã", "Commune"): names.get(story.area_code, story.area_code) or "–",
                say("Nay", "Now"): outcome_name(story.state, story.exclusion),
            }
        )
        rows = [[_moment(event), _words(event, names)] for event in story.events]
        output.table([Column(say("Lúc", "At")), Column(say("Chuyện gì", "What"))], rows)


def _moment(event: Event) -> str:
    return output.moment(output.moment_of_ms(event.at_ms)).replace(" ", f".{event.at_ms % 1000:03d} ", 1)


def _words(event: Event, names: Mapping[str, str]) -> str:
    """Say one event in a sentence."""
    sentence: dict[str, Callable[[Mapping[str, Any], Mapping[str, str]], str]] = {
        "seen": _seen,
        "roster": _roster,
        "order": _order,
        "lease": _lease,
        "lease-end": _lease_end,
        "written": _written,
        "answer": _answer,
        "receipt": _receipt,
        "refusal": _refusal,
        "reply": _reply,
    }
    return sentence[event.kind](event.detail, names)


def _seen(detail: Mapping[str, Any], names: Mapping[str, str]) -> str:
    place = names.get(detail["area"] or "", say("nơi không rõ", "an unknown place"))
    return say(f"thuê bao được thấy lần cuối ở {place}", f"subscriber last seen in {place}")


def _roster(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    which = f"#{detail['roster']} ({detail['file']})"
    return say(f"có trong danh sách {which} của {detail['carrier']}", f"in roster {which} of {detail['carrier']}")


def _order(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    from broadcaster.review.words import action

    more = "; ".join(str(detail[key]) for key in ("tps", "code", "reason") if key in detail)
    return f"{action(detail['action'])} ({detail['by']})" + (f": {more}" if more else "")


def _lease(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    return say(
        f"vào phiếu nhận {detail['lease']}, lần chạy dịch vụ {detail['epoch']}",
        f"taken under lease {detail['lease']}, start {detail['epoch']} of the service",
    )


def _lease_end(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    crashed = say(", dịch vụ đã dừng đột ngột", ", the service had died") if detail["crashed"] else ""
    return say(f"phiếu nhận {detail['lease']} khép lại", f"lease {detail['lease']} closed") + crashed


def _which(detail: Mapping[str, Any]) -> str:
    return say(
        f"phần {detail['part']}/{detail['parts']}, lần {detail['attempt']}",
        f"part {detail['part']}/{detail['parts']}, attempt {detail['attempt']}",
    )


def _written(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    risk = say(", có thể là bản thứ hai", ", perhaps a second copy") if detail["dup_risk"] else ""
    return f"{_which(detail)}: {say('gửi đi', 'written')}{risk}"


_RESOLVED: Final[Mapping[str, Said]] = {
    "late answer": Said("nhờ trả lời đến muộn", "by a late answer"),
    "receipt": Said("nhờ biên nhận", "by a receipt"),
    "released": Said("người vận hành cho gửi lại", "released by the operator"),
    "policy": Said("gửi lại theo lệnh đã ký", "sent again as the signed order says"),
    "settled": Said("để yên", "left unknown"),
}


def _answer(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    from broadcaster.model import State
    from broadcaster.review.words import STATES, reason, said, status

    more = [status(detail["status"])] if detail["status"] else []
    more += [reason(detail["reason"])] if detail["reason"] else []
    more += [str(_RESOLVED[detail["resolved"]])] if detail["resolved"] in _RESOLVED else []
    more += [say("nhà mạng đã nhận cả hai bản", "the carrier has taken both copies")] if detail["confirmed_duplicate"] else []
    more += [f"id {detail['smsc_id']}"] if detail["smsc_id"] else []
    return f"{_which(detail)} → {said(STATES[State[detail['state'].upper()]])}" + (f" ({'; '.join(more)})" if more else "")


def _receipt(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    error = say(f", mã {detail['error']}", f", code {detail['error']}") if detail["error"] else ""
    astray = "" if detail["matched"] else say(", chưa khớp với tin nào", ", matched to no message")
    return f"{say('biên nhận', 'receipt')} {detail['stat']} (id {detail['smsc_id']}{error}){astray}"


def _refusal(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    from broadcaster.review.words import source

    what = say("từ chối nhận tin", "refuses") if detail["refuses"] else say("đồng ý nhận lại", "accepts again")
    return f"{what} ({source(detail['source'])})"


def _reply(detail: Mapping[str, Any], _names: Mapping[str, str]) -> str:
    from broadcaster.review.words import reply_kind

    return f"{say('nhắn lại', 'replies')}: {reply_kind(detail['kind'])}"
