"""`broadcaster roster`: the carriers' exports of active subscribers."""

from __future__ import annotations

import datetime as dt
import gzip
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broadcaster.cli import opening, output, roster_ports
from broadcaster.cli.commands import Group, Moment, existing_file, invocation
from broadcaster.cli.output import Column
from broadcaster.errors import ConfigurationError, RefusedError
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.files.parcels import Parcel
    from broadcaster.flow.intake import Imported
    from broadcaster.model import CarrierCard, Secret
    from broadcaster.store.rosters import Roster

NEWEST: Final = "newest"
PASSWORD_VARIABLE: Final = "BROADCASTER_ROSTER_PASSWORD"  # noqa: S105  the name of a variable

commands = Group(
    "roster",
    help=say("Danh sách thuê bao đang hoạt động, do nhà mạng xuất ra.", "The rosters of active subscribers that carriers export."),
)


class Observation(Moment):
    """A moment, or the word ``newest``: that of the newest activity in the files."""

    name = "observation"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return NEWEST if value == NEWEST else super().convert(value, param, ctx)


@commands.command(
    "import",
    help=say(
        "Nhập danh sách thuê bao của một nhà mạng thành một bản chụp không sửa được; số máy được mã hóa ngay khi đọc. "
        "Nhiều tệp, nhiều trang tính gộp thành một bản chụp.",
        "Import one carrier's subscribers as a snapshot that never changes; numbers are enciphered as they are read. "
        "Several files or worksheets make one snapshot.",
    ),
)
@click.argument(
    "files",
    nargs=-1,
    type=existing_file(),
    metavar=say("[TỆP]...", "[FILE]..."),
    help=say(
        "CSV, TSV, XLSX; nén gz hoặc zip (có mật khẩu cũng được), với các cột msisdn, cell, last_seen.",
        "CSV, TSV or XLSX, gzipped or zipped (under a password too), with the columns msisdn, cell, last_seen.",
    ),
)
@click.option(
    "--carrier",
    required=True,
    metavar=say("MÃ", "CODE"),
    help=say("Mã thẻ của nhà mạng đã xuất tệp này, ví dụ viettel.", "Code of the carrier that exported the file, such as viettel."),
)
@click.option(
    "--parts",
    "listed",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Danh mục các tệp của bản chụp, mỗi dòng một tên (có thể kèm SHA-256); thiếu tệp nào là từ chối.",
        "A list of the snapshot's files, one name a line (perhaps with its SHA-256); a missing one is refused.",
    ),
)
@click.option(
    "--sheet",
    "sheets",
    multiple=True,
    metavar=say("TÊN", "NAME"),
    help=say(
        "Trang tính cần đọc, ghi nhiều lần được; không ghi thì đọc mọi trang.", "A worksheet to read, repeatable; otherwise all are."
    ),
)
@click.option(
    "--observed-at",
    type=Observation(),
    metavar=say("LÚC", "WHEN"),
    help=say(
        'Lúc nhà mạng chốt số liệu, ví dụ 2026-01-31T06:00 (giờ Việt Nam), hoặc "newest": lần hoạt động mới nhất. Không ghi thì hỏi.',
        'When the carrier took the figures, such as 2026-01-31T06:00 (Vietnamese time), or "newest": the newest activity. '
        "Asked for if left out.",
    ),
)
@roster_ports.basis_options
@click.option(
    "--password-file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        f"Tệp chứa mật khẩu của tệp zip (dòng đầu); hoặc biến {PASSWORD_VARIABLE}; không có thì hỏi.",
        f"File with the zip's password (first line); or the variable {PASSWORD_VARIABLE}; otherwise asked for.",
    ),
)
@click.option(
    "--drops",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Tệp chưa có, để ghi danh sách dòng bị bỏ (số máy che bớt). Mặc định: trong thư mục dữ liệu.",
        "A new file for the list of dropped rows (numbers masked). Default: in the state folder.",
    ),
)
@click.option(
    "--accept-difference",
    is_flag=True,
    help=say(
        "Nhận cả khi khác hẳn bản chụp trước (có thể là nửa tệp).", "Take it though it is unlike the snapshot before (half a file?)."
    ),
)
@click.option(
    "--dry-run", is_flag=True, help=say("Chỉ đọc và đếm, không ghi gì vào cơ sở dữ liệu.", "Only read and count; store nothing.")
)
def import_files(
    files: tuple[Path, ...],
    carrier: str,
    listed: Path | None,
    sheets: tuple[str, ...],
    observed_at: dt.datetime | str | None,
    legal_basis: str,
    legal_date: dt.datetime,
    password_file: Path | None,
    drops: Path | None,
    accept_difference: bool,
    dry_run: bool,
) -> None:
    from broadcaster.files.parcels import open_parcel, require_inside
    from broadcaster.flow import intake
    from broadcaster.flow.load import DropList
    from broadcaster.rules.basis import Basis
    from broadcaster.store.rosters import newest_rosters

    if not (files or listed):
        raise click.UsageError(say("cần ít nhất một TỆP, hoặc --parts", "at least one FILE, or --parts, is needed"))
    installation = opening.installation()
    card = opening.find_card(installation.cards(), carrier)
    require_inside(installation.settings.import_folder, [*files, *([listed] if listed else [])])
    parcel = open_parcel(files, listed=listed, sheets=sheets, password=_password(files, listed, password_file))
    if dry_run:
        _survey(parcel, card, files, drops)
        return
    at = observed_at or _ask_observation()
    folder = installation.settings.state_folder / "drops"
    with (
        output.progress(say(f"Nhập {parcel.name}", f"Importing {parcel.name}"), _rows_in(files)) as bar,
        DropList(drops or folder / f"{card.code}-{opening.now():%Y%m%dT%H%M%S-%f}.csv") as dropped,
    ):
        made = intake.import_roster(
            installation.store,
            installation.auditor,
            installation.vault,
            parcel,
            carrier=card.code,
            observed_at=at if isinstance(at, dt.datetime) else None,
            basis=Basis(legal_basis.strip(), legal_date.date()),
            now=opening.now(),
            mnc=card.mnc,
            accept_difference=accept_difference,
            drops=dropped,
            progress=lambda rows: bar(rows, None),
        )
    with installation.store.read() as connection:
        newest = newest_rosters(connection)[card.code]
    path = dropped.path if dropped.written else None
    output.answer(_imported_document(made, path), lambda: _show(made, newest, path))


