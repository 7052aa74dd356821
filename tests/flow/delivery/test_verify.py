"""`verify` passes what is whole, and names what is not: one corruption for each thing it promises to see."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from broadcaster.errors import InvalidFileError
from broadcaster.link.client import Inbound
from broadcaster.model import State
from broadcaster.rules.wire import cut, part_reference
from broadcaster.smpp.bodies import DeliverSm

LONG = "CANH BAO LUA DAO " * 26  # three parts
SILENT, GONE = None, 0x0B


class Carrier:
    """The carrier's own side of the story, as a ledger of lines that can be tampered with."""

    def __init__(self, path):
        self.path = path
        self.lines = []
        self.shas = []
        self.tie = lambda number: 1

    def submit(self, moment_ns, number, part, status, smsc_id):
        row = {
            "t": moment_ns,
            "e": "submit",
            "session": 1,
            "seq": 1,
            "src": "SKHCN-QNG",
            "dst": str(number),
            "part": part,
            "parts": 3,
        }
        self.lines.append(row | {"ref": self.tie(number), "sha": self.shas[part - 1], "status": status, "id": smsc_id})

    def receipt(self, moment_ns, number, smsc_id, stat, *, acked=True):
        self.lines.append({"t": moment_ns, "e": "receipt", "id": smsc_id, "dst": str(number), "stat": stat, "acked": acked})

    def reply(self, moment_ns, number, words, *, acked=True):
        self.lines.append({"t": moment_ns, "e": "mo", "dst": str(number), "text": words, "acked": acked})

    def lose_a_receipt(self):
        accepted = self.find("submit", dst="84961000009", part=1)
        self.receipt(1, 84_961_000_009, accepted["id"], "DELIVRD")

    def find(self, event, **values):
        return next(row for row in self.lines if row["e"] == event and all(row[key] == value for key, value in values.items()))

    def ledgers(self):
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.lines))
        return {"viettel": self.path}


@pytest.fixture(scope="module")
def played():
    """What the first test on each engine made of the campaign: a copy of the database, the ledger's lines, the lane, the card."""
    return {}


@pytest.fixture
def carrier(field, tmp_path, make_store, keep, engine_name, played):
    """A finished campaign to ten people: one refused by the carrier, one part uncertain, one person refusing in the middle."""
    carrier = Carrier(tmp_path / "viettel.jsonl")
    if engine_name in played:
        before = played[engine_name]
        field.store = make_store("played", like=before["database"])
        field.lane, field.card, carrier.shas = before["lane"], before["card"], before["shas"]
        carrier.lines = [dict(row) for row in before["lines"]]
        return carrier
    play(field, carrier)
    lines = [dict(row) for row in carrier.lines]
    played[engine_name] = {
        "database": keep(field.store),
        "lane": field.lane,
        "card": field.card,
        "shas": carrier.shas,
        "lines": lines,
    }
    return carrier


def play(field, carrier):
    field.warn(10, text_of_body=LONG, card={"window": 3})
    carrier.shas = [hashlib.sha256(part.encode()).hexdigest() for part in cut(LONG, field.card).parts]
    carrier.tie = lambda number: part_reference(field.vault.token(number), field.lane.campaign_id, field.card)

    def number(flight):
        return int(flight.message.destination)

    async def scene(stage):
        inbox = stage.inbox(lambda batch, status: None)
        count = 0
        while stage.link.flights:
            moment_ns = int(stage.clock.wall.timestamp()) * 1_000_000_000
            flight = stage.link.flights[0]
            position = flight.message.id & 0xFFFFFFFF
            count += 1
            if position == 2:
                carrier.submit(moment_ns, number(flight), flight.part, GONE, None)
                stage.link.answer(GONE)
            elif (position, flight.part) == (3, 2):
                carrier.submit(moment_ns, number(flight), 2, 0, "lost")
                carrier.receipt(moment_ns, number(flight), "lost", "DELIVRD")
                inbox.on_inbound([receipt_of(number(flight), "lost")])
                stage.link.flights.popleft()
                stage.sender.on_unanswered([flight], "silent")
            else:
                smsc_id = f"id{stage.link._next_id + 1}"
                carrier.submit(moment_ns, number(flight), flight.part, 0, smsc_id)
                stage.link.answer(0)
                if position != 10:
                    carrier.receipt(moment_ns, number(flight), smsc_id, "DELIVRD")
                    await stage.calm()
                    inbox.on_inbound([receipt_of(number(flight), smsc_id)])
            if position == 4 and flight.part == 1:
                refusing = 84_961_000_008
                carrier.reply(moment_ns, refusing, "TC")
                inbox.on_inbound([Inbound(1, 1, DeliverSm(str(refusing), "SKHCN-QNG", b"TC", 1, 1, 5, 0))])
            stage.clock.pass_s(1.0)
            await stage.calm()
        await stage.calm()

    field.play(scene)
    field.sql("UPDATE campaign SET state = 'finished'")
    # The scene plays on its own clock; what the inbox noted of the refusal is brought onto it.
    start_ms = field.sql("SELECT started_ms FROM campaign")[0][0]
    refused_ms = next(row["t"] for row in carrier.lines if row["e"] == "mo") // 1_000_000
    assert refused_ms >= start_ms
    field.sql("UPDATE opt_out SET since_ms = :at", at=refused_ms)
    with field.store.write() as connection:
        field.auditor.record(connection, "finish", "dien-tap")
    field.card = replace(field.card, tps=20)


