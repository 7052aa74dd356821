"""`broadcaster campaign requeue`: what a carrier refused is tried again once the cause is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command, StatusCode, reason_option, reference_argument
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.flow.requeue import Requeued


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
@click.option(
    "--expect",
    type=click.IntRange(0),
    metavar=say("SỐ", "N"),
    help=say(
        "Số tin mà kịch bản chờ đợi; khác thì từ chối. Không ghi thì phải gõ lại số.",
        "The number of messages a script expects; any other is refused. Without it the number must be typed.",
    ),
)
@reason_option(in_report=True)
@click.option(
    "--dry-run",
    is_flag=True,
    help=say("Chỉ đếm số tin, không thay đổi gì.", "Only count the messages, change nothing."),
)
def requeue(reference: str, carrier: str, code: int, expect: int | None, reason: str, dry_run: bool) -> None:
    from broadcaster.flow import requeue as stage
    from broadcaster.rules.lifecycle import STATE_NAMES

    installation = opening.installation()
    store, now = installation.store, opening.now()
    found = stage.preview(store, reference, carrier, code, now=now)
    if not dry_run:
        typed = _typed(found) if expect is None else expect
        found = stage.requeue(store, installation.auditor, reference, carrier, code, reason=reason, now=now, expect=typed)
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


def _typed(found: Requeued) -> int:
    output.tell(words.banner(found.campaign.content["order"]["environment"]))
    what = say("tin bị từ chối hẳn → xếp gửi lại", "messages refused for good → to be sent again")
    output.tell(f"{found.campaign.name}: {output.number(found.messages)} {what}")
    return words.typed_number(
        say("Gõ lại số tin để xác nhận", "Type the number of messages to confirm"),
        Said("kịch bản thì dùng --expect SỐ", "scripts use --expect N"),
    )
