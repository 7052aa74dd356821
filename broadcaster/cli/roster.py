"""`broadcaster roster`: the carriers' exports of active subscribers."""

from __future__ import annotations

import datetime as dt
import gzip
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, Moment, existing_file, invocation
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.store.rosters import Roster

commands = Group(
    "roster",
    help=say("Danh sách thuê bao đang hoạt động, do nhà mạng xuất ra.", "The rosters of active subscribers that carriers export."),
)


@commands.command(
    "import",
    help=say(
        "Nhập danh sách thuê bao của một nhà mạng thành một bản chụp không sửa được; số máy được mã hóa ngay khi đọc.",
        "Import one carrier's subscribers as a snapshot that never changes; numbers are enciphered as they are read.",
    ),
)
@click.argument(
    "file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        "CSV (có thể nén gzip) với các cột msisdn, cell, last_seen.", "CSV, gzipped or not, with the columns msisdn, cell, last_seen."
    ),
)
@click.option(
    "--carrier",
    required=True,
    metavar=say("MÃ", "CODE"),
    help=say("Mã thẻ của nhà mạng đã xuất tệp này, ví dụ viettel.", "Code of the carrier that exported the file, such as viettel."),
)
@click.option(
    "--observed-at",
    type=Moment(),
    metavar=say("LÚC", "WHEN"),
    help=say(
        "Lúc nhà mạng chốt số liệu, ví dụ 2026-01-31T06:00 (giờ Việt Nam). Không ghi thì lấy lần hoạt động mới nhất trong tệp.",
        "When the carrier took the figures, such as 2026-01-31T06:00 (Vietnamese time). Otherwise the newest activity in the file.",
    ),
)
@click.option(
    "--legal-basis",
    required=True,
    metavar=say("VĂN_BẢN", "TEXT"),
    help=say(
        'Căn cứ pháp lý để nhận số liệu này, ví dụ "Công văn 12/CV-SKHCN ngày 05-01-2026".',
        'The legal basis for holding these data, such as "Letter 12/CV-SKHCN of 05-01-2026".',
    ),
)
def import_file(file: Path, carrier: str, observed_at: dt.datetime | None, legal_basis: str) -> None:
    from broadcaster.flow import intake
    from broadcaster.store.rosters import newest_rosters

    installation = opening.installation()
    card = opening.find_card(installation.cards(), carrier)
    with output.progress(say(f"Nhập {file.name}", f"Importing {file.name}"), _rows_in(file)) as bar:
        made = intake.import_roster(
            installation.store,
            installation.auditor,
            installation.vault,
            file,
            carrier=card.code,
            observed_at=observed_at,
            legal_basis=legal_basis,
            now=opening.now(),
            mnc=card.mnc,
            progress=lambda rows: bar(rows, None),
        )
    with installation.store.read() as connection:
        newest = newest_rosters(connection)[card.code]
    output.answer(_document(made), lambda: _show(made, newest))


def _rows_in(file: Path) -> int | None:
    """Count the lines ahead, so that the bar can tell the time left; not worth it when nobody looks."""
    if invocation().as_json or not sys.stderr.isatty():
        return None
    with file.open("rb") as plain:
        zipped = plain.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(file) if zipped else file.open("rb") as stream:
            return sum(piece.count(b"\n") for piece in iter(lambda: stream.read(1 << 20), b""))
    except (OSError, EOFError):
        return None


def _document(made: Roster) -> dict[str, object]:
    return {
        "id": made.id,
        "carrier": made.carrier,
        "file": made.file_name,
        "file_sha256": made.file_sha256,
        "legal_basis": made.legal_basis,
        "observed_at": output.moment_of_ms(made.observed_ms),
        "imported_at": output.moment_of_ms(made.imported_ms),
        "rows": made.file_rows,
        "kept": made.kept,
        "dropped": dict(made.dropped),
        "commitment": made.commitment,
    }


def _show(made: Roster, newest: Roster) -> None:
    from broadcaster.flow.intake import DROP_WORDS
    from broadcaster.model import DropReason

    rows: dict[str, object] = {
        say("Danh sách số", "Roster"): made.id,
        say("Nhà mạng", "Carrier"): made.carrier,
        say("Số liệu lúc", "Observed at"): output.moment_of_ms(made.observed_ms),
        say("Dòng trong tệp", "Rows in the file"): made.file_rows,
        say("Thuê bao dùng được", "Usable subscribers"): made.kept,
    }
    for reason, count in made.dropped.items():
        rows[say("  bỏ: ", "  dropped: ") + str(DROP_WORDS[DropReason(reason)])] = count
    output.facts(rows)
    if newest.id != made.id:
        output.tell(
            say(
                f"Chiến dịch vẫn dùng danh sách {newest.id} (số liệu mới hơn); nếu bản đó nhầm, nhập lại với --observed-at.",
                f"Campaigns still use roster {newest.id} (newer figures); if that is a mistake, import with --observed-at.",
            )
        )


@commands.command(
    "list", help=say("Liệt kê các danh sách thuê bao đã nhập, mới nhất trước.", "List the rosters imported, newest first.")
)
def list_rosters() -> None:
    from broadcaster.store.rosters import rosters

    with opening.installation().store.read() as connection:
        found = rosters(connection)
    columns = [
        Column(say("Số", "Id"), right=True),
        Column(say("Nhà mạng", "Carrier")),
        Column(say("Số liệu lúc", "Observed at")),
        Column(say("Dòng", "Rows"), right=True),
        Column(say("Dùng được", "Kept"), right=True),
        Column(say("Tệp", "File")),
        Column(say("Căn cứ", "Legal basis")),
    ]
    rows = [
        [item.id, item.carrier, output.moment_of_ms(item.observed_ms), item.file_rows, item.kept, item.file_name, item.legal_basis]
        for item in found
    ]
    output.answer(
        [_document(item) for item in found],
        lambda: output.table(columns, rows, empty=Said("Chưa nhập danh sách nào.", "No roster has been imported.")),
    )
