import json

import pytest


def test_areas_of_today_and_districts_of_a_day(cli) -> None:  # type: ignore[no-untyped-def]
    assert len(json.loads(cli("area", "list", "--json").out)) == 96
    then = json.loads(cli("area", "list", "--districts-on", "2019-06-12", "--json").out)
    assert {"Huyện Tây Trà", "Huyện Đức Phổ"} <= {item["name"] for item in then}
    assert "Thị xã Đức Phổ" in cli("area", "list", "--districts-on", "2020-02-01").out
    assert json.loads(cli("area", "list", "--districts-on", "2025-07-01", "--json").out) == []


def test_a_day_that_is_none_is_refused_in_the_readers_language(cli) -> None:  # type: ignore[no-untyped-def]
    then = cli("area", "list", "--districts-on", "12/06/2019", "--json")
    assert "Huyện Tây Trà" in {item["name"] for item in json.loads(then.out)}
    said = cli("area", "list", "--districts-on", "31/02/2019")
    assert said.code == 2
    assert "cần một ngày có thật" in said.err
    assert "match" not in said.err


def test_a_name_is_shown_as_the_communes_it_stands_for(cli) -> None:  # type: ignore[no-untyped-def]
    found = json.loads(cli("area", "show", "huyện Bình Sơn cũ", "--json").out)
    assert "21109" in {item["code"] for item in found}
    split = [former for item in found for former in item["former_communes"] if former["split"]]
    assert split == []
    assert "Xã Tịnh Hòa" in cli("area", "show", "Đông Sơn").out
    assert len(json.loads(cli("area", "show", "tỉnh Quảng Ngãi", "--json").out)) == 96


@pytest.mark.parametrize("name", ["Hà Nội", "huyện Hoài Nhơn cũ", "Kon Tum cũ"])
def test_a_name_that_stands_for_nothing_here_is_refused(cli, name: str) -> None:  # type: ignore[no-untyped-def]
    said = cli("area", "show", name)
    assert (said.code, said.out) == (2, "")
    assert name in said.err
