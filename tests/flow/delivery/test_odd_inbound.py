"""Whatever a carrier sends is stored and acknowledged: one odd deliver_sm must not hold up the receipts and refusals beside it."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broadcaster.files.prefixes import read_plan
from broadcaster.flow.settle import Inbox
from broadcaster.link.client import Inbound
from broadcaster.smpp.bodies import DeliverSm
from broadcaster.smpp.fields import Tag
from broadcaster.store.writer import Writer

TAGS = (
    Tag.RECEIPTED_MESSAGE_ID,
    Tag.MESSAGE_STATE,
    Tag.NETWORK_ERROR_CODE,
    Tag.USER_MESSAGE_REFERENCE,
    Tag.MESSAGE_PAYLOAD,
    Tag.SAR_MSG_REF_NUM,
    Tag.SAR_TOTAL_SEGMENTS,
    Tag.SAR_SEGMENT_SEQNUM,
)
NUMBERS = st.sampled_from([b"\x01", b"\x02", b"\xff\xff", b"\xff" * 4, b"\xff" * 9])
WORDS = st.sampled_from([b"TC", b"DK", b"\0T\0C", b"\xd8\x00\0T", b"id:1 sub:001 dlvrd:001 stat:DELIVRD err:" + b"9" * 40])
VALUES = NUMBERS | WORDS | st.binary(max_size=90)
SEGMENTS = st.fixed_dictionaries(
    {Tag.SAR_MSG_REF_NUM: NUMBERS, Tag.SAR_TOTAL_SEGMENTS: st.just(b"\x02"), Tag.SAR_SEGMENT_SEQNUM: NUMBERS}
)
BODIES = st.builds(
    DeliverSm,
    st.sampled_from(["84961000000", "0961000000", "", "TC", "\xff\0"]),
    st.just("8066"),
    WORDS | st.binary(max_size=160),
    source_ton=st.sampled_from([0, 1, 2, 5]),
    esm_class=st.sampled_from([0, 4, 0x40, 0x44]),
    data_coding=st.sampled_from([0, 3, 8, 0xF1]),
    tlvs=st.dictionaries(st.sampled_from(TAGS), VALUES),
) | st.builds(DeliverSm, st.just("84961000000"), st.just("8066"), WORDS, source_ton=st.just(1), tlvs=SEGMENTS)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(bodies=st.lists(BODIES, min_size=1, max_size=30))
def test_nothing_odd_holds_up_a_batch(field, bodies):
    said: list[tuple[int, int]] = []

    async def run() -> None:
        writer = Writer(field.store)
        inbox = Inbox(
            field.card,
            writer=writer,
            vault=field.vault,
            plan=read_plan(),
            refused=set(),
            acknowledge=lambda batch, status: said.append((len(batch), status)),
        )
        inbox.on_inbound([Inbound(1, 1, body) for body in bodies])
        # What waits is stored before the writer ends.
        await writer.close()
        await asyncio.sleep(0)

    asyncio.run(run())
    assert said == [(len(bodies), 0)]