def receipt_of(number, smsc_id):
    line = f"id:{smsc_id} sub:001 dlvrd:001 submit date:2603121000 done date:2603121001 stat:DELIVRD err:000 text:"
    return Inbound(1, 1, DeliverSm(str(number), "SKHCN-QNG", line.encode(), 1, 1, 5, 0, 0x04))


def test_the_untouched_campaign_passes(field, carrier):
    checks = field.verify(carrier.ledgers())
    assert {check.id: [detail.en for detail in check.details] for check in checks} == {
        name: [] for name in ("I1", "I2", "I3", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I15")
    }
    states = field.states()
    assert (states[1], states[2], states[3], states[9], states[10]) == (
        State.DELIVERED,
        State.REFUSED,
        State.UNCERTAIN,
        State.SUPPRESSED,
        State.ACCEPTED,
    )
    (ledger,) = (check for check in checks if check.id == "I5")
    assert "uncertain 1 (taken by the carrier: 1)" in ledger.said.en


def first(field):
    return {"id": field.lane.first_id}


COPY = (
    "INSERT INTO submission (message_id, part, attempt, lease_id, carrier, state, status, smsc_id, sent_ns, answered_ms) "
    "SELECT message_id, part, 2, lease_id, carrier, 30, 0, 'x', sent_ns, answered_ms FROM submission WHERE "
)
"""A second attempt that the carrier took as well, for the parts that follow."""

DATABASE = {
    "a submission is gone": ("I1", "DELETE FROM submission WHERE message_id = :id AND part = 2"),
    "all submissions of a message are gone": ("I1", "DELETE FROM submission WHERE message_id = :id"),
    "a submission of nobody": ("I1", "UPDATE submission SET message_id = message_id + 500 WHERE message_id = :id"),
    "a part too many": ("I1", "UPDATE submission SET part = 4 WHERE message_id = :id AND part = 3"),
    "a message's state": ("I1", "UPDATE message SET state = 42 WHERE id = :id"),
    "a message's state, summed up alike": (
        "I1",
        "UPDATE message SET state = 42 WHERE id = :id",
        "UPDATE tally SET messages = messages - 1 WHERE state = 50",
        "INSERT INTO tally SELECT lane_id, area_code, 42, 0, 1 FROM tally WHERE state = 50",
    ),
    "a tally": ("I1", "UPDATE tally SET messages = messages + 1 WHERE state = 50"),
    "a message is gone": ("I1", "DELETE FROM message WHERE id = :id"),
    "a person twice": ("I1", "UPDATE message SET token = (SELECT token FROM message WHERE id = :id) WHERE id = :id + 4"),
    "a message left waiting": (
        "I2",
        "UPDATE message SET state = 0 WHERE id = :id",
        "UPDATE tally SET messages = messages - 1 WHERE state = 50",
        "UPDATE tally SET messages = messages + 1 WHERE state = 0",
    ),
    "a message left behind while running": (
        "I2",
        "UPDATE campaign SET state = 'running'",
        "UPDATE message SET state = 1, not_before_ms = NULL WHERE id = :id",
    ),
    "a lease left open": ("I2", "UPDATE lease SET closed_ms = NULL WHERE id = 1"),
    "two accepted attempts": (
        "I3",
        COPY + "message_id = :id AND part = 1",
    ),
    "sent again while uncertain": (
        "I3",
        COPY + "state = 20",
    ),
    "sent again on record, against the signed policy": (
        "I3",
        "UPDATE submission SET state = 1, resolved = 'released' WHERE state = 20",
        COPY + "resolved = 'released'",
        "UPDATE submission SET dup_risk = true WHERE attempt = 2",
    ),
    "an uncertain part without a reason": ("I6", "UPDATE submission SET reason = NULL WHERE state = 20"),
    "an uncertain part under no lease": ("I6", "UPDATE submission SET lease_id = 999 WHERE state = 20"),
    "a refusal that came before": ("I7", "INSERT INTO opt_out (token, since_ms) SELECT token, 1 FROM message WHERE id = :id"),
    "a refusal backdated": (
        "I7",
        (
            "INSERT INTO opt_out (token, since_ms) SELECT m.token, min(s.sent_ns) / 1000000 - 2001 FROM submission s "
            "JOIN message m ON m.id = s.message_id WHERE m.id = :id GROUP BY m.token"
        ),
    ),
    "the text of the lane": ("I8", "UPDATE lane SET body = 'CHUYEN TIEN NGAY'"),
    "a signature": ("I8", "UPDATE approval SET signature = zeroblob(64)"),
    "the content": ("I8", "UPDATE campaign SET content_json = replace(content_json, 'SKHCN-QNG', 'NGAN-HANG')"),
    "content that is none": ("I8", "UPDATE campaign SET content_json = '{}'"),
    "more recipients than signed": ("I8", "UPDATE lane SET messages = 60000"),
    "too much at once": ("I9", "UPDATE submission SET sent_ns = (SELECT min(sent_ns) FROM submission)"),
    "before the start": ("I10", "UPDATE submission SET sent_ns = sent_ns - 3600000000000 WHERE message_id = :id"),
    "after the deadline": ("I10", "UPDATE submission SET sent_ns = sent_ns + 200000000000000 WHERE message_id = :id"),
    "all receipts gone": ("I11", "DELETE FROM receipt"),
    "one receipt gone": ("I11", "DELETE FROM receipt WHERE smsc_id = 'id1'"),
    "a receipt of another state": ("I11", "UPDATE receipt SET state = 42 WHERE smsc_id = 'id1'"),
    "a receipt of another carrier": ("I11", "UPDATE receipt SET carrier = 'gmobile' WHERE smsc_id = 'id1'"),
    "the log of refusals gone": ("I11", "DELETE FROM refusal"),
    "a refusal turned round in the log": ("I11", "UPDATE refusal SET refuses = false"),
    "a refusal out of force": ("I11", "DELETE FROM opt_out"),
    "a refusal's reply gone": ("I11", "DELETE FROM reply WHERE kind = 'refuse'"),
    "an audit entry altered": ("I15", 'UPDATE audit SET detail_json = \'{"by":"x"}\' WHERE seq = 1'),
    "an audit entry gone": ("I15", "DELETE FROM audit WHERE seq = 2"),
    "the last audit entries gone": ("I15", "DELETE FROM audit WHERE seq >= (SELECT max(seq) - 1 FROM audit)"),
    "the last audit entry gone, not of this campaign": (
        "I15",
        "DELETE FROM audit WHERE action = 'service-stop'",
    ),
    "a state that nobody gave it": ("I15", "UPDATE campaign SET state = 'cancelled'"),
}


@pytest.mark.parametrize("what", DATABASE)
def test_a_changed_record_is_found(field, carrier, what):
    expected, *statements = DATABASE[what]
    with field.store.write() as connection:
        field.auditor.record(connection, "service-stop", "service")
    for statement in statements:
        field.sql(statement, **(first(field) if ":id" in statement else {}))
    assert expected in field.failing()
    assert all(check.details for check in field.verify() if not check.ok)


@pytest.mark.parametrize(("receipt_part", "holds"), [(1, True), (2, False), (0, False)])
def test_where_one_receipt_speaks_for_all_parts_the_message_stands_where_that_part_stands(field, carrier, receipt_part, holds):
    """F11."""
    field.sql("UPDATE lane SET receipt_part = :part", part=receipt_part)
    field.sql("UPDATE submission SET state = 30 WHERE message_id = :id AND part > 1", **first(field))
    assert ("I1" not in field.failing()) is holds


def test_a_refusal_within_the_grace_is_no_fault(field, carrier):
    field.sql(
        "INSERT INTO opt_out (token, since_ms) SELECT m.token, min(s.sent_ns) / 1000000 - 1999 FROM submission s "
        "JOIN message m ON m.id = s.message_id WHERE m.id = :id GROUP BY m.token",
        id=field.lane.first_id,
    )
    field.sql("INSERT INTO refusal (token, refuses, source, evidence, at_ms) SELECT token, true, 'file', '', since_ms FROM opt_out")
    assert field.failing() == set()


def test_the_order_s_own_ceiling_is_checked(field, carrier):
    stored = json.loads(field.sql("SELECT content_json FROM campaign")[0][0])
    stored["order"]["max_tps"] = {"viettel": 3}
    field.sql("UPDATE campaign SET content_json = :content", content=json.dumps(stored))
    field.sql("UPDATE submission SET sent_ns = (SELECT min(sent_ns) FROM submission) WHERE message_id = :id", id=field.lane.first_id)
    (rate,) = (check for check in field.verify() if check.id == "I9")
    assert [detail.en for detail in rate.details] == ["4 parts in one second, the order allows 3"]


def test_another_campaign_of_the_account_counts_for_its_rate(field, carrier):
    field.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25) "
        "INSERT INTO submission (message_id, part, attempt, lease_id, carrier, state, status, sent_ns, answered_ms) "
        "SELECT (CAST(77 AS bigint) << 32) + i, 1, 1, 1, 'viettel', 30, 0, (SELECT min(sent_ns) FROM submission), 0 FROM n"
    )
    assert field.failing() == {"I9"}


