"""The gate before bytes: whatever was changed by another road than ours halts the campaign, with an audit entry and not one byte."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from broadcaster.errors import ConfigurationError, StoreError
from broadcaster.flow.lease import Denied, Gate, Grant
from broadcaster.lang import Said
from broadcaster.model import CampaignState, DailyWindow, Environment, State

TEXT = "CANH BAO LUA DAO"


def content(field, change) -> None:
    """Change the stored content as an intruder with SQL would."""
    stored = json.loads(field.sql("SELECT content_json FROM campaign")[0][0])
    change(stored)
    field.sql("UPDATE campaign SET content_json = :content", content=json.dumps(stored, ensure_ascii=False, sort_keys=True))


def take(field, limit: int = 4):
    with field.store.write() as connection:
        return field.gate().take(connection, "dien-tap", field.lane.id, limit, field.clock.now())


TAMPERINGS = {
    "the text of the lane": lambda field: field.sql("UPDATE lane SET body = 'CHUYEN TIEN NGAY'"),
    "the parts of the lane": lambda field: field.sql("UPDATE lane SET parts = 2"),
    "the part that gets a receipt": lambda field: field.sql("UPDATE lane SET receipt_part = 1"),
    "the carrier of the lane": lambda field: field.sql("UPDATE lane SET carrier = 'mobifone'"),
    "the signed text": lambda field: content(field, lambda found: found["bodies"][0].update(text="CHUYEN TIEN NGAY")),
    "both texts": lambda field: (
        content(field, lambda found: found["bodies"][0].update(text="CHUYEN TIEN NGAY")),
        field.sql("UPDATE lane SET body = 'CHUYEN TIEN NGAY'"),
    ),
    "the sender": lambda field: content(field, lambda found: found["order"].update(sender="NGAN-HANG")),
    "the window": lambda field: content(field, lambda found: found["order"].update(window="00:00-23:59")),
    "the ceiling": lambda field: content(field, lambda found: found["order"].update(max_tps={"viettel": 1000})),
    "the override": lambda field: content(field, lambda found: found["order"].update(override_refusals=True)),
    "the environment": lambda field: content(field, lambda found: found["order"].update(environment="live")),
    "a key left out": lambda field: content(field, lambda found: found["order"].pop("window")),
    "no texts": lambda field: content(field, lambda found: found.pop("bodies")),
    "a text without its carrier": lambda field: content(field, lambda found: found["bodies"][0].pop("carrier")),
    "a list for content": lambda field: field.sql("UPDATE campaign SET content_json = '[]'"),
    "a list for an order": lambda field: content(field, lambda found: found.update(order=[])),
    "a number for a mapping": lambda field: content(field, lambda found: found["order"].update(max_tps=7)),
    "a signature": lambda field: field.sql("UPDATE approval SET signature = zeroblob(64) WHERE person = 'truong-phong'"),
    "a signature's owner": lambda field: field.sql("UPDATE approval SET person = 'thanh-tra' WHERE person = 'truong-phong'"),
    "an approval taken away": lambda field: field.sql("DELETE FROM approval WHERE person = 'truong-phong'"),
    "the submitter is a signer": lambda field: field.sql("UPDATE campaign SET submitted_by = 'truong-phong'"),
    "a signer was removed": lambda field: field.people.pop("truong-phong"),
    "more messages than signed": lambda field: field.sql("UPDATE lane SET messages = 100000"),
    "another lane makes it too many": lambda field: field.sql(
        "INSERT INTO lane (campaign_id, carrier, body, parts, messages, excluded, next_position) "
        "VALUES (1, 'mobifone', '', 1, 99990, 0, 1)"
    ),
    "a number": lambda field: field.sql("UPDATE message SET token = zeroblob(16) WHERE id = :id", id=field.lane.first_id + 2),
    "somebody excluded": lambda field: field.sql(
        "INSERT INTO message VALUES (:id, :token, '21025', 1, 0, 1)", id=field.lane.end_id, token=field.token(50)
    ),
    "a start after its time": lambda field: field.sql("UPDATE campaign SET planned_ms = planned_ms - 3 * 3600000"),
    "no planned start": lambda field: field.sql("UPDATE campaign SET planned_ms = NULL"),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_was_not_signed_is_halted_and_not_one_byte_leaves(field, what):
    field.warn(12, start_within_h=2)
    TAMPERINGS[what](field)
    field.play(lambda stage: stage.calm())
    assert field.link.log == []
    assert field.campaign().state is CampaignState.HALTED
    assert field.campaign().finished_ms is not None
    assert field.audited("halt") == 1
    assert field.sql("SELECT count(*) FROM lease")[0][0] == 0
    assert field.sql("SELECT next_position FROM lane")[0][0] == 1


def test_the_same_campaign_untouched_is_sent(field):
    """So that the tamperings above are halted for what they change, and not for anything else."""
    field.warn(12, start_within_h=2)
    field.play(lambda stage: stage.answer_everything())
    assert set(field.states().values()) == {State.ACCEPTED}
    assert field.audited("halt") == 0


def test_unapproved_is_halted(field):
    field.warn(12, signed=False)
    field.play(lambda stage: stage.calm())
    assert field.link.log == []
    assert field.campaign().state is CampaignState.HALTED


def test_content_that_is_no_json_any_more_sends_nothing(field):
    field.warn(12)
    field.sql("UPDATE campaign SET content_json = 'x'")
    with pytest.raises(StoreError):
        take(field)
    field.play(lambda stage: stage.calm())
    assert field.link.log == []


def test_tampering_in_the_middle_stops_after_what_was_leased(field):
    field.warn(40)

    async def scene(stage):
        field.sql("UPDATE lane SET body = 'CHUYEN TIEN NGAY'")
        await stage.answer_everything()

    field.play(scene)
    assert len(field.link.log) <= 8
    assert field.campaign().state is CampaignState.HALTED


def test_a_signer_who_leaves_in_the_middle_stops_it(field):
    field.warn(40)

    async def scene(stage):
        del field.people["pho-giam-doc"]
        await stage.answer_everything()

    field.play(scene)
    assert len(field.link.log) <= 8
    assert field.campaign().state is CampaignState.HALTED


def test_messages_sent_before_are_not_leased_as_new_ones_again(field):
    """Setting the lane back by SQL does not send anything twice."""
    field.warn(8)

    async def scene(stage):
        await stage.answer_everything()
        field.sql("UPDATE lane SET next_position = 1")
        await stage.wait_s(2)
        await stage.answer_everything()

    field.play(scene)
    assert len(field.link.log) == 8
    assert field.open_leases() == 0


@pytest.mark.parametrize(
    "setting",
    [
        "UPDATE campaign SET state = 'paused'",
        "UPDATE campaign SET state = 'approved'",
        "UPDATE campaign SET started_ms = NULL",
        "UPDATE lane SET halted = 'x'",
    ],
)
def test_what_does_not_run_gets_no_lease(field, setting):
    field.warn(4)
    field.sql(setting)
    assert take(field) is Denied.NOT_RUNNING
    assert field.audited("halt") == 0


def test_a_lane_that_is_not_there_gets_no_lease(field):
    field.warn(4)
    with field.store.write() as connection:
        assert field.gate().take(connection, "dien-tap", 99, 4, field.clock.now()) is Denied.NOT_RUNNING


def test_outside_its_window_and_after_its_deadline_there_is_no_lease(field):
    field.warn(4, window=DailyWindow(dt.time(8), dt.time(20)), deadline_h=30)
    field.clock.pass_s(10 * 3600 - 350)
    assert take(field) is Denied.CLOSED  # a phone could ring after eight in the evening
    field.clock.pass_s(400)
    assert take(field) is Denied.CLOSED
    field.clock.pass_s(12 * 3600)
    grant = take(field)
    assert isinstance(grant, Grant)
    assert (grant.until - field.clock.now(), grant.valid_minutes) == (dt.timedelta(minutes=5), 11 * 60 + 54)
    field.clock.pass_s(10 * 3600)
    assert take(field) is Denied.OVER


def test_a_lease_names_text_sender_and_numbers_as_signed(field):
    field.warn(3, text_of_body=TEXT)
    grant = take(field, 2)
    assert isinstance(grant, Grant)
    assert (grant.text, grant.sender, grant.parts, grant.overrides_refusals) == (TEXT, "SKHCN-QNG", 1, False)
    assert list(grant.numbers) == [84_961_000_000, 84_961_000_001]
    assert take(field, 2).numbers == [84_961_000_002]
    assert take(field, 2) is Denied.NOTHING_DUE


@pytest.mark.parametrize("error", [ConfigurationError(Said("hỏng", "broken")), OSError("gone")])
def test_a_register_of_people_that_cannot_be_read_gives_no_lease_and_halts_no_campaign(field, error):
    field.warn(4)

    def unreadable():
        raise error

    gate = Gate(unreadable, field.auditor, field.vault, Environment.REHEARSAL, 1)
    with field.store.write() as connection, pytest.raises(type(error)):
        gate.take(connection, "dien-tap", field.lane.id, 4, field.clock.now())
    assert field.campaign().state is CampaignState.RUNNING


def test_sending_goes_on_when_the_register_is_readable_again(field):
    field.warn(4)
    people, field.people = field.people, None

    async def scene(stage):
        def read():
            if field.people is None:
                raise ConfigurationError(Said("hỏng", "broken"))
            return field.people

        stage.account.gate._people = read
        await stage.wait_s(2)
        assert stage.link.log == []
        field.people = people
        await stage.wait_s(2)
        await stage.answer_everything()

    real_gate = field.gate

    def gate():
        made = real_gate()
        made._people = lambda: (_ for _ in ()).throw(ConfigurationError(Said("hỏng", "broken")))
        return made

    field.gate = gate
    field.play(scene)
    assert set(field.states().values()) == {State.ACCEPTED}