def _survey(parcel: Parcel, card: CarrierCard, files: Sequence[Path], drops: Path | None) -> None:
    from broadcaster.flow import intake
    from broadcaster.flow.load import DropList

    with (
        output.progress(say(f"Đọc {parcel.name}", f"Reading {parcel.name}"), _rows_in(files)) as bar,
        DropList(drops) if drops else nullcontext() as dropped,
    ):
        found = intake.survey(
            parcel, carrier=card.code, mnc=card.mnc, now=opening.now(), drops=dropped, progress=lambda rows: bar(rows, None)
        )
    document = {"dry_run": True, "rows": found.rows, "kept": found.kept, "dropped": dict(found.dropped)}
    output.answer(document, lambda: output.facts(_counts(found.rows, found.kept, found.dropped)))


def _counts(rows: int, kept: int, dropped: Mapping[str, int]) -> dict[str, object]:
    from broadcaster.flow.load import DROP_WORDS
    from broadcaster.model import DropReason

    counts: dict[str, object] = {
        say("Dòng trong tệp", "Rows in the file"): rows,
        say("Thuê bao dùng được", "Usable subscribers"): kept,
    }
    for reason, count in dropped.items():
        counts[say("  bỏ: ", "  dropped: ") + str(DROP_WORDS[DropReason(reason)])] = count
    return counts


def _password(files: Sequence[Path], listed: Path | None, password_file: Path | None) -> Secret | None:
    """Return the password for zip archives: from the file, the environment, or the person, in that order; never from the command."""
    from broadcaster.files.parcels import needs_password
    from broadcaster.model import Secret

    if password_file:
        if password_file.stat().st_mode & 0o077:
            raise ConfigurationError(
                Said(
                    f"{password_file}: người khác đọc được tệp mật khẩu này.", f"{password_file}: others can read this password file."
                ),
                Said(f"Chạy: chmod 600 {password_file}", f"Run: chmod 600 {password_file}"),
            )
        first, *_ = [*password_file.read_text("utf-8").splitlines(), ""]
        return Secret(first)
    if given := os.environ.get(PASSWORD_VARIABLE):
        return Secret(given)
    # Without a terminal the question could not hide the answer.
    if listed is None and sys.stdin.isatty() and needs_password(files):
        return Secret(str(click.prompt(say("Mật khẩu của tệp zip", "Password of the zip file"), hide_input=True, err=True)))
    return None


