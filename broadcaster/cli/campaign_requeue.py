"""`broadcaster campaign requeue`: what a carrier refused is tried again once the cause is mended."""

from __future__ import annotations

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command, StatusCode, reason_option, reference_argument
from broadcaster.lang import Said, say


@click.command(
    "requeue",
    cls=Command,
    help=say(
        "Xếp gửi lại những tin mà một nhà mạng đã từ chối hẳn với một mã lỗi, sau khi đã khắc phục nguyên nhân. Chỉ trong khung giờ "
        "và hạn chót đã ký; không bao giờ gửi lại tin đã được nhận hoặc không rõ. Chiến dịch đã kết thúc trở về tạm dừng, gửi tiếp "
        "bằng campaign resume.",
        "Let the messages that a carrier refused for good with one code be sent again, once the cause is mended. Only inside the "
        "signed window and deadline; never what was accepted or is unknown. A finished campaign becomes paused: campaign resume "
        "sends.",
    ),
)
@reference_argument()
@click.option(
    "--carrier",
    required=True,
    metavar=say("NHÀ_MẠNG", "CARRIER"),
    help=say("Mã nhà mạng đã từ chối.", "The carrier that refused."),
)
@click.option(
    "--code",
    required=True,
    type=StatusCode(),
    metavar=say("MÃ", "CODE"),
    help=say("Mã lỗi SMPP, ví dụ 0x45 hoặc 69.", "The SMPP command status, such as 0x45 or 69."),
)
@reason_option(in_report=True)
@click.option(
    "--dry-run",
    is_flag=True,
    help=say("Chỉ đếm số tin, không thay đổi gì.", "Only count the messages, change nothing."),
)
def requeue(reference: str, carrier: str, code: int, reason: str, dry_run: bool) -> None:
    from broadcaster.flow import requeue as stage
    from broadcaster.rules.lifecycle import STATE_NAMES

    installation = opening.installation()
    store, now = installation.store, opening.now()
    if dry_run:
        found = stage.preview(store, reference, carrier, code, now=now)
    else:
        found = stage.requeue(store, installation.auditor, reference, carrier, code, reason=reason, now=now)
    count = output.number(found.messages)
    done = Said(f"{count} tin sẽ được gửi lại", f"{count} messages would be sent again")
    if not dry_run:
        done = Said(f"{count} tin chờ gửi lại", f"{count} messages wait to be sent again")
    document = words.campaign_json(found.campaign) | {
        "carrier": carrier,
        "code": code,
        "messages": found.messages,
        "dry_run": dry_run,
    }
    output.answer(document, lambda: output.line(f"{found.campaign.name}: {done} ({STATE_NAMES[found.campaign.state]})"))
