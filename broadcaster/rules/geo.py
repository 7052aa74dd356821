"""Distances on the Earth, circles and polygons on it, and which commune's centre a place is nearest to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import asin, cos, hypot, inf, radians, sin, sqrt
from typing import Final, NamedTuple

from broadcaster.model import Area, AreaCode, Circle, Polygon

_EARTH_RADIUS_KM: Final = 6371.0088
_KM_PER_DEGREE: Final = 111.195
_STRIPS: Final = 256


class Bounds(NamedTuple):
    """A box of degrees (WGS 84)."""

    south: float
    west: float
    north: float
    east: float


PROVINCE: Final = Bounds(south=13.85, west=107.25, north=15.55, east=109.25)
"""The province of 01-07-2025 with Lý Sơn, and about 10 km around it: sites just over the border serve it too."""

NEAREST_LIMIT_KM: Final = 25.0
"""Farther than this from every centre, a place belongs to no commune of ours: the largest ones are about 40 km across."""

SNAP_KM: Final = 1.0
"""A place in no outline belongs to the nearest one within this."""


def distance_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return the great-circle distance in km between two places in degrees (haversine)."""
    north, east = radians(lat2 - lat1), radians(lon2 - lon1)
    half_chord = sin(north / 2) ** 2 + cos(radians(lat1)) * cos(radians(lat2)) * sin(east / 2) ** 2
    return 2 * _EARTH_RADIUS_KM * asin(min(1.0, sqrt(half_chord)))


def nearest_area(areas: Iterable[Area], lat: float, lon: float, limit_km: float = NEAREST_LIMIT_KM) -> tuple[Area, float] | None:
    """Return the area whose centre is nearest, with the distance in km, or None if none is within `limit_km`."""
    near = min(
        ((distance_km(lat, lon, area.lat, area.lon), area.code, area) for area in areas),
        default=None,
    )
    return (near[2], near[0]) if near and near[0] <= limit_km else None


def in_province(lat: float, lon: float) -> bool:
    """Tell whether a place lies in the box around the province."""
    return PROVINCE.south <= lat <= PROVINCE.north and PROVINCE.west <= lon <= PROVINCE.east


def in_circle(circle: Circle, lat: float, lon: float) -> bool:
    """Tell whether a place is at most the circle's radius away from its centre."""
    return distance_km(circle.lat, circle.lon, lat, lon) <= circle.radius_km


class Outline:
    """One or more polygons prepared for many questions: is this place inside, and if not, how far is the edge?

    Edges are sorted into strips of latitude, so that a question looks at those of one strip only. A place is inside a polygon when a
    ray from it crosses the polygon's rings an odd number of times, which leaves holes out; an edge belongs to its northern side.
    """

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        points = [point for polygon in polygons for ring in polygon.rings for point in ring]
        lons, lats = [lon for lon, _ in points], [lat for _, lat in points]
        self.bounds = Bounds(min(lats), min(lons), max(lats), max(lons))
        self._strips: list[list[tuple[int, float, float, float, float]]] = [[] for _ in range(_STRIPS)]
        for number, polygon in enumerate(polygons):
            for ring in polygon.rings:
                for (lon1, lat1), (lon2, lat2) in zip(ring, [*ring[1:], ring[0]], strict=True):
                    self._add(number, lon1, lat1, lon2, lat2)

    def _add(self, number: int, lon1: float, lat1: float, lon2: float, lat2: float) -> None:
        for strip in range(self._strip(min(lat1, lat2)), self._strip(max(lat1, lat2)) + 1):
            self._strips[strip].append((number, lon1, lat1, lon2, lat2))

    def _strip(self, lat: float) -> int:
        height = self.bounds.north - self.bounds.south
        return max(0, min(int((lat - self.bounds.south) / height * _STRIPS), _STRIPS - 1)) if height else 0

    def contains(self, lat: float, lon: float) -> bool:
        """Tell whether a place is inside one of the polygons."""
        south, west, north, east = self.bounds
        if not (south <= lat <= north and west <= lon <= east):
            return False
        odd: set[int] = set()
        for number, lon1, lat1, lon2, lat2 in self._strips[self._strip(lat)]:
            if (lat1 > lat) != (lat2 > lat) and lon < (lon2 - lon1) * (lat - lat1) / (lat2 - lat1) + lon1:
                odd ^= {number}
        return bool(odd)

    def edge_km(self, lat: float, lon: float, limit_km: float) -> float:
        """Return the distance to the nearest edge in km, or infinity when no edge is within about `limit_km`."""
        reach = limit_km / _KM_PER_DEGREE
        south, west, north, east = self.bounds
        if not (south - reach <= lat <= north + reach and west - 2 * reach <= lon <= east + 2 * reach):
            return inf
        shrink = cos(radians(lat))
        strips = self._strips[self._strip(lat - reach) : self._strip(lat + reach) + 1]
        return min((_segment_km(lat, lon, edge, shrink) for strip in strips for _, *edge in strip), default=inf)


def _segment_km(lat: float, lon: float, edge: Sequence[float], shrink: float) -> float:
    # The Earth is flat enough over the few km that matter here.
    x1, y1, x2, y2 = (edge[0] - lon) * shrink, edge[1] - lat, (edge[2] - lon) * shrink, edge[3] - lat
    dx, dy = x2 - x1, y2 - y1
    length = dx * dx + dy * dy
    along = 0.0 if not length else max(0.0, min(1.0, -(x1 * dx + y1 * dy) / length))
    return hypot(x1 + along * dx, y1 + along * dy) * _KM_PER_DEGREE


def area_at(outlines: Mapping[AreaCode, Outline], lat: float, lon: float) -> AreaCode | None:
    """Return the area in whose outline a place lies, else the one whose edge is nearest within `SNAP_KM`, else None.

    Official outlines leave narrow gaps between neighbours and along the coast; a mast on a pier still belongs to its commune.
    """
    inside = next((code for code, outline in outlines.items() if outline.contains(lat, lon)), None)
    if inside is not None:
        return inside
    near = min(((outline.edge_km(lat, lon, SNAP_KM), code) for code, outline in outlines.items()), default=(inf, None))
    return near[1] if near[0] <= SNAP_KM else None
