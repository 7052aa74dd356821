"""`broadcaster stop-all`: the switch that stops everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command
from broadcaster.lang import say

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
@click.option(
    "--reason",
    required=True,
    metavar=say("LÝ_DO", "TEXT"),
    help=say("Lý do, ghi vào nhật ký.", "Why; it goes into the audit chain."),
)
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
    output.answer(_document(found, dry_run=dry_run), lambda: _show(found))


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


def _show(found: Standing) -> None:
    if found.stop:
        output.line(words.stop_words(found.stop))
    else:
        output.line(say("Không có lệnh dừng toàn bộ.", "Nothing is stopped."))
    for names, about in (
        (found.running, say("Đang gửi: ", "Running: ")),
        (found.paused, say("Đang tạm dừng, chờ campaign resume: ", "Paused, waiting for campaign resume: ")),
        (found.scheduled, say("Đã lên lịch, sẽ bắt đầu khi không còn lệnh dừng: ", "Scheduled, start once nothing is stopped: ")),
    ):
        if names:
            output.line(about + ", ".join(names))
