"""`broadcaster roster import-ports`: numbers that moved to another carrier."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command, Day, existing_file
from broadcaster.lang import say

if TYPE_CHECKING:
    from broadcaster.flow.ports import PortImport

SHOWN_PROBLEMS: Final = 20


def basis_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name the written request behind the data."""
    number = click.option(
        "--legal-basis",
        required=True,
        metavar=say("SỐ_VĂN_BẢN", "NUMBER"),
        help=say(
            'Số văn bản yêu cầu nhà mạng cung cấp số liệu, ví dụ "12/CV-SKHCN".',
            'Number of the written request that the carrier answers, such as "12/CV-SKHCN".',
        ),
    )
    date = click.option(
        "--legal-date",
        required=True,
        type=Day(),
        metavar=say("NGÀY", "DATE"),
        help=say("Ngày ký văn bản ấy, ví dụ 2026-01-05 hoặc 05-01-2026.", "The day it was signed, such as 2026-01-05."),
    )
    return number(date(command))


@click.command(
    "import-ports",
    cls=Command,
    help=say(
        "Nhập danh sách số đã chuyển mạng: khi hai nhà mạng cùng có một số, số ấy thuộc nhà mạng nó đã chuyển đến; "
        "dòng sai được liệt kê và bỏ qua (mã thoát 3).",
        "Import numbers that moved to another carrier: one that two carriers export belongs to the carrier it moved to; "
        "bad rows are listed and left out (exit code 3).",
    ),
)
@click.argument(
    "file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        "CSV, TSV hoặc XLSX với các cột msisdn, rno, effective_at.", "CSV, TSV or XLSX with the columns msisdn, rno, effective_at."
    ),
)
@basis_options
def import_ports(file: Path, legal_basis: str, legal_date: dt.datetime) -> int:
    from broadcaster.files.parcels import require_inside
    from broadcaster.flow import ports
    from broadcaster.rules.basis import Basis

    here = opening.installation()
    require_inside(here.settings.import_folder, [file])
    basis = Basis(legal_basis.strip(), legal_date.date())
    made = ports.import_ports(here.store, here.auditor, here.vault, file, here.cards(), basis=basis, now=opening.now())
    document = {
        "rows": made.rows,
        "stored": made.stored,
        "problems": [{"line": item.line, "key": item.key, "message": str(item.message)} for item in made.problems],
    }
    output.answer(document, lambda: _show_ports(made))
    return 3 if made.problems else 0


def _show_ports(made: PortImport) -> None:
    output.facts({say("Dòng trong tệp", "Rows in the file"): made.rows, say("Đã ghi", "Stored"): made.stored})
    for problem in made.problems[:SHOWN_PROBLEMS]:
        output.tell(str(problem))
    if (more := len(made.problems) - SHOWN_PROBLEMS) > 0:
        output.tell(say(f"… và {more} dòng sai khác (đủ trong --json)", f"… and {more} more bad rows (all in --json)"))
