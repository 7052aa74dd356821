"""`broadcaster db`: the database itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, reason_option
from broadcaster.errors import ConfigurationError, LockedError
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.store.restore import Survey

commands = Group("db", help=say("Cơ sở dữ liệu của hệ thống.", "The installation's database."))


@commands.command(
    "upgrade",
    help=say(
        "Đưa cơ sở dữ liệu lên phiên bản mà chương trình này cần; dịch vụ phải dừng trước.",
        "Bring the database to the version this program needs; the service must be stopped first.",
    ),
)
def upgrade() -> None:
    from broadcaster.store.engine import Store, exists, missing_database, service_running
    from broadcaster.store.upgrade import upgrade as run_migrations

    store = Store(opening.installed_settings().database_url)
    if store.path is not None:
        if not exists(store.path):
            raise missing_database(store.path)
        if service_running(store.path):
            raise LockedError(
                Said("Dịch vụ đang chạy trên cơ sở dữ liệu này.", "The service runs on this database."),
                Said("dừng dịch vụ rồi chạy lại", "stop the service, then run this again"),
            )
    before, after = run_migrations(store)

    def show() -> None:
        if before == after:
            output.line(say(f"Cơ sở dữ liệu đã ở phiên bản {after}.", f"The database is at version {after} already."))
        else:
            output.line(say(f"Đã nâng cấp: {before} → {after}.", f"Upgraded: {before} → {after}."))

    output.answer({"before": before, "after": after}, show)


@commands.command(
    "adopt",
    help=say(
        "Nhận một cơ sở dữ liệu được khôi phục hoặc chép sang: mọi tin có thể đã gửi sau khi bản này được chép ra bị ghi là không rõ "
        "kết quả, chiến dịch đang gửi bị tạm dừng, chiến dịch có thể đã chạy mà bản này không biết gửi cho ai bị đóng. Cũng là cách "
        "xác nhận đồng hồ máy đã đúng. Dịch vụ phải dừng trước.",
        "Take over a database that was restored or copied: every message that may have been sent since the copy was made becomes "
        "uncertain, running campaigns are paused, and those that may have run to people it does not know are closed. It also "
        "confirms that the machine's clock is right. The service must be stopped first.",
    ),
)
@click.option(
    "--nothing-sent",
    is_flag=True,
    help=say(
        "Cam đoan không tin nào được gửi sau khi bản này được chép ra, ví dụ chuyển máy lúc dịch vụ đã dừng.",
        "State that nothing was sent since the copy was made, such as when moving to another machine with the service stopped.",
    ),
)
@reason_option()
@click.option("--dry-run", is_flag=True, help=say("Chỉ cho biết sẽ thay đổi những gì.", "Only tell what would change."))
def adopt(nothing_sent: bool, reason: str, dry_run: bool) -> None:
    from broadcaster.store import restore
    from broadcaster.store.engine import service_lock
    from broadcaster.store.times import to_ms

    installation = opening.installation()
    store, database = installation.store, installation.store.path
    if database is None:
        raise ConfigurationError(Said("Chỉ dùng với SQLite.", "This is for SQLite only."))
    if dry_run:
        with store.read() as connection:
            found = restore.survey(connection, database, nothing_sent=nothing_sent, journal=installation.journal)
    else:
        with service_lock(database):
            now_ms = to_ms(opening.now())
            found = restore.adopt(
                store,
                installation.auditor,
                database,
                reason=reason,
                nothing_sent=nothing_sent,
                now_ms=now_ms,
                journal=installation.journal,
            )
    output.answer(_adopted(found, dry_run=dry_run), lambda: _show_adopted(found, dry_run=dry_run))


_DOUBTS: Final = {
    "older": Said("cơ sở dữ liệu cũ hơn tệp mốc bên cạnh", "the database is older than the note beside it"),
    "replaced": Said("tệp cơ sở dữ liệu đã được thay hoặc chép sang", "the database file was replaced or copied"),
    "unmarked": Said("thiếu tệp mốc bên cạnh cơ sở dữ liệu", "the note beside the database is missing"),
}


def _adopted(found: Survey, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "doubt": found.doubt,
        "uncertain": found.uncertain,
        "unanswered": found.unanswered,
        "gaps": [{"campaign": gap.campaign, "carrier": gap.lane.carrier, "messages": gap.messages} for gap in found.gaps],
        "paused": found.paused,
        "closed": found.closed,
        "refusals": found.refusals,
        "refusals_written": found.unwritten,
        "damaged_lines": list(found.damaged),
    }


def _show_adopted(found: Survey, *, dry_run: bool) -> None:
    _show_journal(found, dry_run=dry_run)
    if found.doubt is None:
        output.line(say("Cơ sở dữ liệu không có gì phải nghi ngờ.", "There is nothing to doubt about this database."))
        _show_unanswered(found)
        return
    output.line(say("Nghi ngờ: ", "In doubt: ") + str(_DOUBTS[found.doubt]))
    columns = [
        output.Column(say("Chiến dịch", "Campaign")),
        output.Column(say("Nhà mạng", "Carrier")),
        output.Column(say("Tin không rõ kết quả", "Uncertain messages"), right=True),
    ]
    empty = Said(
        "Không có tin nào có thể đã gửi sau khi bản này được chép ra.", "No message may have been sent since the copy was made."
    )
    output.table(columns, [[gap.campaign, gap.lane.carrier, gap.messages] for gap in found.gaps], empty=empty)
    _show_unanswered(found)
    for names, about in (
        (found.paused, say("Tạm dừng: ", "Paused: ")),
        (found.closed, say("Đóng hẳn, vì có thể đã gửi: ", "Closed for good, as they may have been sent: ")),
    ):
        if names:
            output.line(about + ", ".join(names))
    if dry_run:
        output.tell(say("Chưa thay đổi gì (--dry-run).", "Nothing was changed (--dry-run)."))


def _show_journal(found: Survey, *, dry_run: bool) -> None:
    if found.refusals:
        count = output.number(found.refusals)
        output.line(
            say(
                f"Sẽ lấy lại {count} lời từ chối từ sổ từ chối.",
                f"{count} entries would be taken up again from the journal of refusals.",
            )
            if dry_run
            else say(
                f"Lấy lại {count} lời từ chối từ sổ từ chối.", f"{count} entries were taken up again from the journal of refusals."
            )
        )
    if found.unwritten:
        count = output.number(found.unwritten)
        output.line(
            say(
                f"Sổ từ chối thiếu {count} lời, sẽ được ghi lại.",
                f"The journal of refusals lacks {count} entries; they would be written again.",
            )
            if dry_run
            else say(
                f"Ghi lại {count} lời còn thiếu vào sổ từ chối.",
                f"{count} missing entries were written into the journal of refusals.",
            )
        )
    if found.damaged:
        lines = ", ".join(map(str, found.damaged))
        output.tell(
            say(
                f"Sổ từ chối có {output.number(len(found.damaged))} dòng bị sửa hoặc hỏng, không dùng được: dòng {lines}. "
                "Các dòng khác vẫn dùng được. Tìm lại giấy tờ của những lời từ chối ấy và nhập bằng `broadcaster optout add`.",
                f"{output.number(len(found.damaged))} lines of the journal of refusals were altered or are damaged: lines {lines}. "
                "All others are used. Look for the letters of those refusals and enter them with `broadcaster optout add`.",
            )
        )


def _show_unanswered(found: Survey) -> None:
    if found.unanswered:
        count = output.number(found.unanswered)
        output.line(
            say(
                f"Ngoài ra {count} tin gửi dở, chưa có kết quả, cũng bị ghi là không rõ kết quả.",
                f"Besides, {count} messages were under way without an outcome: they become uncertain, too.",
            )
        )
