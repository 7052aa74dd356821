import csv
import datetime as dt
import unicodedata
from collections import Counter
from importlib import resources

import pytest

from broadcaster.errors import NotFoundError
from broadcaster.files.areas import find_area, read_areas
from broadcaster.text.fold import fold

AREAS = read_areas()


def test_the_province_has_86_communes_9_wards_and_a_special_zone() -> None:
    assert Counter(area.kind for area in AREAS) == {"Xã": 86, "Phường": 9, "Đặc khu": 1}
    assert len({area.code for area in AREAS}) == 96
    assert {area.valid_from for area in AREAS} == {dt.date(2025, 7, 1)}
    assert Counter(area.former_province for area in AREAS) == {"51": 56, "62": 40}


def test_every_area_is_found_by_code_name_and_name_without_kind() -> None:
    for area in AREAS:
        bare = area.name.removeprefix(area.kind).strip()
        for text in (area.code, area.name, area.name.upper(), bare, unicodedata.normalize("NFD", bare), f"  {bare.lower()} "):
            assert find_area(AREAS, text) == area


def test_names_without_accents_find_the_area_unless_two_share_them() -> None:
    folded = Counter(fold(area.name) for area in AREAS)
    assert {name for name, count in folded.items() if count > 1} == {"Xa Son Ha", "Xa Ba To"}
    for area in AREAS:
        if folded[fold(area.name)] == 1:
            assert find_area(AREAS, fold(area.name).lower()) == area


@pytest.mark.parametrize("text", ["Son Ha", "xa ba to"])
def test_an_ambiguous_name_lists_the_candidates(text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_area(AREAS, text)
    assert caught.value.exit_code == 2
    assert caught.value.message.vi.count("(2") == 2
    assert caught.value.hint is not None


def test_accents_tell_twins_apart() -> None:
    assert find_area(AREAS, "Sơn Hà").code != find_area(AREAS, "Sơn Hạ").code


@pytest.mark.parametrize(
    ("text", "meant"), [("Bình Sn", "Xã Bình Sơn"), ("phuong tra cau cau", "Phường Trà Câu"), ("Lý Son huyen", "Lý Sơn")]
)
def test_a_misspelt_name_is_answered_with_a_suggestion(text: str, meant: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_area(AREAS, text)
    assert caught.value.hint is not None
    assert meant in caught.value.hint.vi


@pytest.mark.parametrize("text", ["", "zzzzqqq", "99999"])
def test_nonsense_gets_no_suggestion(text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        find_area(AREAS, text)
    assert caught.value.hint is None


def test_every_former_commune_leads_to_a_commune_of_today() -> None:
    text = resources.files("broadcaster.files").joinpath("data/communes_old_to_new.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["new_ward_code"] for row in rows} == {area.code for area in AREAS}
    assert {row["how"] for row in rows} == {"whole", "part-default", "part"}