def _ask_observation() -> dt.datetime | str:
    """Ask when the carrier took the figures; an empty answer means the newest activity in the files."""
    question = say(
        "Nhà mạng chốt số liệu lúc nào (2026-01-31T06:00; bỏ trống: lần hoạt động mới nhất)",
        "When did the carrier take the figures (2026-01-31T06:00; empty: the newest activity)",
    )
    try:
        answer: dt.datetime | str = click.prompt(question, type=Observation(), default=NEWEST, show_default=False, err=True)
    except click.Abort:
        output.tell("")
        raise RefusedError(
            Said("Chưa cho biết lúc chốt số liệu.", "The time of observation was not given."),
            Said("Ghi --observed-at LÚC, hoặc --observed-at newest.", "Give --observed-at WHEN, or --observed-at newest."),
        ) from None
    return answer


def _rows_in(files: Sequence[Path]) -> int | None:
    """Count the lines ahead, so that the bar can tell the time left; not worth it when nobody looks, not possible when packed."""
    if invocation().as_json or not sys.stderr.isatty():
        return None
    total = 0
    for file in files:
        with file.open("rb") as plain:
            magic = plain.read(2)
        if magic == b"PK":
            return None
        try:
            with gzip.open(file) if magic == b"\x1f\x8b" else file.open("rb") as stream:
                total += sum(piece.count(b"\n") for piece in iter(lambda: stream.read(1 << 20), b""))
        except (OSError, EOFError):
            return None
    return total or None


def _imported_document(made: Imported, drops: Path | None) -> dict[str, object]:
    likeness = made.likeness
    return _document(made.roster) | {
        "files": [{"name": name, "sha256": sha256} for name, sha256 in made.files.items()],
        "drops_file": drops,
        "before": None
        if likeness is None
        else {
            "rows": likeness.before,
            "overlap": None if likeness.overlap is None else round(likeness.overlap, 4),
            "emptied_communes": list(likeness.emptied),
            "doubtful": likeness.doubtful,
        },
    }


def _document(made: Roster) -> dict[str, object]:
    return {
        "id": made.id,
        "carrier": made.carrier,
        "file": made.file_name,
        "file_sha256": made.file_sha256,
        "legal_basis": made.legal_basis,
        "requested_on": made.requested_on,
        "observed_at": output.moment_of_ms(made.observed_ms),
        "imported_at": output.moment_of_ms(made.imported_ms),
        "rows": made.file_rows,
        "kept": made.kept,
        "dropped": dict(made.dropped),
        "commitment": made.commitment,
    }


def _show(imported: Imported, newest: Roster, drops: Path | None) -> None:
    from broadcaster.model import DropReason

    made = imported.roster
    rows: dict[str, object] = {
        say("Danh sách số", "Roster"): made.id,
        say("Nhà mạng", "Carrier"): made.carrier,
        say("Số liệu lúc", "Observed at"): output.moment_of_ms(made.observed_ms),
    } | _counts(made.file_rows, made.kept, made.dropped)
    if (likeness := imported.likeness) is not None:
        shared = "–" if likeness.overlap is None else f"{output.decimal(likeness.overlap * 100, 0)} %"
        rows[say("Bản chụp trước", "Snapshot before")] = say(
            f"{output.number(likeness.before)} thuê bao, trùng {shared}",
            f"{output.number(likeness.before)} subscribers, {shared} in common",
        )
    output.facts(rows)
    if drops:
        output.tell(say(f"Danh sách dòng bị bỏ: {drops}", f"List of the dropped rows: {drops}"))
        if made.dropped.get(DropReason.REPEATED):
            output.tell(say("(không liệt kê các dòng lặp lại)", "(repeated rows are not listed)"))
    if imported.likeness and imported.likeness.doubtful:
        output.tell(say("Lưu ý: khác hẳn bản chụp trước.", "Note: it is unlike the snapshot before."))
    if newest.id != made.id:
        output.tell(
            say(
                f"Chiến dịch vẫn dùng danh sách {newest.id} (số liệu mới hơn); nếu bản đó nhầm, nhập lại với --observed-at.",
                f"Campaigns still use roster {newest.id} (newer figures); if that is a mistake, import with --observed-at.",
            )
        )


commands.add_command(roster_ports.import_ports)


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
        [
            item.id,
            item.carrier,
            output.moment_of_ms(item.observed_ms),
            item.file_rows,
            item.kept,
            item.file_name,
            f"{item.legal_basis} ({dt.date.fromisoformat(item.requested_on):%d-%m-%Y})",
        ]
        for item in found
    ]
    output.answer(
        [_document(item) for item in found],
        lambda: output.table(columns, rows, empty=Said("Chưa nhập danh sách nào.", "No roster has been imported.")),
    )
