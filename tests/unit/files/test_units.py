import datetime as dt
import re
import unicodedata

import pytest

from broadcaster.errors import NotFoundError
from broadcaster.files.areas import AmbiguousNameError, read_areas
from broadcaster.files.units import districts_on, find_place, read_districts, read_former_communes
from broadcaster.text.fold import fold

AREAS = read_areas()
DISTRICTS_2025 = districts_on(dt.date(2025, 6, 30))


@pytest.mark.parametrize(
    ("day", "ours", "kon_tum"), [("2019-06-12", 14, 10), ("2020-01-31", 14, 10), ("2020-02-01", 13, 10), ("2025-07-01", 0, 0)]
)
def test_districts_by_date(day: str, ours: int, kon_tum: int) -> None:
    found = districts_on(dt.date.fromisoformat(day))
    assert [sum(1 for item in found if item.province == code) for code in ("51", "62")] == [ours, kon_tum]
    assert len({item.code for item in found}) == ours + kon_tum


def test_the_changes_of_2020() -> None:
    before = {item.code: item for item in districts_on(dt.date(2020, 1, 31))}
    after = {item.code: item for item in districts_on(dt.date(2020, 2, 1))}
    assert before.keys() - after.keys() == {"526"}
    assert (before["526"].name, before["534"].name, after["534"].name) == ("Huyện Tây Trà", "Huyện Đức Phổ", "Thị xã Đức Phổ")
    assert set(before["525"].areas) | set(before["526"].areas) == set(after["525"].areas)


def test_the_districts_of_2025_hold_every_commune_and_its_own_note_of_them() -> None:
    for area in AREAS:
        assert {item.code for item in DISTRICTS_2025 if area.code in item.areas} == set(area.former_districts)


def test_the_split_and_the_unit_across_a_line() -> None:
    split = [item for item in read_former_communes() if len(item.became) > 1]
    assert [(item.code, item.name, item.became) for item in split] == [("21142", "Xã Trà Bùi", ("21136", "21157"))]
    across = [area.code for area in AREAS if len(area.former_districts) > 1]
    assert across == ["21109"]
    assert {"21109"} == set(find_place(AREAS, "huyện Bình Sơn cũ").areas) & set(find_place(AREAS, "TP. Quảng Ngãi cũ").areas)


def test_every_district_is_found_by_each_of_its_names() -> None:
    for item in read_districts():
        spellings = [f"{item.name} cũ", item.name, fold(item.name).upper() + " CU", unicodedata.normalize("NFD", f"{item.name} (cũ)")]
        last = [other.areas for other in read_districts() if fold(other.name) == fold(item.name)][-1]
        assert {find_place(AREAS, text).areas for text in spellings} == {last}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("huyện Bình Sơn cũ", 5),
        ("Bình Sơn cũ", 5),
        ("524", 5),
        ("Bình Sơn", 1),
        ("21548", 1),
        ("h. Tây Trà cũ", 3),
        ("TX Đức Phổ", 5),
        ("huyện Đức Phổ cũ", 5),
        ("tỉnh Quảng Ngãi cũ", 56),
        ("tỉnh Kon Tum cũ", 40),
        ("Tinh Kon Tum", 40),
        ("tỉnh Quảng Ngãi", 0),
        ("province", 0),
        ("P. Sa Huỳnh", 1),
        ("p.Sa Huỳnh", 1),
        ("ĐK Lý Sơn", 1),
        ("X. Ba Tơ", 1),
        ("X. Ba Tô", 1),
        ("TT. Châu Ổ cũ", 1),
        ("21142 cũ", 2),
        ("xã Trà Bùi cũ", 2),
        ("Thị trấn Trà Xuân cũ", 1),
    ],
)
def test_what_names_stand_for_today(text: str, count: int) -> None:
    assert len(find_place(AREAS, text).areas) == count


@pytest.mark.parametrize("text", ["Kon Tum cũ", "Quảng Ngãi cũ", "Son Ha", "Quảng Ngãi"])
def test_an_ambiguous_name_lists_the_candidates(text: str) -> None:
    with pytest.raises(AmbiguousNameError) as caught:
        find_place(AREAS, text)
    assert caught.value.hint is not None


@pytest.mark.parametrize("text", ["tỉnh Bình Định", "huyện Hoài Nhơn cũ", "thành phố Đà Nẵng", "Hà Nội", "999", "", "cũ"])
def test_what_lies_outside_the_province_is_refused(text: str) -> None:
    with pytest.raises(NotFoundError):
        find_place(AREAS, text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("huyện Bình Sn cũ", "Huyện Bình Sơn cũ"),
        ("Trà Xuân", "Xã Trà Bồng"),
        ("Trà Bùi", "Xã Cà Đam, Xã Tây Trà Bồng"),
        ("21142", "Xã Cà Đam, Xã Tây Trà Bồng"),
    ],
)
def test_a_miss_is_answered_with_what_may_be_meant(text: str, meant: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_place(AREAS, text)
    assert caught.value.hint is not None
    assert meant in caught.value.hint.vi


def test_former_communes_of_one_name_are_told_apart_by_district_and_code() -> None:
    with pytest.raises(AmbiguousNameError) as caught:
        find_place(AREAS, "phường Nguyễn Nghiêm cũ")
    candidates = re.findall(r"Phường Nguyễn Nghiêm cũ \(([^,]+), (\d{5})\)", caught.value.message.vi)
    assert caught.value.message.vi.startswith("“phường Nguyễn Nghiêm cũ”")
    assert {district for district, _ in candidates} == {"Thành phố Quảng Ngãi", "Thị xã Đức Phổ"}
    assert len({find_place(AREAS, f"{code} cũ").areas for _, code in candidates}) == 2


@pytest.mark.parametrize("text", ["Đà Nẵng", "Tam Kỳ", "Hà Nội", "Pleiku"])
def test_a_place_elsewhere_is_answered_without_suggestions(text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_place(AREAS, text)
    assert caught.value.hint is None
    assert "trong tỉnh" in caught.value.message.vi
