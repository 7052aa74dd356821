"""`broadcaster db`: the database itself."""

from __future__ import annotations

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group
from broadcaster.errors import LockedError
from broadcaster.lang import Said, say

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
