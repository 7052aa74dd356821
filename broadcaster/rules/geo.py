"""Distances on the Earth, and which commune's centre a place is nearest to."""

from __future__ import annotations

from collections.abc import Iterable
from math import asin, cos, radians, sin, sqrt
from typing import Final, NamedTuple

from broadcaster.model import Area

_EARTH_RADIUS_KM: Final = 6371.0088


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
