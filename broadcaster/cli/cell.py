"""`broadcaster cell`: the inventories of base stations."""

from __future__ import annotations

from pathlib import Path

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, existing_file
from broadcaster.cli.failures import problem_json
from broadcaster.lang import say

commands = Group("cell", help=say("Danh mục ô phủ sóng (cell) của các trạm BTS.", "The cells of the carriers' base stations."))


@commands.command(
    "import",
    help=say(
        "Nhập danh mục cell từ tệp CSV và xếp từng cell vào xã; dòng sai được liệt kê và bỏ qua (mã thoát 3).",
        "Import an inventory of cells from CSV and place each in its commune; bad rows are listed and left out (exit code 3).",
    ),
)
@click.argument(
    "file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        "CSV mã UTF-8 với các cột carrier, radio, mcc, mnc, area, cell, site, lat, lon, commune, valid_from, valid_to.",
        "CSV in UTF-8 with the columns carrier, radio, mcc, mnc, area, cell, site, lat, lon, commune, valid_from, valid_to.",
    ),
)
def import_file(file: Path) -> int:
    from broadcaster.flow import intake

    installation = opening.installation()
    made = intake.import_cells(installation.store, installation.auditor, file, installation.areas())
    document = {
        "stored": made.stored,
        "placed_by_file": made.by_file,
        "placed_by_nearest": made.by_nearest,
        "unplaced": made.unplaced,
        "problems": [problem_json(problem) for problem in made.problems],
    }

    def show() -> None:
        for problem in made.problems:
            output.tell(str(problem))
        output.facts(
            {
                say("Cell đã lưu", "Cells stored"): made.stored,
                say("  theo xã ghi trong tệp", "  by the commune in the file"): made.by_file,
                say("  theo trung tâm xã gần nhất", "  by the nearest commune's centre"): made.by_nearest,
                say("Không xếp được vào xã nào", "In no commune"): made.unplaced,
                say("Dòng sai, đã bỏ qua", "Bad rows left out"): len(made.problems),
            }
        )

    output.answer(document, show)
    return 3 if made.problems else 0
