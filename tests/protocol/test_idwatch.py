"""F02 and F06 on a running line: what a wrong card leaves without a message is noticed, and the right words are proposed."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.flow.idwatch import MORE_THAN, IdWatch
from broadcaster.link.script import IdForm
from broadcaster.model import IdRule, State
from broadcaster.rules.dialect import other_rules, stored_id
from broadcaster.smpp import DeliverSm, Tag, parse_receipt
from broadcaster.smpp.receipt import normal_id
from broadcaster.store import messages

RULES = [IdRule(response, receipt) for response in ("raw", "hex") for receipt in ("raw", "hex")]
WRONG = {
    "hexadecimal answers, decimal receipts": (IdForm.HEX, IdForm.DECIMAL, IdRule("raw", "raw"), ("hex", "dec")),
    "decimal answers, hexadecimal receipts": (IdForm.DECIMAL, IdForm.UPPER, IdRule("dec", "dec"), ("dec", "hex")),
    "both the other way round": (IdForm.HEX, IdForm.DECIMAL, IdRule("dec", "hex"), ("hex", "dec")),
    "both decimal, read as hexadecimal once": (IdForm.DECIMAL, IdForm.PADDED, IdRule("dec", "hex"), ("dec", "dec")),
    "both alike, read as different": (IdForm.HEX, IdForm.UPPER, IdRule("hex", "dec"), ("raw", "raw")),
    "padded answers, hexadecimal receipts": (IdForm.PADDED, IdForm.HEX, IdRule("hex", "hex"), ("dec", "hex")),
}


def judged(desk, card, watch=None):
    with desk.store.read() as connection:
        return (watch or IdWatch(card)).judge(connection)


def warned(desk, rig, card, mood, ledger, people):
    job = desk.enlist(card, people)

    async def scenario():
        async with rig.carrier(card, mood, ledger) as carrier, desk.working(carrier.card, jobs=[job]):
            await desk.until(lambda: len(desk.receipts()) == len(desk.submissions()) == len(people))

    asyncio.run(scenario())
    with desk.store.write() as connection:
        messages.fold_all(connection)


@pytest.mark.parametrize("case", WRONG)
def test_f02_a_wrong_rule_attributes_nothing_and_the_right_one_is_proposed(desk, card, rig, tmp_path, case):
    response, in_receipt, believed, proposed = WRONG[case]
    card = dataclasses.replace(card, ids=believed)
    mood = rig.mood(response_id=response, receipt_id=in_receipt, first_number=0x0A8B9E19)
    warned(desk, rig, card, mood, tmp_path / "so.jsonl", rig.subscribers(60))
    assert desk.messages() == {State.ACCEPTED: 60}
    watch = IdWatch(card)
    with structlog.testing.capture_logs() as logs:
        found = judged(desk, card, watch)
        judged(desk, card, watch)
    assert found is not None
    assert (found.rule.response, found.rule.receipt) == proposed
    assert (found.matched, found.believed_matched, found.seen) == (60, 0, 60)
    assert [(line["event"], line["log_level"], line["carrier"], line["count"]) for line in logs] == [("id-rule", "error", "thu", 60)]
    right = [normal_id(row.smsc_id, "raw") for row in desk.submissions()]
    assert len(set(right)) == 60


def test_f02_the_right_rule_raises_nothing(desk, card, rig, tmp_path):
    card = dataclasses.replace(card, ids=IdRule("hex", "dec"))
    mood = rig.mood(response_id=IdForm.HEX, receipt_id=IdForm.DECIMAL)
    warned(desk, rig, card, mood, tmp_path / "so.jsonl", rig.subscribers(60))
    assert judged(desk, card) is None


def test_f02_twenty_orphans_are_not_enough(desk, card, rig, tmp_path):
    card = dataclasses.replace(card, ids=IdRule("raw", "raw"))
    mood = rig.mood(response_id=IdForm.HEX, receipt_id=IdForm.DECIMAL, first_number=0x0A8B9E19)
    warned(desk, rig, card, mood, tmp_path / "so.jsonl", rig.subscribers(MORE_THAN))
    assert desk.orphans() == MORE_THAN
    assert judged(desk, card) is None


def test_f02_receipts_of_other_numbers_under_the_same_ids_are_no_evidence(desk, card, rig, tmp_path):
    """Under another rule every id is known, but it was given to somebody else."""
    card = dataclasses.replace(card, ids=IdRule("raw", "raw"))
    mood = rig.mood(response_id=IdForm.HEX, receipt_id=IdForm.DECIMAL, first_number=0x0A8B9E19)
    warned(desk, rig, card, mood, tmp_path / "so.jsonl", rig.subscribers(60))
    with desk.store.write() as connection:
        connection.exec_driver_sql("UPDATE receipt SET token = (SELECT token FROM message ORDER BY id LIMIT 1)")
    assert judged(desk, card) is None


@given(st.integers(1, 10**18), st.sampled_from(RULES), st.sampled_from(["{:d}", "{:x}", "{:X}", "{:016x}", "{:020d}", "id-{:d}"]))
def test_an_id_read_by_the_right_rule_is_the_one_that_was_stored(number, believed, spelt):
    """Whatever the carrier's true rule, `stored_id` finds a message's id from the receipt's; both are known as stored only."""
    for truth in other_rules(believed):
        response, receipt = spelt.format(number), spelt.format(number)
        if (truth.response, truth.receipt) == ("hex", "raw"):
            response, receipt = f"{number:x}", f"{number:d}"
        elif (truth.response, truth.receipt) == ("raw", "hex"):
            response, receipt = f"{number:d}", f"{number:X}"
        kept, came = normal_id(response, believed.response), normal_id(receipt, believed.receipt)
        assert stored_id(came, believed, truth) == kept


@pytest.mark.parametrize(
    ("tlv", "text", "form", "conflicts"),
    [("12AB", "12ab", "raw", 0), ("255", "ff", "raw", 1), ("0255", "255", "dec", 0), ("00ff", "FF", "hex", 0), ("1", "2", "raw", 1)],
)
def test_f06_two_ids_in_one_receipt_are_counted_when_they_differ(card, tlv, text, form, conflicts):
    watch = IdWatch(dataclasses.replace(card, ids=IdRule("raw", form)))
    octets = f"id:{text} sub:001 dlvrd:001 submit date:2603120900 done date:2603120901 stat:DELIVRD err:000 text:".encode()
    body = DeliverSm("84905000000", "CANHBAO", octets, 1, 1, esm_class=0x04, tlvs={Tag.RECEIPTED_MESSAGE_ID: tlv.encode() + b"\0"})
    found = parse_receipt(body)
    assert found is not None
    assert found.message_id == tlv
    assert watch.conflicts(found) == conflicts
