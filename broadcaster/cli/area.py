"""`broadcaster area`: the communes the province consists of."""

from __future__ import annotations

import click

from broadcaster.cli import output
from broadcaster.cli.commands import Group
from broadcaster.cli.output import Column
from broadcaster.lang import say

commands = Group("area", help=say("Danh mục xã, phường, đặc khu của tỉnh.", "The province's communes, wards and special zone."))


@commands.command(
    "list",
    help=say(
        "Liệt kê 96 xã, phường, đặc khu có từ 01-07-2025, kèm mã năm chữ số dùng trong tệp chiến dịch.",
        "List the 96 communes, wards and the special zone since 01-07-2025, with the five-digit codes that campaign files may use.",
    ),
)
@click.option(
    "--former-district",
    is_flag=True,
    help=say(
        "Thêm cột mã các huyện, thị xã, thành phố cũ (trước 01-07-2025) và tỉnh cũ.",
        "Add the codes of the former districts (before 01-07-2025) and the former province.",
    ),
)
def list_areas(former_district: bool) -> None:
    from broadcaster.files.areas import read_areas

    areas = read_areas()
    document = [
        {
            "code": area.code,
            "name": area.name,
            "kind": area.kind,
            "area_km2": area.area_km2,
            "lat": area.lat,
            "lon": area.lon,
            "former_province": area.former_province,
            "former_districts": list(area.former_districts),
            "valid_from": area.valid_from,
            "valid_to": area.valid_to,
        }
        for area in areas
    ]
    columns = [Column(say("Mã", "Code")), Column(say("Tên", "Name")), Column(say("km²", "km²"), right=True)]
    rows: list[list[object]] = [[area.code, area.name, output.decimal(area.area_km2)] for area in areas]
    if former_district:
        columns += [Column(say("Huyện cũ", "Former districts")), Column(say("Tỉnh cũ", "Former province"))]
        for row, area in zip(rows, areas, strict=True):
            row += [", ".join(area.former_districts), area.former_province]
    output.answer(document, lambda: output.table(columns, rows))