def change(carrier, event, change_to, **found):
    carrier.find(event, **found).update(change_to)


LEDGER = {
    "a line dropped": ("answered here", lambda carrier: carrier.lines.remove(carrier.find("submit", part=3, status=0))),
    "a refusal dropped": ("answered here", lambda carrier: carrier.lines.remove(carrier.find("submit", status=GONE))),
    "a line added": ("no record of", lambda carrier: carrier.submit(1, 84_961_000_003, 1, 0, "extra")),
    "a line for a stranger": ("no record of", lambda carrier: carrier.submit(1, 84_961_555_555, 1, 0, "extra")),
    "a line for no number": ("no record of", lambda carrier: carrier.submit(1, "abc", 1, 0, "extra")),
    "a second copy": ("no record of", lambda carrier: carrier.lines.append(dict(carrier.find("submit", part=1, status=0)))),
    "another text": ("nobody signed", lambda carrier: change(carrier, "submit", {"sha": "0" * 64}, part=1, status=0)),
    "another number": ("answered here", lambda carrier: change(carrier, "submit", {"dst": "84961999999"}, part=1, status=0)),
    "another reference": ("tied by another number", lambda carrier: change(carrier, "submit", {"ref": 9}, part=1, status=0)),
    "another id": ("answered here", lambda carrier: change(carrier, "submit", {"id": "77"}, part=1, status=0)),
    "another answer": ("answered here", lambda carrier: change(carrier, "submit", {"status": 0x45}, status=GONE)),
    "another outcome": ("show otherwise", lambda carrier: change(carrier, "receipt", {"stat": "UNDELIV"}, id="id1")),
    "a receipt that we lost": ("show otherwise", lambda carrier: carrier.lose_a_receipt()),
    "a receipt that found nobody": ("show otherwise", lambda carrier: carrier.receipt(1, 84_961_000_009, "77", "DELIVRD")),
    "a receipt under another id": ("show otherwise", lambda carrier: change(carrier, "receipt", {"id": "77"}, id="id1")),
    "a receipt of an unknown answer that we lost": (
        "show otherwise",
        lambda carrier: carrier.receipt(1, 84_961_000_002, "x9", "DELIVRD"),
    ),
    "a receipt never acknowledged": (
        "never acknowledged",
        lambda carrier: carrier.receipt(1, 84_961_000_002, "x9", "DELIVRD", acked=False),
    ),
    "a reply never acknowledged": ("never acknowledged", lambda carrier: carrier.reply(1, 84_961_000_009, "TC", acked=False)),
    "a refusal that we lost": ("not in force", lambda carrier: carrier.reply(1, 84_961_000_009, "TC")),
    "a reply that we lost": ("we do not keep", lambda carrier: carrier.reply(1, 84_961_000_009, "cam on")),
    "sent long after a refusal": (
        "had texted a refusal",
        lambda carrier: carrier.lines.insert(0, {"t": 1, "e": "mo", "dst": "84961000000", "text": "TC", "acked": True}),
    ),
}


