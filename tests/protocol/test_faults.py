"""Every fault a script can order: read from TOML, struck when its trigger says, seen on the wire, and kept apart from the others."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.errors import InvalidFileError
from broadcaster.link.client import LinkState
from broadcaster.link.faults import KINDS, Armed, Faults, Occasion, fault
from broadcaster.link.temperament import Temperament, read_temperament
from broadcaster.smpp import DataSm, Tag, content, parse_receipt

SIMULATED = Path(__file__).parents[2] / "carriers" / "simulated"
NAMED = frozenset(
    {
        *("delay_resp", "drop_resp", "reorder_resp", "dup_resp", "wrong_seq", "wrong_type", "empty_id", "id_format", "id_reuse"),
        *("dlr_before_resp", "dlr_other_bind", "dlr_dup", "dlr_late", "dlr_missing", "dlr_first_part_only", "dlr_intermediate"),
        *("dlr_as_mo", "dlr_data_sm", "dlr_grammar", "mo_storm", "throttle", "queue_full", "syserr", "invdst", "vendor_status"),
        *("generic_nack", "unbind_now", "rst_after", "fin_after", "accept_then_silence", "stop_reading", "half_open", "byte_drip"),
        *("coalesce", "bad_length", "mutate_pdu", "bind_error", "bind_silence", "pre_bind_pdu", "outbind", "restart"),
        *("enquire_flood", "no_enquire_resp", "tls_bad", "clock_skew", "dedup_check", "umr_echo"),
    }
)


def test_every_fault_of_the_plan_can_be_ordered():
    assert set(KINDS) == NAMED
    assert len(NAMED) == 47


def written(tmp_path, text):
    path = tmp_path / "kich-ban.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_with_its_defaults_and_with_every_key(kind, tmp_path):
    defaults = KINDS[kind].keys
    plain = read_temperament(written(tmp_path, f'[[fault]]\nkind = "{kind}"\n')).faults
    assert plain == (fault(kind),)
    assert dict(plain[0].values) == {key: default for key, (_, default) in defaults.items()}
    if KINDS[kind].occasion is Occasion.RUN:
        return
    triggers = "share = 0.5\nat = [1, 3]\nafter_n = 2\nfrom_s = 1\nuntil_s = 9\nevery_s = 2\ntimes = 4\n"
    (full,) = read_temperament(written(tmp_path, f'[[fault]]\nkind = "{kind}"\n{triggers}')).faults
    assert dataclasses.astuple(full.trigger) == (0.5, (1, 3), 2, 1.0, 9.0, 2.0, 4)


def test_all_problems_of_all_faults_are_told_at_once_with_their_lines(tmp_path):
    text = """seed = "x"
[[fault]]
kind = "drop_resp"
share = 2
tps = 1

[[fault]]
kind = "melt_down"

[[fault]]
share = 0.5

[[fault]]
kind = "vendor_status"
status = 0
at = [0]
[[fault]]
kind = "tls_bad"
form = "rotten"
share = 0.5

[[fault]]
kind = "delay_resp"
ms = [9, 1]
from_s = 5
until_s = 5

