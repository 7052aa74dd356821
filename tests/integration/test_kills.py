"""The service as a real process, killed at random instants and at every named point: nobody is lost, nobody gets it twice."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest

from broadcaster.model import State
from tests.integration.failpoints import PLACES

WHOLE = os.environ.get("BROADCASTER_PROVE") == "1"
WINDOW = 5
QUIET = "seed = 1\n[receipt]\ndelay_ms = [0, 5]\n"
CROSS = (
    "seed = 3\n[receipt]\ndelay_ms = [0, 5]\nbefore_response_share = 0.3\nduplicate_share = 0.2\n[disconnect]\nafter = 120\n"
    "[reply]\nshare = 0.1\ndelay_ms = [0, 5]\n[refuse]\nshare = 0.02\nstatus = 0x0B\n"
)
DISCONNECTIONS = 12
"""More than the carrier above breaks off in one of these campaigns."""

POINTS = [f"{when}:{place}" for place in PLACES for when in ("before", "after")]
NTHS = (1, 4, 16) if WHOLE else (1,)

pytestmark = pytest.mark.slow


def finish(rig, kills: int) -> None:
    """Let the service run to its end, and hold every record against what the carriers say they got."""
    service = rig.serve()
    rig.wait_for(lambda: rig.state() == "finished", service)
    rig.wait_for(lambda: rig.count(State.ACCEPTED) == 0, service)
    assert rig.stop(service) == 0
    checks = rig.verify()
    assert [(check.id, [detail.en for detail in check.details]) for check in checks if not check.ok] == []
    received = [row.dst for row in rig.submits() if row.status == 0]
    assert len(received) == len(set(received))
    most_uncertain = (kills * len(rig.ledgers) + DISCONNECTIONS) * 2 * WINDOW
    assert rig.count(State.UNCERTAIN) <= most_uncertain
    ends = (State.DELIVERED, State.REFUSED, State.UNCERTAIN, State.SUPPRESSED)
    assert sum(map(rig.count, ends)) == rig.status().campaign.recipients


@pytest.mark.timeout(1800)
def test_killed_at_random_instants(make_rig):
    kills = 80 if WHOLE else 20
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    rig = make_rig({"viettel": QUIET, "mobifone": CROSS}, 60 * kills, tps=400, window=WINDOW)
    for _ in range(kills):
        before = rig.taken()
        service = rig.serve()
        rig.wait_for(lambda before=before: rig.taken() > before, service)
        threading.Event().wait(chance.uniform(0, 0.15))
        service.kill()
        service.wait()
    finish(rig, kills)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("nth", NTHS)
@pytest.mark.parametrize("half", [0, 1], ids=["first half", "second half"])
def test_killed_at_every_named_point(make_rig, half, nth):
    """What can only be reached before the campaign starts comes first; each start of the service dies at the next point."""
    middle = len(POINTS) // 2
    points = POINTS[:middle] if half == 0 else POINTS[middle:]
    rig = make_rig({"viettel": QUIET, "mobifone": CROSS}, 40 * len(points) * (1 + nth // 4), tps=2000, window=WINDOW)
    for point in points:
        early = any(word in point for word in ("epoch", "recover", "enlist", "campaign"))
        service = rig.serve_until(point, 1 if early else nth)
        rig.wait_for(lambda service=service: service.poll() is not None)
        assert service.returncode == -signal.SIGKILL, point
    finish(rig, len(points))
