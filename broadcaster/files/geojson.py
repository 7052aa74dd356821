"""Read polygons from GeoJSON (RFC 7946): the outline of an audience, or the department's own boundaries of the communes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final

from broadcaster.errors import ConfigurationError, InvalidFileError, NotFoundError, Problem
from broadcaster.files.areas import find_area
from broadcaster.lang import Said
from broadcaster.model import Area, AreaCode, Polygon
from broadcaster.rules.geo import PROVINCE, in_province

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_CORNERS: Final = 5_000
"""Of an audience's polygons together, as every corner is part of what is signed."""
MAX_UNIT_CORNERS: Final = 100_000
CODE_PROPERTIES: Final = ("code", "ma_xa", "ma", "ward_code", "gso_code", "id")
NAME_PROPERTIES: Final = ("name", "ten_xa", "ten", "ward_name", "full_name")

_DUPLICATE: Final = Said("đơn vị này có hai lần trong tệp", "this unit is in the file twice")


class _ShapeError(Exception):
    def __init__(self, message: Said) -> None:
        super().__init__(message)
        self.message = message


def read_polygons(path: Path) -> tuple[Polygon, ...]:
    """Return every polygon of a GeoJSON file: a geometry, a feature or a collection of features.

    Raises `ConfigurationError` when the file cannot be read, `InvalidFileError` when it holds no polygon, one outside the province,
    or more than `MAX_CORNERS` corners.
    """
    try:
        found = tuple(polygon for feature in _features(_read(path)) for polygon in _polygons(feature.get("geometry")))
        _refuse_corners(found, MAX_CORNERS)
    except _ShapeError as error:
        raise InvalidFileError([Problem(str(path), error.message)]) from None
    if not found:
        raise InvalidFileError([Problem(str(path), Said("tệp không có đa giác nào", "the file has no polygon"))])
    return found


def read_boundaries(path: Path, areas: Sequence[Area]) -> dict[AreaCode, tuple[Polygon, ...]]:
    """Return the outline of every commune from a collection of features, each with the commune's code or name as a property.

    Raises `ConfigurationError` when the file cannot be read, `InvalidFileError` with every problem: a feature that names no commune
    of the province or one that another names too, a shape outside the province, a commune without a feature.
    """
    found: dict[AreaCode, tuple[Polygon, ...]] = {}
    problems: list[Problem] = []
    try:
        features = list(_features(_read(path)))
    except _ShapeError as error:
        raise InvalidFileError([Problem(str(path), error.message)]) from None
    for number, feature in enumerate(features):
        try:
            code = _unit(feature.get("properties"), areas)
            outline = tuple(_polygons(feature.get("geometry")))
            _refuse_corners(outline, MAX_UNIT_CORNERS)
        except _ShapeError as error:
            problems.append(Problem(str(path), error.message, None, f"features[{number}]"))
            continue
        if code in found:
            problems.append(Problem(str(path), _DUPLICATE, None, f"features[{number}]"))
        found[code] = outline
    if not problems:
        problems = [
            Problem(str(path), Said(f"thiếu {area.name} ({area.code})", f"{area.name} ({area.code}) is missing"), None, "features")
            for area in areas
            if not found.get(area.code)
        ]
    if problems:
        raise InvalidFileError(problems)
    return found


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(Said(f"không đọc được tệp {path}: {reason}", f"cannot read {path}: {reason}")) from error
    if len(data) > MAX_BYTES:
        raise _ShapeError(Said("tệp lớn hơn 64 MiB", "the file is larger than 64 MiB"))
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _ShapeError(Said("tệp không phải UTF-8", "the file is not UTF-8")) from None
    except (ValueError, RecursionError):
        raise _ShapeError(Said("sai cú pháp JSON", "broken JSON")) from None


