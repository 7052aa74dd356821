"""`broadcaster stop-all`: the switch that stops everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command, reason_option
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.flow.control import Standing


@click.command(
    "stop-all",
    cls=Command,
    help=say(
        "Dừng toàn bộ ngay: mọi chiến dịch đang gửi bị tạm dừng, không tin nào được lấy ra gửi thêm, không chiến dịch nào bắt đầu, "
        "cho đến khi gỡ lệnh dừng bằng --lift. Khởi động lại dịch vụ không gỡ lệnh dừng. Sau khi gỡ, mỗi chiến dịch vẫn tạm dừng "
        "cho đến khi có lệnh campaign resume; chiến dịch đã lên lịch thì bắt đầu nếu còn trong thời hạn đã ký.",
        "Stop everything now: every running campaign is paused, nothing more is taken to be sent, no campaign starts, until --lift. "
        "Starting the service again does not lift it. After that each campaign stays paused until campaign resume; a scheduled "
        "one starts if it still may by its signatures.",
    ),
)
@click.option(
    "--lift",
    is_flag=True,
    help=say("Gỡ lệnh dừng toàn bộ; không tự gửi tiếp chiến dịch nào.", "Lift the stop; no campaign goes on by itself."),
)
@reason_option()
@click.option(
    "--dry-run",
    is_flag=True,
    help=say("Chỉ cho biết lệnh sẽ tác động đến những gì.", "Only tell what it would concern."),
)
def commands(lift: bool, reason: str, dry_run: bool) -> None:
    from broadcaster.flow import control

    installation = opening.installation()
    store, auditor = installation.store, installation.auditor
    if dry_run:
        found = control.standing(store)
    elif lift:
        found = control.lift_stop(store, auditor, reason=reason)
    else:
        found = control.stop_all(store, auditor, reason=reason, now=opening.now())
    output.answer(_document(found, dry_run=dry_run), lambda: _show(found, lift=lift, dry_run=dry_run))


def _document(found: Standing, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "stopped": found.stop is not None,
        "since": output.moment_of_ms(found.stop.since_ms) if found.stop else None,
        "reason": found.stop.reason if found.stop else None,
        "running": found.running,
        "paused": found.paused,
        "scheduled": found.scheduled,
    }


def _show(found: Standing, *, lift: bool, dry_run: bool) -> None:
    if found.stop:
        output.line(words.stop_words(found.stop))
    elif lift and not dry_run:
        output.line(say("Đã gỡ lệnh dừng toàn bộ.", "The stop is lifted."))
    else:
        output.line(say("Không có lệnh dừng toàn bộ.", "Nothing is stopped."))
    if dry_run:
        output.line(say("(--dry-run) chưa thay đổi gì; ", "(--dry-run) nothing was changed; ") + _would(found, lift=lift))
    scheduled = Said("Đã lên lịch, chỉ bắt đầu sau khi gỡ lệnh dừng: ", "Scheduled, start only once the stop is lifted: ")
    if lift:
        scheduled = Said(
            "Đã lên lịch, sẽ bắt đầu đúng giờ hẹn (đã qua giờ hẹn thì bắt đầu ngay, nếu còn trong thời hạn đã ký): ",
            "Scheduled, will start at the appointed time (at once where it has passed, if the signatures still allow it): ",
        )
    for names, about in (
        (found.paused, say("Đang tạm dừng, chờ campaign resume: ", "Paused, waiting for campaign resume: ")),
        (found.scheduled, str(scheduled)),
    ):
        if names:
            output.line(about + ", ".join(names))


def _would(found: Standing, *, lift: bool) -> str:
    """Say what the order would do if it were no dry run."""
    if lift:
        if found.stop:
            return say("sẽ gỡ lệnh dừng toàn bộ", "the stop would be lifted")
        return say("không có gì để gỡ", "there is nothing to lift")
    if found.running:
        return say("sẽ tạm dừng: ", "would be paused: ") + ", ".join(found.running)
    return say("không có chiến dịch nào đang gửi để tạm dừng", "no campaign is running that would be paused")
