"""`broadcaster hold`: legal holds, which keep what would be erased."""

from __future__ import annotations

import datetime as dt
import sys

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, reason_option
from broadcaster.cli.output import Column
from broadcaster.cli.subscriber import STDIN
from broadcaster.lang import Said, say

commands = Group(
    "hold",
    help=say(
        "Lệnh giữ: theo văn bản của cơ quan có thẩm quyền, không xóa gì của chiến dịch, danh sách hoặc số máy ấy.",
        "Legal holds: by an authority's document, nothing is erased of a campaign, a roster or a number.",
    ),
)

_SCOPES = {
    "campaign": Said("chiến dịch", "campaign"),
    "roster": Said("danh sách thuê bao", "roster"),
    "number": Said("số máy", "number"),
}


@commands.command(
    "add",
    help=say(
        "Đặt lệnh giữ cho một chiến dịch, một danh sách thuê bao hoặc một số máy; ghi vào nhật ký, số máy không hiện ra.",
        "Put a hold on a campaign, a roster or a number; it is audited, the number is not shown.",
    ),
)
@click.argument(
    "scope",
    type=click.Choice(list(_SCOPES)),
    metavar=say("PHẠM_VI", "SCOPE"),
    help=say("campaign (chiến dịch), roster (danh sách thuê bao) hoặc number (số máy).", "campaign, roster or number."),
)
@click.argument(
    "subject",
    metavar=say("CÁI_GÌ", "WHAT"),
    help=say(
        "Tên hoặc số của chiến dịch, số của danh sách, hoặc số máy; ghi - để đọc từ stdin.",
        "The campaign's name or number, the roster's number, or the phone number; - reads it from stdin.",
    ),
)
@click.option(
    "--document",
    required=True,
    metavar=say("SỐ_VĂN_BẢN", "NUMBER"),
    help=say('Số văn bản yêu cầu giữ, ví dụ "15/QĐ-CSĐT".', 'Number of the document that asks for it, such as "15/QĐ-CSĐT".'),
)
@click.option(
    "--document-date",
    required=True,
    type=click.DateTime(["%Y-%m-%d", "%d-%m-%Y", "%d/%m/%Y"]),
    metavar=say("NGÀY", "DATE"),
    help=say("Ngày ký văn bản ấy, ví dụ 2026-01-05 hoặc 05-01-2026.", "The day it was signed, such as 2026-01-05."),
)
@reason_option()
def add(scope: str, subject: str, document: str, document_date: dt.datetime, reason: str) -> None:
    from broadcaster.files.prefixes import read_plan
    from broadcaster.flow.hold import place_hold
    from broadcaster.rules.basis import Basis
    from broadcaster.store.holds import HoldScope

    here = opening.installation()
    made = place_hold(
        here.store,
        here.auditor,
        here.vault,
        read_plan(),
        HoldScope(scope),
        sys.stdin.readline().strip() if subject == STDIN else subject,
        document=Basis(document.strip(), document_date.date()),
        reason=reason,
        now=opening.now(),
    )
    output.answer({"hold": made}, lambda: output.line(say(f"Đã đặt lệnh giữ số {made}.", f"Hold {made} is in force.")))


@commands.command(
    "release",
    help=say(
        "Gỡ một lệnh giữ; lệnh đã gỡ vẫn còn trong danh sách và nhật ký.", "End a hold; it stays in the list and the audit chain."
    ),
)
@click.argument(
    "hold", type=click.IntRange(1, 2**31), metavar=say("SỐ", "ID"), help=say("Số của lệnh giữ, xem bằng `hold list`.", "Its number.")
)
@reason_option()
def release(hold: int, reason: str) -> None:
    from broadcaster.flow.hold import lift_hold

    here = opening.installation()
    lift_hold(here.store, here.auditor, hold, reason=reason, now=opening.now())
    output.answer({"released": hold}, lambda: output.line(say(f"Đã gỡ lệnh giữ số {hold}.", f"Hold {hold} is released.")))


@commands.command(
    "list",
    help=say(
        "Liệt kê các lệnh giữ, kể cả đã gỡ; số máy luôn bị che.", "List the holds, released ones too; numbers are always masked."
    ),
)
def list_holds() -> None:
    from broadcaster.rules.numbers import mask
    from broadcaster.store.holds import holds

    here = opening.installation()
    with here.store.read() as connection:
        found = holds(connection)
    numbers = iter(here.vault.reveal([item.token for item in found if item.token is not None]))
    subjects = [f"#{item.subject_id}" if item.token is None else mask(next(numbers)) for item in found]
    columns = [
        Column(say("Số", "Id"), right=True),
        Column(say("Phạm vi", "Scope")),
        Column(say("Của", "Of")),
        Column(say("Văn bản", "Document")),
        Column(say("Lý do", "Reason")),
        Column(say("Đặt lúc", "Since")),
        Column(say("Người đặt", "By")),
        Column(say("Gỡ lúc", "Released")),
    ]
    rows = [
        [
            item.id,
            str(_SCOPES[item.scope.value]),
            subject,
            f"{item.document} ({dt.date.fromisoformat(item.documented_on):%d-%m-%Y})",
            item.reason,
            output.moment_of_ms(item.added_ms),
            item.added_by,
            output.moment_of_ms(item.released_ms),
        ]
        for item, subject in zip(found, subjects, strict=True)
    ]
    document = [
        {
            "id": item.id,
            "scope": item.scope.value,
            "of": subject,
            "document": item.document,
            "document_date": item.documented_on,
            "reason": item.reason,
            "added_by": item.added_by,
            "added_at": output.moment_of_ms(item.added_ms),
            "released_by": item.released_by,
            "released_at": output.moment_of_ms(item.released_ms),
            "release_reason": item.release_reason,
        }
        for item, subject in zip(found, subjects, strict=True)
    ]
    output.answer(document, lambda: output.table(columns, rows, empty=Said("Không có lệnh giữ nào.", "There are no holds.")))
