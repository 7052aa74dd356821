import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.areas import read_areas
from broadcaster.files.campaigns import order_text, read_order
from broadcaster.model import CarrierCode, Circle, Environment, MessageClass, Order, Polygon, UnknownPolicy, Variant
from broadcaster.rules.order import order_from_json, order_to_json, remainder_order

ROOT = Path(__file__).parents[3]
AREAS = read_areas()
CARRIERS = tuple(CarrierCode(code) for code in ("viettel", "vinaphone", "mobifone", "vietnamobile", "gmobile"))
ORDER = """[campaign]
title = "Cảnh báo"
environment = "live"
class = "advisory"
[instruction]
number = "12/CT-UBND"
date = 2019-06-12
issued_by = "Ủy ban nhân dân tỉnh Quảng Ngãi"
[text]
template = "t08-gia-danh"
variant = "accented"
sender = "SKHCN-QNG"
values = { b = "2", a = "1" }
[audience]
areas = ["Lý Sơn", "21040"]
carriers = ["viettel", "mobifone"]
active_within_h = 72
roster_max_age_h = 48
max_recipients = 1000
[time]
start = 2026-12-01T08:00:00
window = "07:00-22:00"
start_within_h = 24
deadline_h = 48
validity_h = 12
[delivery]
unknown_policy = "operator"
max_tps = { viettel = 100 }
"""


def read(tmp_path: Path, text: str, name: str = "thu.toml") -> Order:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return read_order(path, AREAS, CARRIERS)


def problems(tmp_path: Path, text: str, name: str = "thu.toml") -> tuple[Problem, ...]:
    with pytest.raises(InvalidFileError) as caught:
        read(tmp_path, text, name)
    return caught.value.problems


def test_an_order_is_read_as_written(tmp_path: Path) -> None:
    order = read(tmp_path, ORDER)
    assert (order.name, order.environment, order.message_class, order.variant) == (
        "thu",
        Environment.LIVE,
        MessageClass.ADVISORY,
        Variant.ACCENTED,
    )
    assert order.instruction == "12/CT-UBND, 12-06-2019, Ủy ban nhân dân tỉnh Quảng Ngãi"
    assert order.audience.communes == ("21040", "21548")
    assert order.audience.carriers == ("mobifone", "viettel")
    assert order.start == dt.datetime(2026, 12, 1, 1, tzinfo=dt.UTC)
    assert (order.window.opens, order.window.closes) == (dt.time(7), dt.time(22))
    assert (order.unknown_policy, order.max_tps, order.values) == (UnknownPolicy.OPERATOR, {"viettel": 100}, {"a": "1", "b": "2"})
    assert order_from_json(order_to_json(order)) == order


def test_a_start_may_carry_its_own_offset_or_be_absent(tmp_path: Path) -> None:
    assert read(tmp_path, ORDER.replace("08:00:00", "08:00:00Z")).start == dt.datetime(2026, 12, 1, 8, tzinfo=dt.UTC)
    assert read(tmp_path, ORDER.replace("start = 2026-12-01T08:00:00\n", "")).start is None


def test_the_whole_province_and_all_carriers_are_written_as_words(tmp_path: Path) -> None:
    text = ORDER.replace('["Lý Sơn", "21040"]', '"province"').replace('["viettel", "mobifone"]', '"all"')
    audience = read(tmp_path, text).audience
    assert audience.communes == ()
    assert audience.carriers == tuple(sorted(CARRIERS))