@pytest.mark.parametrize("what", LEDGER)
def test_a_ledger_that_says_otherwise_is_found(field, carrier, what):
    expected, tamper = LEDGER[what]
    tamper(carrier)
    (ledger,) = (check for check in field.verify(carrier.ledgers()) if check.id == "I5")
    assert not ledger.ok
    assert any(expected in detail.en for detail in ledger.details), ledger.details


def test_a_refusal_withdrawn_later_need_not_be_in_force(field, carrier):
    carrier.reply(1, 84_961_000_009, "TC")
    carrier.reply(2, 84_961_000_009, "DK")
    field.sql(
        "INSERT INTO reply (carrier, token, kind, content, at_ms) SELECT carrier, token, 'other', '', at_ms FROM reply UNION ALL "
        "SELECT carrier, token, 'other', '', at_ms FROM reply"
    )
    assert field.failing(carrier.ledgers()) == set()


def test_an_uncertain_part_may_have_been_taken_or_not(field, carrier):
    carrier.lines = [row for row in carrier.lines if row.get("id") != "lost"]
    (ledger,) = (check for check in field.verify(carrier.ledgers()) if check.id == "I5")
    assert ledger.ok
    assert "uncertain 1 (taken by the carrier: 0)" in ledger.said.en


def forget_id(field, smsc_id):
    """Leave our records as they are when the carrier's answer named no id (F28): taken, and the receipt found nobody."""
    field.sql("UPDATE receipt SET matched = false WHERE smsc_id = :id", id=smsc_id)
    field.sql("UPDATE submission SET smsc_id = NULL, state = 30 WHERE smsc_id = :id", id=smsc_id)


