import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.files.areas import read_areas
from broadcaster.model import AreaCode, Circle, Polygon
from broadcaster.rules.geo import SNAP_KM, Outline, area_at, distance_km, in_circle, in_province, nearest_area

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


def ring(west: float, south: float, east: float, north: float) -> tuple[tuple[float, float], ...]:
    return (west, south), (east, south), (east, north), (west, north)


SQUARE = ring(108.0, 15.0, 109.0, 16.0)
RING = Outline([Polygon((SQUARE, ring(108.25, 15.25, 108.75, 15.75)))])
TRIANGLE = ((108.0, 15.0), (109.0, 15.0), (108.0, 16.0))


@given(st.floats(14.9, 16.1), st.floats(107.9, 109.1))
def test_a_ring_holds_what_is_in_its_square_but_not_in_its_hole(lat: float, lon: float) -> None:
    inside = 15 < lat < 16 and 108 < lon < 109
    hole = 15.25 < lat < 15.75 and 108.25 < lon < 108.75
    on_edge = lat in (15, 15.25, 15.75, 16) or lon in (108, 108.25, 108.75, 109)
    assert on_edge or RING.contains(lat, lon) == (inside and not hole)


@given(st.floats(15.001, 15.999), st.floats(108.001, 108.999), st.permutations(range(3)), st.booleans())
def test_a_triangle_is_the_same_from_any_corner_either_way_round(lat: float, lon: float, turn: list[int], back: bool) -> None:
    corners = TRIANGLE[turn[0] :] + TRIANGLE[: turn[0]]
    outline = Outline([Polygon((corners[::-1] if back else corners,))])
    apart = (lat - 15) + (lon - 108) - 1
    assert abs(apart) < 1e-9 or outline.contains(lat, lon) == (apart < 0)


@given(st.floats(15.0, 16.0, exclude_max=True), st.floats(108.001, 108.999))
def test_neighbours_share_no_place_and_leave_none_out(lat: float, lon: float) -> None:
    west = Outline([Polygon((ring(108.0, 15.0, 108.5, 16.0),))])
    east = Outline([Polygon((ring(108.5, 15.0, 109.0, 16.0),))])
    assert west.contains(lat, lon) + east.contains(lat, lon) == 1


def test_polygons_that_overlap_are_both_inside() -> None:
    outline = Outline([Polygon((SQUARE,)), Polygon((ring(108.5, 15.0, 109.5, 16.0),))])
    assert all(outline.contains(15.5, lon) for lon in (108.1, 108.7, 109.4))


def test_the_distance_to_the_edge() -> None:
    square = Outline([Polygon((SQUARE,))])
    assert square.edge_km(14.99, 108.5, 5) == pytest.approx(distance_km(14.99, 108.5, 15.0, 108.5), rel=0.01)
    assert square.edge_km(14.99, 107.99, 5) == pytest.approx(distance_km(14.99, 107.99, 15.0, 108.0), rel=0.01)
    assert square.edge_km(13.0, 108.5, 5) == float("inf")
    assert square.edge_km(15.01, 108.5, 5) == pytest.approx(1.11, rel=0.01)
    assert square.edge_km(15.99, 108.5, 5) == pytest.approx(1.11, rel=0.01)
    assert square.edge_km(15.5, 108.99, 5) == pytest.approx(distance_km(15.5, 108.99, 15.5, 109.0), rel=0.01)


@pytest.mark.parametrize(
    ("lat", "code"),
    [(15.5, "21025"), (15.0 - 0.9 * SNAP_KM / 111.195, "21025"), (15.0 - 1.1 * SNAP_KM / 111.195, None), (16.3, "21040")],
)
def test_a_place_belongs_to_its_area_or_to_the_nearest_one_close_by(lat: float, code: str | None) -> None:
    outlines = {
        AreaCode("21025"): Outline([Polygon((SQUARE,))]),
        AreaCode("21040"): Outline([Polygon((ring(108.0, 16.2, 109.0, 16.5),))]),
    }
    assert area_at(outlines, lat, 108.5) == code
    assert area_at({}, lat, 108.5) is None


@given(st.floats(14, 15.5), st.floats(107.5, 109), st.floats(0.1, 100))
def test_a_circle_holds_what_is_within_its_radius(lat: float, lon: float, radius_km: float) -> None:
    circle = Circle(15.0, 108.5, radius_km)
    assert in_circle(circle, lat, lon) == (distance_km(15.0, 108.5, lat, lon) <= radius_km)
    assert in_circle(circle, 15.0, 108.5)
