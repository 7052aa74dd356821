"""`broadcaster report`: what happened, on paper."""

from __future__ import annotations

from pathlib import Path

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, reference_argument
from broadcaster.cli.failures import unwritable
from broadcaster.errors import ConfigurationError
from broadcaster.lang import Said, say

commands = Group("report", help=say("Báo cáo kết quả.", "Reports of what happened."))


@commands.command(
    "export",
    help=say(
        "Xuất báo cáo kết quả của một chiến dịch: html mở được khi không có mạng, csv cho bảng tính, json cho máy đọc.",
        "Export the delivery review of a campaign: html opens without a network, csv is for spreadsheets, json for programs.",
    ),
)
@reference_argument()
@click.option(
    "--format", "form", required=True, type=click.Choice(["html", "csv", "json"]), help=say("Dạng báo cáo.", "Form of the report.")
)
@click.option(
    "--output",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar=say("ĐƯỜNG_DẪN", "PATH"),
    help=say(
        "Tệp sẽ ghi, hoặc thư mục có sẵn (khi đó tên tệp là <chiến dịch>.<dạng>).",
        "The file to write, or an existing folder (then the file is named <campaign>.<form>).",
    ),
)
def export(reference: str, form: str, target: Path) -> None:
    from broadcaster.flow.report import review

    installation = opening.installation()
    made = review(
        installation.store,
        reference,
        cards=installation.cards(),
        areas=installation.areas(),
        people=installation.people(),
        now=opening.now(),
    )
    path = target / f"{made.campaign.name}.{form}" if target.is_dir() else target
    if path.is_file() and path.suffix.lower() != f".{form}":
        # A report may follow an earlier one, but a slip must not cost a key or the database.
        raise ConfigurationError(
            Said(f"đã có tệp {path}, không phải báo cáo {form}; không ghi đè.", f"{path} exists, is no {form} report, and stays."),
            Said(f"Ghi --output với tên kết thúc bằng .{form}, hoặc tên chưa có.", f"Give --output a name in .{form}, or a new one."),
        )
    if form == "html":
        from broadcaster.review.html import render
    elif form == "csv":
        from broadcaster.review.csv import render
    else:
        from broadcaster.review.jsonform import render
    try:
        path.write_text(render(made), encoding="utf-8", newline="")
    except OSError as error:
        raise unwritable(path, error) from error
    document = {"campaign": made.campaign.name, "format": form, "path": str(path), "provisional": made.provisional}
    output.answer(document, lambda: output.line(str(path)))
