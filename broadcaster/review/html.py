"""The review as one page: opens offline in any browser, needs nothing from elsewhere, prints on A4 in black and white."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from itertools import pairwise

from jinja2 import Environment, PackageLoader, StrictUndefined

from broadcaster.lang import say, spoken
from broadcaster.model import Environment as Realm
from broadcaster.model import Exclusion
from broadcaster.review import charts, words
from broadcaster.review.data import Curve, CurvePoint, Review
from broadcaster.rules.lifecycle import STATE_NAMES
from broadcaster.rules.order import ALL_DAY
from broadcaster.rules.tally import FAILURES

CURVE_TABLE_ROWS = 20


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("broadcaster.review", "static"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"t": say, "words": words, "number": words.number, "share": words.share, "moment": words.moment}
    return made


def render(review: Review) -> str:
    """Return the page, in the current language."""
    script = resources.files("broadcaster.review").joinpath("static/review.js").read_text("utf-8")
    return (
        _environment()
        .get_template("review.html")
        .render(
            review=review,
            campaign=review.campaign,
            totals=review.totals,
            names=words.CarrierNames(review),
            lang=spoken(),
            rehearsal=review.campaign.environment is Realm.REHEARSAL,
            all_day=review.campaign.window == ALL_DAY,
            state=words.said(STATE_NAMES[review.campaign.state]),
            funnel=charts.funnel(review),
            bar_width=charts.BAR_WIDTH,
            curve=charts.curve(review.curve),
            curve_rows=curve_rows(review.curve),
            curve_width=charts.WIDTH,
            curve_height=charts.CURVE_HEIGHT,
            map=charts.province(review.areas),
            share_classes=_share_classes(),
            exclusions=list(Exclusion),
            failures=FAILURES,
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def curve_rows(curve: Curve) -> list[CurvePoint]:
    """Return about `CURVE_TABLE_ROWS` points of the curve, evenly spread, the last always among them."""
    every = -(-len(curve.points) // CURVE_TABLE_ROWS) or 1
    return list(curve.points[::-1][::every])[::-1]


def _share_classes() -> list[str]:
    bounds = charts.SHARE_CLASSES
    below = say(f"dưới {bounds[0]}\u00a0%", f"below {bounds[0]}\u00a0%")
    between = [f"{low}–{high}\u00a0%" for low, high in pairwise(bounds)]
    return [below, *between, say(f"từ {bounds[-1]}\u00a0%", f"{bounds[-1]}\u00a0% and more")]
