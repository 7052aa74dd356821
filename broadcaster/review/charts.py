"""Where everything in the review's three drawings goes, in plain coordinates; the page's template turns them into SVG."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from broadcaster.lang import Said
from broadcaster.model import Exclusion, State
from broadcaster.review import words
from broadcaster.review.data import AreaFigures, Curve, Review
from broadcaster.rules.tally import FAILURES

BAR_WIDTH: Final = 1000
WIDTH: Final = 760
CURVE_HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 176, 14, 34
_LABEL_GAP: Final = 17
_LARGEST_BUBBLE: Final = 21.0
_SMALLEST_BUBBLE: Final = 2.5
_MAP_MARGIN: Final = 30
_MAP_LABELS: Final = 16
_LETTER_WIDTH: Final = 6.8
SHARE_CLASSES: Final = (60, 80, 90, 95)
"""Lower bounds, in percent, of the map's classes above the lowest."""
_KM_PER_DEGREE: Final = 111.32


class Bar(NamedTuple):
    """One line of the funnel: ``whole``, ``loss``, ``wait`` or ``good``; the bar is `start` and `width` of `BAR_WIDTH`."""

    kind: str
    label: Said
    messages: int
    start: float
    width: float


def funnel(review: Review) -> list[Bar]:
    """Cut the audience down step by step: every loss is the piece by which the next whole is shorter."""
    totals = review.totals
    scale = BAR_WIDTH / totals.audience if totals.audience else 0.0
    bars: list[Bar] = []
    left = totals.audience

    def whole(label: Said, messages: int) -> None:
        bars.append(Bar("whole", label, messages, 0, messages * scale))

    def minus(kind: str, label: Said, messages: int, *, always: bool = False) -> None:
        nonlocal left
        left -= messages
        if messages or always:
            bars.append(Bar(kind, label, messages, left * scale, messages * scale))

    whole(Said("Đối tượng của lệnh gửi", "Audience of the order"), totals.audience)
    for exclusion in Exclusion:
        minus("loss", words.EXCLUSIONS[exclusion], totals.excluded[exclusion], always=True)
    whole(Said("Được lập tin", "Messages made"), totals.planned)
    minus("loss", words.STATES[State.SUPPRESSED], totals.suppressed)
    minus("loss", words.STATES[State.CANCELLED], totals.cancelled)
    minus("loss", words.STATES[State.LAPSED], totals.lapsed)
    minus("wait", words.STATES[State.READY], totals.open)
    whole(Said("Đã gửi tới nhà mạng", "Sent to the carriers"), totals.sent)
    minus("loss", words.STATES[State.REFUSED], totals.refused, always=True)
    minus("wait", Said("không rõ nhà mạng đã nhận chưa", "uncertain whether the carrier has it"), totals.uncertain, always=True)
    whole(Said("Nhà mạng tiếp nhận", "Accepted by the carriers"), totals.accepted)
    for failure in FAILURES:
        minus("loss", words.STATES[failure], totals.failed[failure])
    minus("wait", words.STATES[State.ACCEPTED], totals.awaiting, always=True)
    start = 0
    for label, messages in words.confirmations(review):
        bars.append(Bar("good", Said(label.vi.capitalize(), label.en.capitalize()), messages, start * scale, messages * scale))
        start += messages
    return bars


class Tick(NamedTuple):
    at: float
    label: str


class Line(NamedTuple):
    """One series: `points` as SVG wants them, its name and last value at height `label_y`."""

    kind: str
    points: str
    label: Said
    messages: int
    end_x: float
    end_y: float
    label_y: float


class Drawing(NamedTuple):
    """The delivery curve on a canvas of `WIDTH` by `CURVE_HEIGHT`; the plot itself is the box left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    lines: Sequence[Line]


def curve(drawn: Curve) -> Drawing | None:
    """Draw the delivery curve; None when nothing was sent."""
    if not drawn.points or drawn.starts_at is None:
        return None
    starts_at = drawn.starts_at
    span_s = (drawn.points[-1].at - starts_at).total_seconds()
    right, bottom = WIDTH - _RIGHT, CURVE_HEIGHT - _BOTTOM
    step = nice_step(max(point.sent for point in drawn.points), 4)
    top_value = step * max(math.ceil(max(point.sent for point in drawn.points) / step), 1)

    def x(at: dt.datetime) -> float:
        return round(_LEFT + (right - _LEFT) * (at - starts_at).total_seconds() / span_s, 1)

    def y(messages: float) -> float:
        return round(bottom - (bottom - _TOP) * messages / top_value, 1)

    series = (
        ("sent", Said("đã gửi", "sent"), [point.sent for point in drawn.points]),
        ("accepted", Said("tiếp nhận", "accepted"), [point.accepted for point in drawn.points]),
        ("confirmed", Said("xác nhận", "confirmed"), [point.confirmed for point in drawn.points]),
    )
    heights = _spread([y(values[-1]) for _, _, values in series], _LABEL_GAP, bottom)
    xs = [x(point.at) for point in drawn.points]
    lines = [
        Line(
            kind,
            " ".join([f"{_LEFT},{bottom}", *(f"{at},{y(value)}" for at, value in zip(xs, values, strict=True))]),
            label,
            values[-1],
            xs[-1],
            y(values[-1]),
            height,
        )
        for (kind, label, values), height in zip(series, heights, strict=True)
    ]
    y_ticks = [Tick(y(value), words.number(value)) for value in range(0, top_value + 1, step)]
    return Drawing(_LEFT, _TOP, right, bottom, list(_time_ticks(starts_at, span_s, x)), y_ticks, lines)


def nice_step(largest: int, pieces: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50 … that reaches `largest` in at most `pieces` steps."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if step * factor * pieces >= largest:
                return step * factor
        step *= 10


_TICK_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def _time_ticks(starts_at: dt.datetime, span_s: float, x: Callable[[dt.datetime], float]) -> Iterator[Tick]:
    """Mark whole seconds, minutes or hours, about six of them."""
    step_s = next((step for step in _TICK_SECONDS if span_s / step <= 6), math.ceil(span_s / 6 / 86400) * 86400)
    first = math.ceil(starts_at.timestamp() / step_s) * step_s
    for second in range(first, math.floor(starts_at.timestamp() + span_s) + 1, step_s):
        at = dt.datetime.fromtimestamp(second, dt.UTC)
        yield Tick(x(at), words.clock(at, seconds=step_s < 60))


def _spread(heights: Sequence[float], gap: float, bottom: float) -> list[float]:
    """Move labels apart: each at least `gap` below the one above it, none below `bottom`. The order is kept."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    limit = bottom
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed


