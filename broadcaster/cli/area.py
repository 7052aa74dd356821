"""`broadcaster area`: the communes the province consists of, the units they came from, and their boundaries."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Day, Group, existing_file
from broadcaster.cli.output import Column
from broadcaster.lang import say

if TYPE_CHECKING:
    from broadcaster.files.units import District, FormerCommune
    from broadcaster.model import Area

commands = Group("area", help=say("Danh mục xã, phường, đặc khu của tỉnh.", "The province's communes, wards and special zone."))


@commands.command(
    "list",
    help=say(
        "Liệt kê 96 xã, phường, đặc khu có từ 01-07-2025, kèm mã năm chữ số dùng trong tệp chiến dịch; hoặc các huyện của một ngày "
        "trước đó.",
        "List the 96 communes, wards and the special zone since 01-07-2025, with the five-digit codes that campaign files may use; "
        "or the districts of a day before.",
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
@click.option(
    "--districts-on",
    type=Day(),
    metavar=say("NGÀY", "DAY"),
    help=say(
        "Thay vào đó, liệt kê các huyện, thị xã, thành phố có vào ngày này, ví dụ 2019-06-12.",
        "Instead, list the districts that existed on this day, such as 2019-06-12.",
    ),
)
def list_areas(former_district: bool, districts_on: dt.datetime | None) -> None:
    from broadcaster.files.areas import read_areas
    from broadcaster.files.units import districts_on as districts_of_day

    areas = read_areas()
    if districts_on is not None:
        found = districts_of_day(districts_on.date())
        output.answer([_district_json(item) for item in found], lambda: _show_districts(found, areas))
        return
    columns = [Column(say("Mã", "Code")), Column(say("Tên", "Name")), Column(say("km²", "km²"), right=True)]
    rows: list[list[object]] = [[area.code, area.name, output.decimal(area.area_km2)] for area in areas]
    if former_district:
        columns += [Column(say("Huyện cũ", "Former districts")), Column(say("Tỉnh cũ", "Former province"))]
        for row, area in zip(rows, areas, strict=True):
            row += [", ".join(area.former_districts), area.former_province]
    output.answer([_area_json(area) for area in areas], lambda: output.table(columns, rows))


def _area_json(area: Area) -> dict[str, object]:
    return {
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


def _district_json(item: District) -> dict[str, object]:
    return {
        "code": item.code,
        "name": item.name,
        "former_province": item.province,
        "valid_from": item.valid_from,
        "valid_to": item.valid_to,
        "areas": list(item.areas),
    }


def _show_districts(found: list[District], areas: tuple[Area, ...]) -> None:
    names = {area.code: area.name for area in areas}
    columns = [Column(say("Mã", "Code")), Column(say("Tên", "Name")), Column(say("Nay là", "Today"))]
    output.table(columns, [[item.code, item.name, ", ".join(names[code] for code in item.areas)] for item in found])


@commands.command(
    "show",
    help=say(
        "Cho biết một tên hay mã chỉ những xã nào hiện nay, như cách tệp chiến dịch hiểu nó, và các xã cũ đã nhập vào.",
        "Show which communes of today a name or code stands for, as campaign files understand it, and the former communes in them.",
    ),
)
@click.argument(
    "name",
    metavar=say("TÊN", "NAME"),
    help=say(
        'Tên hoặc mã xã; hoặc tên cũ, ví dụ "huyện Bình Sơn cũ", "tỉnh Kon Tum cũ".',
        'Name or code of a commune, or a former name such as "huyện Bình Sơn cũ", "tỉnh Kon Tum cũ".',
    ),
)
def show_area(name: str) -> None:
    from broadcaster.files.areas import read_areas
    from broadcaster.files.units import find_place, read_former_communes

    areas = read_areas()
    place = find_place(areas, name)
    found = [area for area in areas if not place.areas or area.code in place.areas]
    former = {area.code: [item for item in read_former_communes() if area.code in item.became] for area in found}
    document = [_area_json(area) | {"former_communes": [_former_json(item) for item in former[area.code]]} for area in found]
    columns = [Column(say("Mã", "Code")), Column(say("Tên", "Name")), Column(say("Gồm các xã cũ", "Former communes"))]
    rows = [[area.code, area.name, ", ".join(item.name for item in former[area.code] if item.name)] for area in found]
    output.answer(document, lambda: output.table(columns, rows))


def _former_json(item: FormerCommune) -> dict[str, object]:
    return {
        "code": item.code,
        "name": item.name,
        "district": item.district,
        "province": item.province,
        "split": len(item.became) > 1,
    }


@commands.command(
    "import-boundaries",
    help=say(
        "Nhập địa giới hành chính của Sở (GeoJSON, đủ 96 đơn vị); lần nhập cell sau sẽ xếp theo địa giới này.",
        "Import the department's own boundaries (GeoJSON with all 96 units); later imports of cells are placed by them.",
    ),
)
@click.argument(
    "file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say(
        "FeatureCollection; mỗi Feature có mã (code, ma_xa…) hoặc tên (name, ten_xa…) của đơn vị.",
        "A FeatureCollection; every feature has its unit's code (code, ma_xa…) or name (name, ten_xa…).",
    ),
)
@click.option("--dry-run", is_flag=True, help=say("Chỉ kiểm tra tệp, không lưu gì.", "Only check the file; store nothing."))
def import_boundaries(file: Path, dry_run: bool) -> None:
    from broadcaster.files.geojson import read_boundaries
    from broadcaster.flow import inventory

    installation = opening.installation()
    areas = installation.areas()
    if dry_run:
        polygons = sum(map(len, read_boundaries(file, areas).values()))
    else:
        polygons = inventory.import_boundaries(installation.store, installation.auditor, file, areas, now=opening.now())
    facts = {say("Đơn vị", "Units"): len(areas), say("Đa giác", "Polygons"): polygons}
    output.answer({"units": len(areas), "polygons": polygons}, lambda: output.facts(facts))
