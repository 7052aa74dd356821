"""`broadcaster subscriber`: what is held about one number, for the person it belongs to."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, reason_option
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from click.decorators import FC

    from broadcaster.flow.subject import Forgotten
    from broadcaster.model import Msisdn
    from broadcaster.store.subjects import Held

STDIN: Final = "-"

commands = Group(
    "subscriber",
    help=say("Trả lời người dân hỏi về số máy của chính họ.", "Answer people who ask about their own number."),
)


def asked_number(given: str | None) -> Msisdn:
    """Return the number that was typed, read from stdin for ``-``, or asked for. Raises `NotFoundError` when it is none."""
    from broadcaster.files.prefixes import read_plan
    from broadcaster.flow.subject import number_of

    if given is None:
        given = str(click.prompt(say("Số máy", "Number"), hide_input=True, err=True))
    return number_of(sys.stdin.readline().strip() if given == STDIN else given, read_plan())


def _number_argument(command: FC) -> FC:
    return click.argument(
        "number",
        required=False,
        metavar=say("[SỐ]", "[NUMBER]"),
        help=say(
            "Số di động. Không ghi thì chương trình hỏi; ghi - để đọc từ stdin: số không nằm lại trong lịch sử lệnh.",
            "A mobile number. Without it you are asked; - reads it from stdin: so it stays out of the shell's history.",
        ),
    )(command)


@commands.command(
    "show",
    help=say(
        "Cho biết hệ thống giữ gì về một số: có trong danh sách nào, chiến dịch nào đã gửi tin, lúc nào, kết quả ra sao, đã từ chối "
        "những gì. Số máy luôn bị che; mỗi lần tra cứu được ghi vào nhật ký.",
        "Tell what is held about a number: in which rosters it is, which campaign sent it a text, when, what became of it, what it "
        "refused. The number is masked; each look is audited.",
    ),
)
@_number_argument
def show(number: str | None) -> None:
    from broadcaster.flow import subject
    from broadcaster.rules.numbers import mask

    here = opening.installation()
    asked = asked_number(number)
    held = subject.show(here.store, here.vault, here.auditor, asked)
    names: dict[str, str] = {area.code: area.name for area in here.areas()}
    output.answer(_plain(held, mask(asked)), lambda: _show(held, mask(asked), names))


def _plain(held: Held, number: str) -> dict[str, Any]:
    at = output.moment_of_ms
    return {
        "number": number,
        "refuses_now": held.refuses_now,
        "ported_to": held.ported_to,
        "unmatched_receipts": held.unmatched_receipts,
        "rosters": [
            {
                "roster": item.roster_id,
                "carrier": item.carrier,
                "legal_basis": item.legal_basis,
                "requested_on": item.requested_on,
                "observed_at": at(item.observed_ms),
                "area": item.area_code,
                "last_seen": at(item.seen_ms),
            }
            for item in held.listings
        ],
        "messages": [
            {
                "campaign": item.campaign,
                "carrier": item.carrier,
                "area": item.area_code,
                "state": item.state.name.lower(),
                "exclusion": item.exclusion.name.lower() if item.exclusion else None,
                "planned_at": at(item.planned_ms),
                "sent_at": at(item.sent_ms),
                "receipt_at": at(item.receipt_ms),
            }
            for item in held.targetings
        ],
        "refusals": [
            {"at": at(item.at_ms), "refuses": bool(item.refuses), "source": item.source, "evidence": item.evidence}
            for item in held.refusals
        ],
        "texts": [{"at": at(item.at_ms), "kind": item.kind} for item in held.texts],
    }


def _show(held: Held, number: str, names: Mapping[str, str]) -> None:
    from broadcaster.review.words import outcome_name, reply_kind, source

    at = output.moment_of_ms
    facts = {say("Số máy", "Number"): number, say("Đang từ chối nhận tin", "Refuses now"): held.refuses_now}
    if held.ported_to:
        facts[say("Đã chuyển mạng sang", "Moved to")] = held.ported_to
    output.facts(facts)
    output.table(
        [
            Column(say("Chiến dịch", "Campaign")),
            Column(say("Nhà mạng", "Carrier")),
            Column(say("Gửi lúc", "Sent")),
            Column(say("Biên nhận lúc", "Receipt")),
            Column(say("Kết quả", "Outcome")),
        ],
        [
            [item.campaign, item.carrier, at(item.sent_ms), at(item.receipt_ms), outcome_name(item.state, item.exclusion)]
            for item in held.targetings
        ],
        title=say("\nTin nhắn", "\nMessages"),
        empty=Said("Không chiến dịch nào nhắm tới số này.", "No campaign was aimed at this number."),
    )
    output.table(
        [
            Column(say("Danh sách", "Roster")),
            Column(say("Căn cứ", "Basis")),
            Column(say("Xã thấy lần cuối", "Last seen in")),
            Column(say("Lúc", "At")),
        ],
        [
            [f"#{item.roster_id} {item.carrier}", item.legal_basis, names.get(item.area_code or "", "–"), at(item.seen_ms)]
            for item in held.listings
        ],
        title=say("\nDanh sách thuê bao đang giữ", "\nRosters that are kept"),
        empty=Said("Không có trong danh sách nào.", "In none."),
    )
    said = {True: say("từ chối", "refuses"), False: say("nhận lại", "takes warnings again")}
    words = [[at(item.at_ms), said[bool(item.refuses)], f"{source(item.source)}: {item.evidence}"] for item in held.refusals]
    texts = [[at(item.at_ms), say("nhắn tin đến", "texted"), reply_kind(item.kind)] for item in held.texts]
    output.table(
        [Column(say("Lúc", "At")), Column(say("Việc", "What")), Column(say("Chi tiết", "Detail"))],
        [*words, *texts],
        title=say("\nTừ chối và tin trả lời", "\nRefusals and replies"),
        empty=Said("Chưa từng từ chối hay trả lời.", "Has never refused or replied."),
    )


@commands.command(
    "forget",
    help=say(
        "Xóa một số theo yêu cầu của chính chủ: khỏi danh sách, tin, biên nhận, tin trả lời; không lấy lại được. Tin giữ kết quả để "
        "tổng số không đổi; lời từ chối và bằng chứng của nó được giữ, để số không bị nhắn lại. Không làm được khi có lệnh giữ hoặc "
        "chiến dịch chưa qua hạn chót. Được ghi vào nhật ký, không có số máy.",
        "Erase a number on its owner's wish: from rosters, messages, receipts and replies, for good. Messages keep their outcome, so "
        "totals stay; refusals stay with their evidence, lest it be warned again. Not under a legal hold, nor before the deadline of "
        "its campaigns. It is audited, without the number.",
    ),
)
@_number_argument
@reason_option()
@click.option("--dry-run", is_flag=True, help=say("Chỉ cho biết sẽ xóa những gì.", "Only tell what would be erased."))
def forget(number: str | None, reason: str, dry_run: bool) -> None:
    from broadcaster.flow import subject
    from broadcaster.rules.numbers import mask

    here = opening.installation()
    asked = asked_number(number)
    done = subject.forget(here.store, here.vault, here.auditor, asked, reason=reason, now=opening.now(), dry_run=dry_run)
    document = {
        "number": mask(asked),
        "dry_run": dry_run,
        "rosters": [item.roster for item in done.erased.rosters],
        "messages": done.erased.messages,
        "receipts": done.erased.receipts,
        "texts": done.erased.texts,
        "refusals_kept": done.refusals_kept,
        "log_cleared": done.log_cleared,
    }
    output.answer(document, lambda: _show_forgotten(mask(asked), done, dry_run=dry_run))


def _show_forgotten(number: str, done: Forgotten, *, dry_run: bool) -> None:
    rosters, messages, receipts, texts = (output.number(count) for count in (len(done.erased.rosters), *done.erased[1:]))
    begin = say("Sẽ xóa", "Would be erased") if dry_run else say("Đã xóa", "Erased")
    output.line(
        say(
            f"{begin} {number} khỏi {rosters} danh sách, {messages} tin, {receipts} biên nhận, {texts} tin trả lời.",
            f"{begin}: {number} from {rosters} rosters, {messages} messages, {receipts} receipts, {texts} replies.",
        )
    )
    if done.refusals_kept:
        kept = output.number(done.refusals_kept)
        output.line(
            say(
                f"Giữ lại {kept} mục từ chối hoặc nhận lại, cùng bằng chứng: cần để không nhắn tới số này nữa.",
                f"{kept} refusals or withdrawals are kept with their evidence: without them it would be warned again.",
            )
        )
    else:
        output.line(
            say(
                "Số này chưa từ chối; danh sách mới của nhà mạng có thể lại có nó. Không muốn nhận tin: `optout add`.",
                "It has not refused; a carrier's next roster may hold it again. To get no warnings: `optout add`.",
            )
        )
    if not dry_run and not done.log_cleared:
        output.tell(
            say(
                "Nhật ký của cơ sở dữ liệu có thể còn số này cho tới khi được ghi đè (dịch vụ hoặc lệnh khác đang dùng).",
                "The database's own log may hold it until it is overwritten (the service or another command is at work).",
            )
        )
    if not dry_run:
        output.tell(say("Bản sao lưu cũ vẫn còn số này: hủy hoặc thay chúng.", "Older backups still hold it: destroy them."))