class Bubble(NamedTuple):
    """One commune: its place, a radius whose square tells the messages made, and the class of its confirmed share."""

    x: float
    y: float
    radius: float
    share_class: int
    area: AreaFigures


class Label(NamedTuple):
    x: float
    y: float
    anchor: str
    text: str


class Map(NamedTuple):
    """The communes by their centroids, north up; `bar` is the length of `bar_km` kilometres."""

    width: int
    height: float
    bubbles: Sequence[Bubble]
    labels: Sequence[Label]
    meridians: Sequence[Tick]
    parallels: Sequence[Tick]
    bar: float
    bar_km: int


def province(areas: Iterable[AreaFigures]) -> Map | None:
    """Draw the communes that were to be warned; None when none of them has a known place."""
    placed = [(item, item.lat, item.lon) for item in areas if item.lat is not None and item.lon is not None and item.totals.planned]
    if not placed:
        return None
    south, north = min(lat for _, lat, _ in placed) - 0.02, max(lat for _, lat, _ in placed) + 0.02
    west, east = min(lon for _, _, lon in placed) - 0.02, max(lon for _, _, lon in placed) + 0.02
    narrowing = math.cos(math.radians((south + north) / 2))
    scale = min((WIDTH - 2 * _MAP_MARGIN) / ((east - west) * narrowing), 560 / (north - south))
    offset = (WIDTH - (east - west) * narrowing * scale) / 2
    most = max(item.totals.planned for item, _, _ in placed)

    def x(lon: float) -> float:
        return round(offset + (lon - west) * narrowing * scale, 1)

    def y(lat: float) -> float:
        return round(_MAP_MARGIN + (north - lat) * scale, 1)

    bubbles = [
        Bubble(
            x(lon),
            y(lat),
            round(max(_LARGEST_BUBBLE * math.sqrt(item.totals.planned / most), _SMALLEST_BUBBLE), 1),
            share_class(item),
            item,
        )
        for item, lat, lon in placed
    ]
    bubbles.sort(key=lambda bubble: -bubble.radius)
    bar_km = 20 if (east - west) * narrowing * _KM_PER_DEGREE > 60 else 5
    return Map(
        width=WIDTH,
        height=round((north - south) * scale + 2 * _MAP_MARGIN),
        bubbles=bubbles,
        labels=_map_labels(bubbles),
        meridians=[Tick(x(at), f"{words.number(at, 1)}°") for at in _grid(west, east)],
        parallels=[Tick(y(at), f"{words.number(at, 1)}°") for at in _grid(south, north)],
        bar=round(bar_km / _KM_PER_DEGREE * scale, 1),
        bar_km=bar_km,
    )


def share_class(area: AreaFigures) -> int:
    """Return 0 for the lowest share of confirmed among made messages, `len(SHARE_CLASSES)` for the highest."""
    rate = area.totals.delivered_of_planned
    return sum(rate.messages * 100 >= bound * rate.of for bound in SHARE_CLASSES) if rate.of else 0


def _grid(low: float, high: float) -> list[float]:
    """Return the half degrees within (low, high)."""
    return [half / 2 for half in range(math.ceil(low * 2), math.floor(high * 2) + 1)]


def _map_labels(bubbles: Sequence[Bubble]) -> list[Label]:
    """Name the largest communes, right or left of their bubble, leaving out whatever would cover another name or a large bubble."""
    taken: list[tuple[float, float, float, float]] = []
    labels: list[Label] = []
    for bubble in bubbles:
        if len(labels) == _MAP_LABELS:
            break
        width = len(bubble.area.name) * _LETTER_WIDTH
        for anchor, start in (("start", bubble.x + bubble.radius + 3), ("end", bubble.x - bubble.radius - 3 - width)):
            box = (start, bubble.y - 7, start + width, bubble.y + 7)
            covers = any(_overlap(box, _box(other)) for other in bubbles if other is not bubble and other.radius > 6)
            if start >= 0 and box[2] <= WIDTH and not covers and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                labels.append(Label(box[0] if anchor == "start" else box[2], bubble.y + 4, anchor, bubble.area.name))
                break
    return labels


def _box(bubble: Bubble) -> tuple[float, float, float, float]:
    return bubble.x - bubble.radius, bubble.y - bubble.radius, bubble.x + bubble.radius, bubble.y + bubble.radius


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
