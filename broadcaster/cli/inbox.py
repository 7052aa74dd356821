"""`broadcaster inbox`: the scam reports that subscribers text in (LD, S, V)."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, existing_file
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say
from broadcaster.model import TIMEZONE

if TYPE_CHECKING:
    from broadcaster.store.inbox import Report

commands = Group("inbox", help=say("Tin báo lừa đảo mà người dân nhắn đến.", "Scam reports that people text in."))


_NONE: Final = {
    "report": Said("Chưa có tin báo lừa đảo nào.", "There are no scam reports."),
    "other": Said("Không có tin nào không hiểu.", "There are no texts that were not understood."),
}


def _from(days: int) -> tuple[int, int]:
    from broadcaster.store.times import to_ms

    now = opening.now()
    return to_ms(now - dt.timedelta(days=days)), to_ms(now) + 1


@commands.command(
    "list",
    help=say(
        "Liệt kê tin báo lừa đảo (hoặc tin không hiểu) mới nhất; mọi số máy, kể cả số bị tố giác, đều bị che.",
        "List the newest scam reports, or texts that were not understood; every number, the reported ones too, is masked.",
    ),
)
@click.option(
    "--days",
    type=click.IntRange(1, 3_660),
    default=30,
    show_default=True,
    metavar=say("NGÀY", "DAYS"),
    help=say("Của bao nhiêu ngày gần đây.", "Of how many days back."),
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    metavar=say("SỐ_DÒNG", "ROWS"),
    help=say("Số dòng nhiều nhất.", "How many at most."),
)
@click.option(
    "--kind",
    type=click.Choice(["report", "other"]),
    default="report",
    show_default=True,
    help=say(
        "Tin báo lừa đảo (report), hay tin mà chương trình không hiểu và người phải đọc (other).",
        "Scam reports (report), or the texts that were not understood and that somebody must read (other).",
    ),
)
def list_reports(days: int, limit: int, kind: str) -> None:
    from broadcaster.rules.numbers import mask, mask_in
    from broadcaster.rules.refusal import Kind
    from broadcaster.store.inbox import reports

    here = opening.installation()
    with here.store.read() as connection:
        found = reports(connection, *_from(days), limit, kind=Kind(kind))
    numbers = iter(here.vault.reveal([item.token for item in found if item.token is not None]))
    rows = [
        [
            item.id,
            "–" if item.token is None else mask(next(numbers)),
            output.moment_of_ms(item.at_ms),
            item.carrier,
            mask_in(here.vault.open_text(item.content)),
        ]
        for item in found
    ]
    names = ("id", "number", "at", "channel", "text")
    columns = [
        Column(say("Số thứ tự", "Id"), right=True),
        Column(say("Người báo", "From")),
        Column(say("Lúc", "At")),
        Column(say("Đường đến", "By")),
        Column(say("Nội dung", "Text")),
    ]
    output.answer(
        {"kind": kind, "reports": [dict(zip(names, row, strict=True)) for row in rows]},
        lambda: output.table(columns, rows, empty=_NONE[kind]),
    )


@commands.command(
    "export",
    help=say(
        "Xuất tin báo lừa đảo với số máy đầy đủ ra tệp CSV cho Công an tỉnh; chỉ người có vai trò content-authority hoặc "
        "duty-officer, có khóa và lý do; việc xuất được ghi vào nhật ký.",
        "Write the scam reports with whole numbers to a CSV file for the provincial police; only for the roles content-authority and "
        "duty-officer, with their key and a reason; the export is audited.",
    ),
)
@click.argument(
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=say("TỆP", "FILE"),
    help=say("Tệp CSV sẽ ghi, quyền 0600; không ghi đè.", "The CSV file to write, mode 0600; never one that is there."),
)
@click.option(
    "--as", "person", required=True, metavar=say("NGƯỜI", "PERSON"), help=say("Người chịu trách nhiệm xuất.", "Who answers for it.")
)
@click.option(
    "--key",
    required=True,
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say("Tệp khóa riêng Ed25519 của người đó, quyền 0600.", "That person's Ed25519 private key, mode 0600."),
)
@click.option(
    "--reason",
    required=True,
    metavar=say("LÝ_DO", "REASON"),
    help=say("Số và ngày của văn bản yêu cầu.", "Number and date of the written request."),
)
@click.option(
    "--from",
    "since",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar=say("NGÀY", "DATE"),
    help=say("Từ ngày.", "First day."),
)
@click.option(
    "--to",
    "until",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar=say("NGÀY", "DATE"),
    help=say("Đến hết ngày.", "Last day."),
)
@click.option("--dry-run", is_flag=True, help=say("Chỉ cho biết sẽ xuất bao nhiêu tin.", "Only tell how many would be written."))
def export(file: Path, person: str, key: Path, reason: str, since: dt.datetime, until: dt.datetime, dry_run: bool) -> None:
    from broadcaster.cli.campaign import find_person
    from broadcaster.files.people import read_private_key
    from broadcaster.flow.inbox import export_reports, occupied, require_exporter
    from broadcaster.store.inbox import reports
    from broadcaster.store.times import to_ms

    if until < since:
        raise click.UsageError(say("--to sớm hơn --from", "--to is before --from"))
    here = opening.installation(person)
    require_exporter(find_person(here, person), read_private_key(key), reason)
    zone = ZoneInfo(TIMEZONE)
    first, end = (to_ms(day.replace(tzinfo=zone)) for day in (since, until + dt.timedelta(days=1)))
    with here.store.read() as connection:
        found: list[Report] = reports(connection, first, end)
    if file.exists():
        raise occupied(file)
    if not dry_run:
        # The audit entry comes first: nobody has the file without it.
        with here.store.write() as connection:
            detail = {"reports": len(found), "reason": reason, "from": f"{since:%Y-%m-%d}", "to": f"{until:%Y-%m-%d}"}
            here.auditor.record(connection, "inbox-export", file.name, detail)
        export_reports(file, found, here.vault)
    count = output.number(len(found))
    output.answer(
        {"reports": len(found), "file": str(file), "dry_run": dry_run},
        lambda: output.line(
            say(f"Sẽ xuất {count} tin.", f"{count} reports would be written.")
            if dry_run
            else say(f"Đã xuất {count} tin ra {file}.", f"{count} reports written to {file}.")
        ),
    )
