import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.files.areas import read_areas
from broadcaster.rules.geo import distance_km, in_province, nearest_area

LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)


def test_a_degree_of_latitude_is_about_111_km() -> None:
    assert distance_km(15, 108, 16, 108) == pytest.approx(111.195, abs=0.01)


def test_a_degree_of_longitude_shrinks_away_from_the_equator() -> None:
    assert distance_km(60, 0, 60, 1) == pytest.approx(distance_km(0, 0, 0, 1) / 2, rel=0.001)


@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_distance_is_symmetric_and_bounded(lat1: float, lon1: float, lat2: float, lon2: float) -> None:
    there = distance_km(lat1, lon1, lat2, lon2)
    assert 0 <= there <= 20_016
    assert there == pytest.approx(distance_km(lat2, lon2, lat1, lon1), abs=1e-6)


def test_every_commune_is_nearest_to_its_own_centre_and_inside_the_province() -> None:
    areas = read_areas()
    for area in areas:
        assert in_province(area.lat, area.lon)
        found = nearest_area(areas, area.lat, area.lon)
        assert found == (area, pytest.approx(0, abs=1e-3))


def test_nothing_is_near_beyond_the_limit() -> None:
    areas = read_areas()
    assert nearest_area(areas, 16.07, 108.22) is None
    assert nearest_area(areas, 16.07, 108.22, limit_km=200) is not None
    assert nearest_area([], 15.1, 108.8) is None


@pytest.mark.parametrize(("lat", "lon"), [(21.03, 105.85), (10.78, 106.70), (16.07, 108.22), (108.8, 15.1)])
def test_places_outside_the_province(lat: float, lon: float) -> None:
    assert not in_province(lat, lon)