def ledger_says(field, carrier):
    (ledger,) = (check for check in field.verify(carrier.ledgers()) if check.id == "I5")
    return " ".join(detail.en for detail in ledger.details)


def test_a_part_taken_without_an_id_is_no_difference(field, carrier):
    forget_id(field, "id1")
    assert ledger_says(field, carrier) == ""


def test_a_part_taken_without_an_id_is_in_the_ledger_and_its_receipt_in_the_inbox(field, carrier):
    forget_id(field, "id1")
    field.sql("DELETE FROM receipt WHERE smsc_id = 'id1'")
    assert ledger_says(field, carrier) == "1 acknowledged receipts that we show otherwise"
    carrier.lines.remove(carrier.find("submit", id="id1"))
    assert "1 parts answered here, not in the ledger" in ledger_says(field, carrier)


def test_a_part_taken_without_an_id_does_not_stand_for_another_answer(field, carrier):
    forget_id(field, "id1")
    carrier.find("submit", id="id1").update(status=GONE, id=None)
    assert "1 parts answered here, not in the ledger 1 parts in the ledger that we have no record of" in ledger_says(field, carrier)


def refusal_before(carrier, row):
    """Have the person of a submission refuse long before it, and their first part come after the rest of the text."""
    carrier.lines.remove(row)
    carrier.reply(row["t"], row["dst"], "TC")
    row["t"] += 3_000_000_000
    carrier.lines.append(row)


def test_a_first_part_that_follows_the_others_does_not_begin_a_message(field, carrier):
    refusal_before(carrier, carrier.find("submit", id="id1"))
    assert "had texted a refusal" not in ledger_says(field, carrier)


@pytest.mark.parametrize("change_to", [{"ref": 9}, {"status": GONE}])
def test_only_a_part_taken_of_the_same_message_lets_its_first_part_follow(field, carrier, change_to):
    first_part = carrier.find("submit", id="id1")
    refusal_before(carrier, first_part)
    for part in (2, 3):
        carrier.find("submit", dst=first_part["dst"], part=part).update(change_to)
    assert "1 messages sent after the subscriber had texted a refusal" in ledger_says(field, carrier)


def test_a_damaged_ledger_is_named_with_its_line(field, carrier):
    ledgers = carrier.ledgers()
    carrier.path.write_text(carrier.path.read_text().replace('"e": "receipt"', '"e": "rezept"', 1))
    with pytest.raises(InvalidFileError) as caught:
        field.verify(ledgers)
    assert caught.value.problems[0].line


def test_a_part_that_the_text_does_not_have_is_a_difference_and_no_crash(field, carrier):
    field.sql("UPDATE submission SET part = 9 WHERE message_id = :id AND part = 3", **first(field))
    assert "I5" in field.failing(carrier.ledgers())


def test_no_check_shows_a_number(field, carrier):
    carrier.submit(1, 84_961_555_555, 1, 0, "extra")
    field.sql("DELETE FROM submission WHERE message_id = :id AND part = 2", **first(field))
    shown = str([(check.said, check.details) for check in field.verify(carrier.ledgers())])
    assert "8496" not in shown
