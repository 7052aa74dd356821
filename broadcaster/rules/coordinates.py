"""Read latitudes and longitudes as people write them, in degrees or in degrees, minutes and seconds."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from broadcaster.rules.geo import in_province
from broadcaster.text.fold import fold

_FIGURE: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_MARKS: Final = re.compile(r"[\s°º˚'′’\"″”:dms]*", re.IGNORECASE)
_SIDES: Final = {"n": 1, "b": 1, "e": 1, "s": -1, "w": -1}
"""North (bắc) and east (đông, whose letter is that of degrees) are plus; in Vietnam nothing lies south or west."""


class Spot(NamedTuple):
    """A place in degrees of WGS 84."""

    lat: float
    lon: float
    swapped: bool
    """It was written the other way round."""


def degrees(text: str) -> float | None:
    """Return the degrees that `text` says, or None: ``15.1135``, ``15,1135``, ``15°06'48.6"N``, ``N 15 06 48.6``, ``15°06.81'``."""
    bare = fold(text).strip().replace(",", ".")
    sign = -1 if bare.startswith("-") else 1
    bare = bare.removeprefix("-")
    side = next((letter for letter in (bare[:1].lower(), bare[-1:].lower()) if letter in _SIDES and len(bare) > 1), "")
    if side and bare[:1].lower() == side:
        bare = bare[1:]
    elif side and not (side == "s" and _MARKS.fullmatch(bare[-1:]) and not bare[-2:-1].isspace() and "m" in bare.lower()):
        bare = bare[:-1]
    else:
        side = ""
    figures = _FIGURE.findall(bare)
    if not 1 <= len(figures) <= 3 or not _MARKS.fullmatch(_FIGURE.sub("", bare)) or bare.lstrip()[:1] not in "0123456789":
        return None
    if any("." in figure for figure in figures[:-1]) or any(float(figure) >= 60 for figure in figures[1:]):
        return None
    value = sum(float(figure) / 60**power for power, figure in enumerate(figures))
    return sign * _SIDES.get(side, 1) * value if value <= 180 else None


def spot(lat: str, lon: str) -> Spot | None:
    """Return the place that two columns say, put right when latitude and longitude stand in each other's; None: not two numbers.

    The province lies about 15 degrees north and 108 east, so the two can never be mistaken for one another.
    """
    north, east = degrees(lat), degrees(lon)
    if north is None or east is None:
        return None
    swapped = in_province(east, north)
    return Spot(east, north, swapped) if swapped else Spot(north, east, swapped)
