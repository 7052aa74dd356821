"""A receipt that is longer than short_message holds comes in message_payload, and is read all the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from broadcaster.link.script import IdForm
from broadcaster.model import IdRule, State


@pytest.mark.parametrize("as_data_sm", [False, True])
def test_a_receipt_in_ucs2_with_a_long_id_is_read(desk, card, rig, tmp_path, as_data_sm):
    faults = [rig.fault("dlr_grammar", form="ucs2"), *([rig.fault("dlr_data_sm")] if as_data_sm else [])]
    mood = rig.mood(*faults, response_id=IdForm.UUID, receipt_id=IdForm.UUID)
    card = replace(card, ids=IdRule())
    job = desk.enlist(card, rig.subscribers(5), "Canh bao lua dao", "thu")

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, desk.working(carrier.card, jobs=[job], binds=1):
            await desk.until(lambda: desk.count(State.DELIVERED) == 5)

    asyncio.run(scenario())
    assert desk.orphans() == 0