def _features(document: Any) -> Iterator[Mapping[str, Any]]:
    match document:
        case {"type": "FeatureCollection", "features": [*features]}:
            for feature in features:
                if not (isinstance(feature, dict) and feature.get("type") == "Feature"):
                    raise _ShapeError(Said("trong features phải là các Feature", "features must be Feature objects"))
                yield feature
        case {"type": "Feature"}:
            yield document
        case {"type": "Polygon" | "MultiPolygon"}:
            yield {"geometry": document}
        case _:
            raise _ShapeError(
                Said(
                    "không phải GeoJSON dạng FeatureCollection, Feature, Polygon hay MultiPolygon",
                    "not GeoJSON of the type FeatureCollection, Feature, Polygon or MultiPolygon",
                )
            )


def _polygons(geometry: Any) -> Iterator[Polygon]:
    match geometry:
        case {"type": "Polygon", "coordinates": [_, *_] as rings}:
            yield _polygon(rings)
        case {"type": "MultiPolygon", "coordinates": [*polygons]}:
            for rings in polygons:
                yield _polygon(rings)
        case _:
            raise _ShapeError(Said("hình phải là Polygon hoặc MultiPolygon", "the geometry must be a Polygon or a MultiPolygon"))


def _polygon(rings: Any) -> Polygon:
    if not (isinstance(rings, list) and rings):
        raise _ShapeError(Said("đa giác không có vòng nào", "the polygon has no ring"))
    return Polygon(tuple(_ring(ring) for ring in rings))


def _ring(ring: Any) -> tuple[tuple[float, float], ...]:
    corners = [_corner(point) for point in ring] if isinstance(ring, list) else []
    if len(corners) < 4 or corners[0] != corners[-1]:
        raise _ShapeError(
            Said(
                "mỗi vòng phải có ít nhất 4 điểm và khép kín (điểm cuối trùng điểm đầu)",
                "a ring needs four points or more and must close",
            )
        )
    return tuple(corners[:-1])


def _corner(point: Any) -> tuple[float, float]:
    match point:
        case [int() | float() as lon, int() | float() as lat, *_] if not isinstance(lon, bool) and not isinstance(lat, bool):
            if isfinite(lon) and isfinite(lat) and in_province(lat, lon):
                return float(lon), float(lat)
    raise _ShapeError(
        Said(
            f"có điểm nằm ngoài tỉnh Quảng Ngãi (kinh độ {PROVINCE.west}–{PROVINCE.east}, vĩ độ {PROVINCE.south}–{PROVINCE.north}; "
            "GeoJSON ghi kinh độ trước)",
            f"a point lies outside Quảng Ngãi province (longitude {PROVINCE.west}–{PROVINCE.east}, latitude "
            f"{PROVINCE.south}–{PROVINCE.north}; GeoJSON has the longitude first)",
        )
    )


def _refuse_corners(polygons: Sequence[Polygon], limit: int) -> None:
    corners = sum(len(ring) for polygon in polygons for ring in polygon.rings)
    if corners > limit:
        raise _ShapeError(
            Said(
                f"hình có {corners} điểm, quá mức {limit}; hãy đơn giản hóa",
                f"{corners} points, more than {limit}; simplify the shape",
            )
        )


def _unit(properties: Any, areas: Sequence[Area]) -> AreaCode:
    """Return the commune that a feature's properties name, by code where there is one."""
    given = {str(name).casefold(): str(value) for name, value in properties.items()} if isinstance(properties, dict) else {}
    codes = {area.code for area in areas}
    for name in CODE_PROPERTIES:
        if given.get(name) in codes:
            return AreaCode(given[name])
    for name in NAME_PROPERTIES:
        if given.get(name):
            try:
                return find_area(areas, given[name]).code
            except NotFoundError as error:
                raise _ShapeError(error.message) from None
    expected = ", ".join((*CODE_PROPERTIES, *NAME_PROPERTIES))
    raise _ShapeError(Said(f"không có thuộc tính nào trong: {expected}", f"it has none of the properties: {expected}"))