@pytest.mark.parametrize(
    ("old", "new", "key", "line"),
    [
        ('class = "advisory"', 'class = "flash"', "campaign.class", 4),
        ('class = "advisory"', 'klass = "advisory"', "campaign.class", 1),
        ("2019-06-12", '"hôm qua"', "instruction.date", 7),
        ('"12/CT-UBND"', '""', "instruction.number", 6),
        ('"t08-gia-danh"', '"../t08"', "text.template", 10),
        ('"accented"', '"both"', "text.variant", 11),
        ('"SKHCN-QNG"', '"SKHCN-QUANGNGAI"', "text.sender", 12),
        ('"SKHCN-QNG"', '"0912345"', "text.sender", 12),
        ('"SKHCN-QNG"', '"Sở KHCN"', "text.sender", 12),
        ('a = "1"', "a = 1", "text.values.a", 13),
        ('["Lý Sơn", "21040"]', "[]", "audience.areas", 15),
        ('["Lý Sơn", "21040"]', '"Lý Sơn"', "audience.areas", 15),
        ('["Lý Sơn", "21040"]', "[21040]", "audience.areas[1]", 15),
        ('["Lý Sơn", "21040"]', '["Hà Nội"]', "audience.areas", 15),
        ('["Lý Sơn", "21040"]', '[\n"21040",\n"Son Ha",\n]', "audience.areas", 17),
        ('["viettel", "mobifone"]', "[]", "audience.carriers", 16),
        ('["viettel", "mobifone"]', '["sfone"]', "audience.carriers", 16),
        ("active_within_h = 72", "active_within_h = 0", "audience.active_within_h", 17),
        ("max_recipients = 1000", "max_recipients = 0", "audience.max_recipients", 19),
        ("2026-12-01T08:00:00", '"8 giờ"', "time.start", 21),
        ('"07:00-22:00"', '"22:00-07:00"', "time.window", 22),
        ("start_within_h = 24", "start_within_h = 1000", "time.start_within_h", 23),
        ("deadline_h = 48", "", "time.deadline_h", 20),
        ("validity_h = 12", "validity_h = 73", "time.validity_h", 25),
        ('"operator"', '"guess"', "delivery.unknown_policy", 27),
        ("viettel = 100", "viettel = 0", "delivery.max_tps.viettel", 28),
        ("viettel = 100", "sfone = 100", "delivery.max_tps", 28),
    ],
)
def test_each_wrong_value_names_its_key_and_line(tmp_path: Path, old: str, new: str, key: str, line: int) -> None:
    found = problems(tmp_path, ORDER.replace(old, new, 1))
    assert (key, line) in [(problem.key, problem.line) for problem in found]


def test_unknown_communes_and_carriers_come_at_once_with_a_suggestion(tmp_path: Path) -> None:
    found = problems(tmp_path, ORDER.replace('"Lý Sơn"', '"Bình Sn", "Hà Nội"').replace('"mobifone"', '"sfone"'))
    assert [problem.key for problem in found] == ["audience.areas", "audience.areas", "audience.carriers"]
    assert "Xã Bình Sơn" in found[0].message.vi
    assert "mobifone" in found[2].message.vi


def test_all_day_needs_a_rehearsal_or_urgency(tmp_path: Path) -> None:
    text = ORDER.replace('"07:00-22:00"', '"all-day"')
    (problem,) = problems(tmp_path, text)
    assert "window" in problem.message.vi
    assert read(tmp_path, text.replace('"live"', '"rehearsal"')).window.all_day
    assert read(tmp_path, text.replace('"advisory"', '"urgent"')).window.all_day


def test_refusals_are_overridden_by_urgent_warnings_only(tmp_path: Path) -> None:
    text = ORDER.replace("[delivery]", "[delivery]\noverride_refusals = true")
    (problem,) = problems(tmp_path, text)
    assert "override_refusals" in problem.message.vi
    assert read(tmp_path, text.replace('"advisory"', '"urgent"')).override_refusals


@pytest.mark.parametrize("name", ["Thu.toml", "thử.toml", "-x.toml", "a b.toml"])
def test_an_order_must_have_a_plain_name(tmp_path: Path, name: str) -> None:
    assert len(problems(tmp_path, ORDER, name)) == 1


def test_a_missing_order_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read_order(tmp_path / "khong-co.toml", AREAS, CARRIERS)


@pytest.mark.parametrize(
    ("name", "communes"),
    [
        ("toan-tinh", ()),
        ("ba-xa", ("21040", "21061", "21548")),
        ("vung-ven-song", ("21238", "21400", "21409", "21421", "21433")),
    ],
)
def test_the_shipped_orders_are_sound_and_name_shipped_templates(name: str, communes: tuple[str, ...]) -> None:
    order = read_order(ROOT / "campaigns" / f"{name}.toml", AREAS, CARRIERS)
    assert order.audience.communes == communes
    assert (ROOT / "templates" / f"{order.template}.toml").is_file()


RING = [[108.7, 15.1], [108.9, 15.1], [108.9, 15.3], [108.7, 15.1]]
CIRCLES = "circles = [{ lat = 15.12, lon = 108.8, km = 5 }, { lat = 14.9, lon = 108.9, km = 0.5 }]"
AREAS_LINE = 'areas = ["Lý Sơn", "21040"]'


def test_former_units_stand_for_the_communes_of_today(tmp_path: Path) -> None:
    text = ORDER.replace(AREAS_LINE, 'areas = ["huyện Minh Long cũ", "tinh kon tum cu", "Lý Sơn"]')
    communes = set(read(tmp_path, text).audience.communes)
    assert communes == {area.code for area in AREAS if area.former_province == "62" or set(area.former_districts) & {"531", "536"}}
    whole = read(tmp_path, ORDER.replace(AREAS_LINE, 'areas = ["tỉnh Quảng Ngãi"]')).audience.communes
    assert whole == tuple(area.code for area in AREAS)


