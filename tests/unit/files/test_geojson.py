import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files.areas import read_areas
from broadcaster.files.geojson import MAX_CORNERS, read_boundaries, read_polygons

AREAS = read_areas()
RING = [[108.7, 15.1], [108.9, 15.1], [108.9, 15.3], [108.7, 15.3], [108.7, 15.1]]
HOLE = [[108.75, 15.15], [108.8, 15.15], [108.8, 15.2], [108.75, 15.15]]


def write(folder: Path, document: Any) -> Path:
    path = folder / "vung.geojson"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def feature(geometry: Any, **properties: str) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def collection(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (polygon(RING), 1),
        (polygon(RING, HOLE), 1),
        ({"type": "MultiPolygon", "coordinates": [[RING], [HOLE]]}, 2),
        (feature(polygon(RING)), 1),
        (collection(feature(polygon(RING)), feature(polygon(HOLE))), 2),
        (polygon([[*point, 12.5] for point in RING]), 1),
    ],
)
def test_polygons_are_read_from_every_form(tmp_path: Path, document: Any, count: int) -> None:
    found = read_polygons(write(tmp_path, document))
    assert len(found) == count
    assert found[0].rings[0] == tuple((lon, lat) for lon, lat in RING[:-1])


MANY = [[108.7 + at / 1e6, 15.1] for at in range(MAX_CORNERS + 1)]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[]", "GeoJSON"),
        ({"type": "Point", "coordinates": [108.8, 15.1]}, "GeoJSON"),
        (collection(), "đa giác"),
        (collection({"type": "Point"}), "Feature"),
        (feature(None), "Polygon"),
        ({"type": "MultiPolygon", "coordinates": []}, "đa giác"),
        (polygon(), "Polygon"),
        (polygon([]), "khép kín"),
        (polygon(RING[:-1]), "khép kín"),
        (polygon(RING[:2] + RING[:1]), "khép kín"),
        (polygon([[lat, lon] for lon, lat in RING]), "kinh độ trước"),
        (polygon([*RING[:-1], [105.8, 21.0], RING[0]]), "ngoài tỉnh"),
        (polygon([*RING[:-1], ["x", 15.0], RING[0]]), "ngoài tỉnh"),
        (polygon([*RING[:-1], [True, True], RING[0]]), "ngoài tỉnh"),
        (polygon([*RING[:-1], [float("nan"), 15.0], RING[0]]), "ngoài tỉnh"),
        (polygon([*MANY, MANY[0]]), "đơn giản"),
    ],
)
def test_what_is_no_outline_in_the_province_is_refused(tmp_path: Path, document: Any, words: str) -> None:
    with pytest.raises(InvalidFileError, match=words):
        read_polygons(write(tmp_path, document))


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="khong-co"):
        read_polygons(tmp_path / "khong-co.geojson")


def test_boundaries_name_every_unit_by_code_or_name(tmp_path: Path) -> None:
    by_code = [feature(polygon(RING), ma_xa=area.code) for area in AREAS[:50]]
    by_name = [feature(polygon(RING), Ten_Xa=area.name) for area in AREAS[50:]]
    found = read_boundaries(write(tmp_path, collection(*by_code, *by_name)), AREAS)
    assert found.keys() == {area.code for area in AREAS}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (feature(polygon(RING), code="21025"), "hai lần"),
        (feature(polygon(RING), name="Hà Nội"), "Hà Nội"),
        (feature(polygon(RING)), "thuộc tính"),
        (feature(polygon([[105.8, 21.0]] * 4), code="21025"), "ngoài tỉnh"),
        (feature(polygon(RING), name="Son Ha"), "nhiều nơi"),
    ],
)
def test_a_bad_unit_is_named_by_its_place(tmp_path: Path, extra: Any, words: str) -> None:
    units = [feature(polygon(RING), code=area.code) for area in AREAS]
    with pytest.raises(InvalidFileError, match=words) as caught:
        read_boundaries(write(tmp_path, collection(*units, extra)), AREAS)
    assert [problem.key for problem in caught.value.problems] == ["features[96]"]


def test_a_missing_unit_is_named(tmp_path: Path) -> None:
    units = [feature(polygon(RING), code=area.code) for area in AREAS if area.code not in ("21548", "21025")]
    with pytest.raises(InvalidFileError, match="Lý Sơn") as caught:
        read_boundaries(write(tmp_path, collection(*units)), AREAS)
    assert len(caught.value.problems) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-200, 200) | st.sampled_from(["Polygon", "Feature", "FeatureCollection"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "features", "geometry", "coordinates", "properties", "code"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
def test_any_document_is_an_outline_or_refused(tmp_path: Path, document: Any) -> None:
    path = write(tmp_path, json.dumps(document))
    with suppress(InvalidFileError):
        assert read_polygons(path)
    with pytest.raises(InvalidFileError):
        read_boundaries(path, AREAS)
