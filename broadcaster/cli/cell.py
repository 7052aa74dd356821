"""`broadcaster cell`: the inventories of base stations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, existing_file
from broadcaster.cli.failures import problem_json
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say
from broadcaster.model import TIMEZONE

if TYPE_CHECKING:
    from broadcaster.files.cells import CellRow
    from broadcaster.flow.inventory import Changes, Coverage, Inventory
    from broadcaster.model import CarrierCard, CarrierCode

commands = Group("cell", help=say("Danh mục ô phủ sóng (cell) của các trạm BTS.", "The cells of the carriers' base stations."))

SHOWN: Final = 20

_PLACED: Final[Mapping[str, Said]] = {
    "file": Said("theo xã ghi trong tệp", "by the commune in the file"),
    "boundary": Said("theo địa giới", "by the boundaries"),
    "nearest": Said("gần đúng, theo trung tâm xã gần nhất", "approximate, by the nearest commune's centre"),
    "outside": Said("không thuộc xã nào của tỉnh", "in no commune of the province"),
}
_SKIPPED: Final[Mapping[str, Said]] = {
    "other-network": Said("của mạng khác", "of another network"),
    "off-air": Said("không phát sóng", "off the air"),
    "repeated": Said("lặp lại cùng một cell", "the same cell again"),
    "far-away": Said("ở ngoài tỉnh", "outside the province"),
    "foot": Said("dòng tổng, ghi chú, chữ ký", "totals, notes, signatures"),
}


@commands.command(
    "import",
    help=say(
        "Nhập danh mục cell của nhà mạng (CSV, TSV, XLSX, OpenCelliD, CLF) và xếp từng cell vào xã; dòng sai được liệt kê và bỏ qua "
        "(mã thoát 3).",
        "Import a carrier's inventory of cells (CSV, TSV, XLSX, OpenCelliD, CLF) and place each in its commune; bad rows are listed "
        "and left out (exit code 3).",
    ),
)
@click.argument(
    "file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Bảng có định danh cell (CGI/ECGI/NCGI, hoặc LAC/TAC và CI/ECI/NCI) và vĩ độ, kinh độ hoặc xã; tên cột tiếng Việt hay Anh.",
        "A table with the cell's identity (CGI/ECGI/NCGI, or LAC/TAC and CI/ECI/NCI) and latitude, longitude or commune; titles in "
        "Vietnamese or English.",
    ),
)
@click.option(
    "--carrier",
    metavar=say("MÃ", "CODE"),
    help=say(
        "Mã thẻ của nhà mạng đã đưa tệp này. Không ghi thì tệp phải có cột carrier.",
        "Code of the carrier that gave the file. Without it the file must have a column carrier.",
    ),
)
@click.option(
    "--profile",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Tệp TOML mô tả cột của danh mục. Không ghi thì lấy cells/MÃ.toml cạnh các thẻ nhà mạng, nếu có.",
        "TOML that says which column holds what. Without it: cells/CODE.toml beside the carriers' cards, if there is one.",
    ),
)
@click.option(
    "--sheet", metavar=say("TÊN", "NAME"), help=say("Tên trang tính, khi tệp XLSX có nhiều trang.", "The worksheet of an XLSX file.")
)
@click.option(
    "--dry-run",
    is_flag=True,
    help=say("Chỉ đọc và xếp thử, không lưu gì.", "Only read the file and place its cells; store nothing."),
)
def import_file(file: Path, carrier: str | None, profile: Path | None, sheet: str | None, dry_run: bool) -> int:
    from broadcaster.files.cellprofile import PROFILES_FOLDER, CellProfile, read_profile
    from broadcaster.files.cells import Asked
    from broadcaster.files.ports import network_names
    from broadcaster.flow import inventory

    installation = opening.installation()
    cards = installation.cards()
    card = opening.find_card(cards, carrier) if carrier is not None else None
    beside = installation.settings.carriers_folder / PROFILES_FOLDER / f"{carrier}.toml"
    if profile is None and card is not None and beside.is_file():
        profile = beside
    names = network_names({code: (item.name, item.mnc) for code, item in cards.items()})
    columns = read_profile(profile) if profile else CellProfile()
    asked = Asked(card.code if card else None, card.mnc if card else "", columns, sheet, names)
    today = opening.now().astimezone(ZoneInfo(TIMEZONE)).date()
    store, areas = installation.store, installation.areas()
    if dry_run:
        read = inventory.read_inventory(store, file, areas, today=today, asked=asked)
    else:
        read = inventory.import_cells(store, installation.auditor, file, areas, today=today, asked=asked)
    output.answer(_import_json(read, dry_run=dry_run), lambda: _show_import(read, dry_run=dry_run))
    return 3 if read.problems else 0


def _import_json(made: Inventory, *, dry_run: bool) -> dict[str, object]:
    return {
        "stored": 0 if dry_run else len(made.cells),
        "placed": {str(placed): count for placed, count in made.placed.items()},
        "outside": [_outside_json(row) for row in made.outside],
        "skipped": {str(why): count for why, count in made.skipped.items()},
        "superseded": made.superseded,
        "swapped_lines": list(made.swapped),
        "unclear_statuses": dict(made.statuses),
        "new": made.changes.new,
        "moved_lines": list(made.changes.moved),
        "missing": made.changes.missing,
        "problems": [problem_json(problem) for problem in made.problems],
    }


def _outside_json(row: CellRow) -> dict[str, object]:
    return {"line": row.line, "carrier": row.carrier, "cell": row.key, "site": row.site, "lat": row.lat, "lon": row.lon}


def _show_import(made: Inventory, *, dry_run: bool) -> None:
    for problem in made.problems:
        output.tell(str(problem))
    stored = say("Cell đọc được, không lưu", "Cells read, not stored") if dry_run else say("Cell đã lưu", "Cells stored")
    rows: dict[str, object] = {stored: len(made.cells)}
    rows |= {f"  {_PLACED[placed]}": count for placed, count in sorted(made.placed.items())}
    rows |= _changed(made.changes)
    passed = {str(_SKIPPED[why]): count for why, count in sorted(made.skipped.items())}
    if made.superseded:
        passed[say("trạng thái của ngày khác", "states of another day")] = made.superseded
    rows |= {say("Bỏ qua: ", "Passed over: ") + words: count for words, count in passed.items()}
    if made.swapped:
        rows[say("Dòng đảo vĩ độ, kinh độ, đã sửa", "Rows with latitude and longitude exchanged, put right")] = len(made.swapped)
    rows[say("Dòng sai, đã bỏ qua", "Bad rows left out")] = len(made.problems)
    output.facts(rows)
    if made.statuses:
        listed = ", ".join(f"“{status}” ({count})" for status, count in list(made.statuses.items())[:SHOWN])
        output.tell(
            say(
                f"Trạng thái không rõ nghĩa, các cell ấy vẫn được tính là đang phát sóng: {listed}",
                f"Statuses that say neither way; those cells count as on the air: {listed}",
            )
        )
    if made.outside:
        columns = [
            Column(say("Dòng", "Line"), right=True),
            Column("Cell"),
            Column(say("Trạm", "Site")),
            Column(say("Tọa độ", "Place")),
        ]
        places = [[row.line, row.key, row.site, f"{row.lat}, {row.lon}"] for row in made.outside[:SHOWN]]
        output.table(
            columns, places, title=say("Cell ngoài mọi xã của tỉnh (trạm giáp ranh):", "Cells in no commune (border sites):")
        )
        if len(made.outside) > SHOWN:
            rest = len(made.outside) - SHOWN
            output.line(say(f"… và {rest} cell khác (đủ trong --json)", f"… and {rest} more (all in --json)"))


def _changed(changes: Changes) -> dict[str, object]:
    rows: dict[str, object] = {say("Cell mới", "New cells"): changes.new}
    if changes.moved:
        lines = ", ".join(map(str, changes.moved[:SHOWN])) + (", …" if len(changes.moved) > SHOWN else "")
        rows[say("Cell đổi xã", "Cells in another commune than before")] = say(
            f"{len(changes.moved)} (dòng {lines})", f"{len(changes.moved)} (lines {lines})"
        )
    if changes.missing:
        rows[say("Cell đã lưu mà tệp không có, vẫn giữ", "Known cells not in the file, kept")] = changes.missing
    return rows


@commands.command(
    "coverage",
    help=say(
        "Cho biết mỗi xã có bao nhiêu cell của từng nhà mạng; nêu xã không có cell nào hoặc ít bất thường.",
        "Show how many cells of each carrier every commune has; name those with none or suspiciously few.",
    ),
)
@click.option("--carrier", metavar=say("MÃ", "CODE"), help=say("Chỉ một nhà mạng.", "One carrier only."))
@click.option("--all", "every", is_flag=True, help=say("Liệt kê cả những xã đủ cell.", "List the communes with enough cells too."))
def coverage(carrier: str | None, every: bool) -> None:
    from broadcaster.flow import inventory

    installation = opening.installation()
    cards = installation.cards()
    chosen = [opening.find_card(cards, carrier).code] if carrier is not None else list(cards)
    found = inventory.coverage(installation.store, installation.areas(), chosen)
    output.answer([_coverage_json(item) for item in found], lambda: _show_coverage(found, cards, every=every))


def _coverage_json(item: Coverage) -> dict[str, object]:
    return {
        "carrier": item.carrier,
        "code": item.area.code,
        "name": item.area.name,
        "cells": item.cells,
        "sites": item.sites,
        "approximate": item.approximate,
        "few": item.few,
    }


def _show_coverage(found: list[Coverage], cards: Mapping[CarrierCode, CarrierCard], *, every: bool) -> None:
    columns = [
        Column(say("Nhà mạng", "Carrier")),
        Column(say("Xã", "Commune")),
        Column("Cell", right=True),
        Column(say("Trạm", "Sites"), right=True),
        Column(say("Gần đúng", "Approximate"), right=True),
        Column(""),
    ]
    few = say("không có cell", "no cell"), say("ít bất thường", "suspiciously few")
    rows = [
        [cards[item.carrier].name, item.area.name, item.cells, item.sites, item.approximate, few[item.cells > 0] if item.few else ""]
        for item in found
        if every or item.few
    ]
    output.table(columns, rows, empty=Said("(xã nào cũng có đủ cell)", "(every commune has enough cells)"))


@commands.command(
    "export",
    help=say(
        "Ghi các cell đã lưu ra tệp theo dạng OpenCelliD (CSV) hoặc CLF 4.1.",
        "Write the stored cells to a file in the form of OpenCelliD (CSV) or CLF 4.1.",
    ),
)
@click.argument(
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar=say("TỆP", "FILE"),
    help=say("Tệp sẽ ghi; phải chưa có.", "The file to write; it must not exist."),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["opencellid", "clf"]),
    required=True,
    help=say("Dạng tệp.", "The form of the file."),
)
@click.option("--carrier", metavar=say("MÃ", "CODE"), help=say("Chỉ một nhà mạng.", "One carrier only."))
def export(file: Path, form: str, carrier: str | None) -> None:
    from broadcaster.files.cellexport import FORMS
    from broadcaster.store.areas import known_cells

    installation = opening.installation()
    code = opening.find_card(installation.cards(), carrier).code if carrier is not None else None
    with installation.store.read() as connection:
        cells = [cell for cell in known_cells(connection, code) if cell.lat is not None]
    written = FORMS[form](file, cells)
    left_out = len(cells) - written
    document = {"file": str(file), "format": form, "written": written, "left_out": left_out}
    rows: dict[str, object] = {say("Cell đã ghi", "Cells written"): written}
    if left_out:
        rows[say("Cell mà dạng này không ghi được", "Cells that this form cannot hold")] = left_out
    output.answer(document, lambda: output.facts(rows))