def test_circles_and_polygons_are_part_of_the_order(tmp_path: Path) -> None:
    (tmp_path / "vung.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [RING]}))
    order = read(tmp_path, ORDER.replace(AREAS_LINE, f'{CIRCLES}\npolygons = ["vung.geojson"]'))
    assert order.audience.communes == ()
    assert order.audience.circles == (Circle(14.9, 108.9, 0.5), Circle(15.12, 108.8, 5))
    assert order.audience.polygons == (Polygon((((108.7, 15.1), (108.9, 15.1), (108.9, 15.3)),)),)
    assert order_from_json(json.loads(json.dumps(order_to_json(order)))) == order
    (tmp_path / "vung.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [[*RING[:2], [108.9, 15.2], RING[0]]]}))
    moved = read(tmp_path, ORDER.replace(AREAS_LINE, f'{CIRCLES}\npolygons = ["vung.geojson"]'))
    assert order_to_json(moved) != order_to_json(order)


def test_an_order_with_circles_is_written_as_it_is_read(tmp_path: Path) -> None:
    for head in (CIRCLES, f"{AREAS_LINE}\n{CIRCLES}"):
        order = replace(read(tmp_path, ORDER.replace(AREAS_LINE, head)), start=None)
        assert read(tmp_path, order_text(order, [])) == order


def test_a_remainder_follows_the_earlier_campaign_and_has_no_outlines(tmp_path: Path) -> None:
    order = remainder_order(read(tmp_path, ORDER.replace(AREAS_LINE, f"{AREAS_LINE}\n{CIRCLES}")), name="sau", max_recipients=7)
    assert (order.audience.communes, order.audience.circles, order.audience.polygons) == ((), (), ())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "circles"),
        (f'areas = "province"\n{CIRCLES}', "toàn tỉnh"),
        ("circles = [{ lat = 21.0, lon = 105.8, km = 5 }]", "ngoài tỉnh"),
        ("circles = [{ lat = 108.8, lon = 15.1, km = 5 }]", "ngoài tỉnh"),
        ("circles = [{ lat = 15.1, lon = 108.8, km = 0 }]", "0.1"),
        ("circles = [{ lat = 15.1, lon = 108.8, km = 500 }]", "100"),
        ("circles = [{ lat = 15.1, lon = 108.8 }]", "km"),
        ('polygons = ["../vung.geojson"]', "không kèm thư mục"),
        ('polygons = ["/etc/passwd"]', "không kèm thư mục"),
        ('polygons = ["vung.geojson"]', "vung.geojson"),
        (f'remainder_of = "truoc"\n{CIRCLES}', "remainder_of"),
        ('areas = ["huyện Hoài Nhơn cũ"]', "Hoài Nhơn"),
        ('areas = ["Kon Tum cũ"]', "Tỉnh Kon Tum cũ"),
    ],
)
def test_an_area_that_cannot_be_meant_is_refused(tmp_path: Path, line: str, words: str) -> None:
    said = "\n".join(str(problem) for problem in problems(tmp_path, ORDER.replace(AREAS_LINE, line)))
    assert words in said


def test_an_order_is_written_as_it_is_read(tmp_path: Path) -> None:
    first = read(tmp_path, ORDER.replace('a = "1"', r'a = "ngoặc \" kép, \\ và \u007f"'))
    order = remainder_order(first, name="thu-con-lai", max_recipients=7)
    assert (order.start, order.audience.remainder_of, order.audience.max_recipients) == (None, "thu", 7)
    written = order_text(order, ["Gửi tiếp."])
    assert written.startswith("# Gửi tiếp.\n")
    assert read(tmp_path, written, "thu-con-lai.toml") == order
    again = remainder_order(order, name="thu-con-lai-2", max_recipients=1)
    assert (again.title, again.audience.remainder_of) == (order.title, "thu-con-lai")


def test_the_shipped_orders_are_written_as_they_are_read(tmp_path: Path) -> None:
    for path in sorted((ROOT / "campaigns").glob("*.toml")):
        order = replace(read_order(path, AREAS, CARRIERS), start=None)
        assert read(tmp_path, order_text(order, []), path.name) == order


def test_a_long_title_stays_within_its_length(tmp_path: Path) -> None:
    order = remainder_order(read(tmp_path, ORDER.replace('"Cảnh báo"', f'"{"x" * 200}"')), name="tiep", max_recipients=1)
    assert read(tmp_path, order_text(order, []), "tiep.toml") == order


def test_only_a_campaign_s_name_has_a_remainder(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ORDER.replace("[audience]", '[audience]\nremainder_of = "Sai tên"'))
    assert problem.key == "audience.remainder_of"
