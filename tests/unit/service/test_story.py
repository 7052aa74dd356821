"""The log tells each quarter of a campaign once, and what became of everybody at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import delete, insert
from structlog.testing import capture_logs

from broadcaster.model import CampaignId, CampaignState, CarrierCode, State
from broadcaster.service.logs import ALLOWED
from broadcaster.service.story import Story
from broadcaster.store.campaigns import change_campaign, insert_campaign, insert_lane
from broadcaster.store.engine import Store
from broadcaster.store.schema import tally


class Campaign:
    """One campaign with two lanes, whose totals are what a test says."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.story = Story()
        values = {"content_json": "{}", "digest": "", "recipients": 1, "submitted_by": "", "submitted_ms": 0, "roster_ids": []}
        with store.write() as connection:
            self.id: CampaignId = insert_campaign(connection, name="thu", **values)
            self.lanes = [insert_lane(connection, self.id, CarrierCode(code), "", 1) for code in ("viettel", "gmobile")]

    def tell(self, state: CampaignState, counts: Mapping[State, int]) -> list[dict[str, Any]]:
        """Stand like this and return what is logged."""
        rows = [
            {"lane_id": self.lanes[at % 2], "area_code": "21025", "state": int(kept), "exclusion": 0, "messages": messages}
            for at, (kept, messages) in enumerate(counts.items())
        ]
        with self.store.write() as connection:
            change_campaign(connection, self.id, state)
            connection.execute(delete(tally))
            connection.execute(insert(tally), rows)
        with capture_logs() as lines, self.store.read() as connection:
            self.story.tell(connection)
            self.story.tell(connection)
        return [{key: line[key] for key in line if key not in {"log_level", "campaign"}} for line in lines]


@pytest.fixture
def campaign(installed_store: Store) -> Campaign:
    return Campaign(installed_store)


def test_quarters_and_the_end_are_told_once(campaign: Campaign) -> None:
    running = CampaignState.RUNNING
    assert campaign.tell(CampaignState.SCHEDULED, {State.READY: 100}) == []
    assert campaign.tell(running, {State.READY: 76, State.ACCEPTED: 24, State.EXCLUDED: 500}) == []
    quarter = campaign.tell(running, {State.READY: 70, State.RETRY: 5, State.ACCEPTED: 25})
    assert quarter == [{"event": "progress", "percent": 25, "messages": 100, "waiting": 75, "accepted": 25}]
    assert campaign.tell(CampaignState.PAUSED, {State.READY: 60, State.ACCEPTED: 40}) == []
    (most,) = campaign.tell(running, {State.READY: 10, State.DELIVERED: 80, State.UNDELIVERABLE: 10})
    assert (most["percent"], most["delivered"], most["failed"]) == (75, 80, 10)
    ended = {State.DELIVERED: 80, State.UNDELIVERABLE: 10, State.REFUSED: 3, State.UNCERTAIN: 2, State.SUPPRESSED: 1, State.LAPSED: 4}
    end = {"event": "totals", "state": "finished", "messages": 100, "delivered": 80, "failed": 10, "refused": 3, "uncertain": 2}
    assert campaign.tell(CampaignState.FINISHED, ended) == [end | {"suppressed": 1, "given_up": 4}]
    assert campaign.tell(CampaignState.FINISHED, ended) == []


def test_every_word_may_be_logged(campaign: Campaign) -> None:
    campaign.tell(CampaignState.RUNNING, {State.READY: 1})
    (line,) = campaign.tell(CampaignState.CANCELLED, {state: 1 for state in State if state is not State.EXCLUDED})
    assert line.keys() <= ALLOWED
    assert sum(count for word, count in line.items() if isinstance(count, int) and word != "messages") == line["messages"]