[[fault]]
kind = "syserr"
from_s = 5
until_s = 5
"""
    with pytest.raises(InvalidFileError) as caught:
        read_temperament(written(tmp_path, text))
    assert {(problem.key, problem.line) for problem in caught.value.problems} == {
        ("seed", 1),
        ("fault[1].share", 4),
        ("fault[1].tps", 5),
        ("fault[2].kind", 8),
        ("fault[3].kind", 10),
        ("fault[4].status", 15),
        ("fault[4].at", 16),
        ("fault[5].form", 19),
        ("fault[5].share", 20),
        ("fault[6].ms", 24),
        ("fault[7].until_s", 31),
    }


@pytest.mark.parametrize("text", ["fault = 1", '[fault]\nkind = "syserr"', "fault = [1, 2]"])
def test_faults_that_are_no_tables_are_a_problem(text, tmp_path):
    with pytest.raises(InvalidFileError) as caught:
        read_temperament(written(tmp_path, text))
    assert [problem.key for problem in caught.value.problems] == ["fault"]


def strikes(count, seconds_between=1.0, **keys):
    armed = Armed(fault("syserr", **keys), 1, 0)
    return [at for at in range(1, count + 1) if armed.strikes((at - 1) * seconds_between)]


def test_triggers_say_when():
    assert strikes(5) == [1, 2, 3, 4, 5]
    assert strikes(9, at=[2, 7]) == [2, 7]
    assert strikes(9, at=3) == [3]
    assert strikes(9, after_n=6) == [7, 8, 9]
    assert strikes(9, times=2) == [1, 2]
    assert strikes(9, from_s=3, until_s=6) == [4, 5, 6]
    assert strikes(12, every_s=4) == [1, 5, 9]
    assert strikes(12, every_s=4, after_n=2, times=2) == [3, 5]
    assert strikes(12, from_s=2, every_s=4, until_s=9) == [3, 7]
    assert 250 < len(strikes(1000, share=0.3)) < 350
    assert strikes(1000, share=0.3) == strikes(1000, share=0.3)
    assert len(strikes(1000, share=0.3, times=7)) == 7
    assert strikes(9, share=0.0) == []


@given(st.integers(0, 2**32), st.floats(0.05, 0.95))
def test_one_faults_chances_are_not_changed_by_another(seed, share):
    alone = Faults([fault("syserr", share=share)], seed, 0.0)
    beside = Faults([fault("syserr", share=share), fault("invdst", share=0.5)], seed, 0.0)
    for at in range(50):
        struck = [each.kind for each in beside.strike(Occasion.SUBMIT, float(at))]
        assert ("syserr" in struck) is bool(alone.strike(Occasion.SUBMIT, float(at)))


def test_faults_of_a_link_strike_by_the_clock_when_only_time_orders_them():
    once = Faults([fault("unbind_now", from_s=5)], 1, 100.0)
    assert once.by_clock
    assert not once.has(Occasion.LINK)
    assert [len(once.strike_by_clock(100.0 + at)) for at in (0, 4.9, 5.0, 5.1, 50)] == [0, 0, 1, 0, 0]
    again = Faults([fault("enquire_flood", every_s=10)], 1, 0.0)
    assert [len(again.strike_by_clock(float(at))) for at in (0, 1, 9, 10, 19, 20)] == [1, 0, 0, 1, 0, 1]
    counted = Faults([fault("unbind_now", from_s=5, at=3)], 1, 0.0)
    assert not counted.by_clock
    assert counted.has(Occasion.LINK)


# What each fault looks like from the other end.


async def talk(rig, card, mood, ledger, count, until, *, numbers=None, **options):
    async with rig.carrier(card, mood, ledger) as carrier, rig.sender(carrier.card, **options) as sender:
        sender.submit(numbers or rig.numbers(count))
        await sender.until(lambda: until(sender))
        sender.seen = Counter(state for state, _ in sender.states)
    return sender, carrier


def settled(count):
    return lambda sender: len(sender.answers) + len(sender.unanswered) == count


@pytest.mark.parametrize(
    ("kind", "keys", "status"),
    [
        ("throttle", {}, 0x58),
        ("queue_full", {"per": "all"}, 0x14),
        ("syserr", {}, 0x08),
        ("invdst", {}, 0x0B),
        ("vendor_status", {"status": 0x0444}, 0x0444),
        ("generic_nack", {"status": 0x45}, 0x45),
    ],
)
def test_refusals_are_told_and_on_the_ledger(card, rig, tmp_path, kind, keys, status):
    mood = rig.mood(rig.fault(kind, at=[3, 4], **keys))
    sender, carrier = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 10, settled(10)))
    refused = {number for number, (each, _) in sender.answers.items() if each == status}
    assert refused == set(rig.numbers(10)[2:4])
    assert {row.dst for row in rig.rows(carrier.ledger, "submit") if row.status == status and row.id is None} == refused
    assert {row.dst for row in rig.rows(carrier.ledger, "receipt")} == set(rig.numbers(10)) - refused


def test_a_rate_can_be_a_fault_for_a_time(card, rig, tmp_path):
    mood = rig.mood(rig.fault("throttle", tps=20, until_s=3600))
    sender, _ = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 50, settled(50)))
    assert Counter(status for status, _ in sender.answers.values())[0] >= 20
    assert Counter(status for status, _ in sender.answers.values())[0x58] >= 5


def test_the_same_text_to_the_same_number_can_be_refused(card, rig, tmp_path):
    mood = rig.mood(rig.fault("dedup_check", status=0x0401))
    numbers = rig.numbers(5)

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            sender.submit(numbers)
            await sender.until(lambda: len(sender.answers) == 5)
            first = dict(sender.answers)
            sender.answers.clear()
            sender.submit(numbers)
            await sender.until(lambda: len(sender.answers) == 5)
            return first, sender.answers

    first, second = asyncio.run(scenario())
    assert {status for status, _ in first.values()} == {0}
    assert {status for status, _ in second.values()} == {0x0401}


@pytest.mark.parametrize("form", ["off", "reject", None])
def test_a_reference_of_ours_may_come_back_or_not_or_be_refused(card, rig, tmp_path, form):
    mood = rig.mood(*([] if form is None else [rig.fault("umr_echo", form=form)]))

    async def scenario():
        async with rig.carrier(card, mood, tmp_path / "so.jsonl") as carrier, rig.sender(carrier.card) as sender:
            await sender.until(lambda: sender.client.bound)
            sender.client.submit(rig.template, b"84900000001", "with", reference=77)
            sender.client.flush()
            await sender.until(lambda: sender.answers and (form == "reject" or sender.inbound))
            return sender

    sender = asyncio.run(scenario())
    assert sender.answers["with"][0] == (0xC1 if form == "reject" else 0)
    if form != "reject":
        assert (Tag.USER_MESSAGE_REFERENCE in sender.inbound[0].body.tlvs) is (form is None)


@pytest.mark.parametrize(
    ("form", "spelt"),
    [("hex", r"[0-9a-f]+"), ("upper", r"[0-9A-F]+"), ("padded", r"0\d{19}"), ("uuid", r"[0-9a-f-]{36}"), ("long", r"\d{70}")],
)
def test_ids_can_be_spelt_otherwise_in_the_response(card, rig, tmp_path, form, spelt):
    mood = rig.mood(rig.fault("id_format", form=form))
    sender, carrier = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 5, settled(5)))
    ids = [message_id for _, message_id in sender.answers.values()]
    assert all(re.fullmatch(spelt, message_id) for message_id in ids)
    assert ids == [row.id for row in rig.rows(carrier.ledger, "submit")]


def test_an_id_without_its_end_is_none(card, rig, tmp_path):
    mood = rig.mood(rig.fault("id_format", form="no_nul"))
    sender, _ = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 5, settled(5)))
    assert set(sender.answers.values()) == {(0, None)}


@pytest.mark.parametrize("state", ["enroute", "accepted", "unknown", "scheduled"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_intermediate_receipts_come_before_or_after(card, rig, tmp_path, state, when):
    mood = rig.mood(rig.fault("dlr_intermediate", state=state, when=when))
    sender, _ = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 5, lambda sender: len(sender.inbound) == 10))
    states = Counter(parse_receipt(inbound.body).state.value for inbound in sender.inbound)
    assert states == {"delivered": 5, state: 5}


def test_a_receipt_may_look_like_a_message_or_come_by_data_sm(card, rig, tmp_path):
    mood = rig.mood(rig.fault("dlr_as_mo", at=[1, 2]), rig.fault("dlr_data_sm", at=[2, 3]))
    sender, carrier = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 4, lambda sender: len(sender.inbound) == 4))
    bodies = {inbound.body.source: inbound.body for inbound in sender.inbound}
    kinds = [(type(bodies[number]) is DataSm, bodies[number].esm_class) for number in rig.numbers(4)]
    assert kinds == [(False, 0), (True, 0), (True, 4), (False, 4)]
    assert all(content(body).startswith("id:") for body in bodies.values())
    assert carrier.totals.acknowledged == 4


def test_a_carriers_clock_may_be_wrong(card, rig, tmp_path):
    mood = rig.mood(rig.fault("clock_skew", s=-86_400 * 3, at=1))
    sender, _ = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 2, lambda sender: len(sender.inbound) == 2))
    skewed, right = (parse_receipt(inbound.body) for inbound in sorted(sender.inbound, key=lambda each: each.body.source))
    assert skewed.done_date < right.submit_date


def test_receipts_may_be_missing_or_days_late(card, rig, tmp_path):
    mood = rig.mood(rig.fault("dlr_missing", at=[1, 2]), rig.fault("dlr_late", at=3, after_s=86_400))
    _, carrier = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 6, lambda sender: len(sender.inbound) == 3))
    rows = rig.rows(carrier.ledger, "receipt")
    assert {row.dst for row in rows if row.acked} == set(rig.numbers(6)[3:])
    assert {row.dst for row in rows if not row.acked} == {rig.numbers(6)[2]}


def test_a_storm_can_begin_by_the_clock(card, rig, tmp_path):
    mood = rig.mood(rig.fault("mo_storm", from_s=0.05, count=300, text="Từ chối"))
    sender, carrier = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 0, lambda sender: len(sender.inbound) == 300))
    assert {content(inbound.body) for inbound in sender.inbound} == {"Từ chối"}
    assert carrier.totals.replies == 300


def test_an_outage_can_last(card, rig, tmp_path):
    mood = rig.mood(rig.fault("restart", at=5, down_s=0.2))
    sender, _ = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 200, settled(200)))
    assert sender.seen[LinkState.LOST] >= 3
    assert sender.seen[LinkState.BOUND] == 2


def test_a_bad_length_ends_the_link_at_the_client(card, rig, tmp_path):
    mood = rig.mood(rig.fault("bad_length", at=30, value=0x48545450))
    sender, _ = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 200, settled(200)))
    assert sender.seen[LinkState.BOUND] == 2


def test_reading_can_stop_for_a_while(card, rig, tmp_path):
    mood = rig.mood(rig.fault("stop_reading", at=10, for_s=0.1))
    sender, _ = asyncio.run(talk(rig, card, mood, tmp_path / "so.jsonl", 100, settled(100)))
    assert sender.unanswered == {}
    assert sender.seen[LinkState.LOST] == 0


# Together.


DEADLY = {"accept_then_silence", "half_open", "stop_reading", "bind_silence", "no_enquire_resp", "tls_bad", "mutate_pdu", "byte_drip"}
HARSH = {"wrong_type", "wrong_seq", "bad_length", "unbind_now", "rst_after", "fin_after", "restart", "drop_resp", "dlr_late"}
SHARES = dict.fromkeys(HARSH, 0.002)


@pytest.mark.parametrize("seed", range(6))
def test_all_faults_together_keep_every_account(card, rig, tmp_path, seed):
    """Whatever strikes: each message is settled exactly once, what was answered is on the ledger, and nothing is sent twice."""
    kinds = sorted(set(KINDS) - DEADLY)
    faults = [rig.fault(kind, share=SHARES.get(kind, 0.02), times=20) for kind in kinds if KINDS[kind].occasion is Occasion.SUBMIT]
    faults += [rig.fault(kind, share=0.004, times=3) for kind in kinds if KINDS[kind].occasion is Occasion.LINK]
    faults += [rig.fault("bind_error", share=0.2, status=0x0D), rig.fault("pre_bind_pdu", share=0.5), rig.fault("outbind", share=0.5)]
    faults += [rig.fault("coalesce", share=0.05, ms=2), rig.fault("mutate_pdu", share=0.02), rig.fault("byte_drip", times=2, ms=0.1)]
    mood = rig.mood(*faults, seed=seed, reply_share=0.05)
    quick = dataclasses.replace(card, response_timeout_s=0.3)
    sender, carrier = asyncio.run(talk(rig, quick, mood, tmp_path / "so.jsonl", 400, settled(400)))
    assert not sender.answers.keys() & sender.unanswered.keys()
    rows = {row.dst: row for row in rig.rows(carrier.ledger, "submit")}
    assert len(rows) == len(rig.rows(carrier.ledger, "submit"))
    assert rows.keys() >= sender.answers.keys()
    assert all(rows[number].status == status for number, (status, _) in sender.answers.items())
    withheld = {dst for dst, row in rows.items() if not row.answered}
    assert withheld <= sender.unanswered.keys()


def test_the_same_seed_brings_the_same_decisions(card, rig, tmp_path):
    faults = [rig.fault(kind, share=0.1) for kind in ("syserr", "empty_id", "dlr_dup", "dlr_intermediate", "drop_resp")]
    quick = dataclasses.replace(card, response_timeout_s=0.5, window=1000)

    def once(name):
        mood = rig.mood(*faults, seed=8)
        _, carrier = asyncio.run(talk(rig, quick, mood, tmp_path / name, 100, lambda sender: len(sender.answers) > 60))
        return [(row.dst, row.status, row.answered) for row in rig.rows(carrier.ledger, "submit")]

    assert once("1.jsonl") == once("2.jsonl")


def test_a_calm_script_has_no_faults():
    assert Temperament().faults == ()
    tame = [path for path in SIMULATED.glob("*.toml") if not path.name.startswith("wild-")]
    assert len(tame) == 5
    assert all(read_temperament(path).faults == () for path in tame)


WILD = sorted(path.name for path in SIMULATED.glob("wild-*.toml"))


def test_the_wild_scripts_order_every_fault_between_them():
    ordered = {each.kind for name in WILD for each in read_temperament(SIMULATED / name).faults}
    assert ordered == set(KINDS)
