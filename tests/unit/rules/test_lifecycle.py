"""Campaign moves and the lattice of parts and messages."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.errors import RefusedError
from broadcaster.lang import Said
from broadcaster.model import CampaignState, State
from broadcaster.rules.lifecycle import (
    ACTION_NAMES,
    ENDED,
    FINAL_FROM,
    FINAL_RECEIPTS,
    MOVES,
    STATE_NAMES,
    Action,
    is_final,
    is_open,
    join,
    meet,
    move,
    possible,
)
from broadcaster.smpp.receipt import ReceiptState

states = st.sampled_from(State)


def test_a_campaign_lives_from_submission_to_its_end() -> None:
    state = move(None, Action.SUBMIT)
    seen = [state]
    for action in (Action.APPROVE, Action.SCHEDULE, Action.START, Action.PAUSE, Action.RESUME, Action.FINISH):
        state = move(state, action)
        seen.append(state)
    assert seen == ["submitted", "approved", "scheduled", "running", "paused", "running", "finished"]


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (None, Action.START),
        (CampaignState.SUBMITTED, Action.START),
        (CampaignState.SUBMITTED, Action.SCHEDULE),
        (CampaignState.SUBMITTED, Action.SUBMIT),
        (CampaignState.APPROVED, Action.START),
        (CampaignState.PAUSED, Action.START),
        (CampaignState.SCHEDULED, Action.PAUSE),
        (CampaignState.RUNNING, Action.EXPIRE),
        (CampaignState.RUNNING, Action.APPROVE),
        (CampaignState.HALTED, Action.RESUME),
    ],
)
def test_a_forbidden_move_is_refused(state: CampaignState | None, action: Action) -> None:
    with pytest.raises(RefusedError):
        move(state, action)


def test_a_refusal_says_what_it_is_now_and_what_is_possible() -> None:
    with pytest.raises(RefusedError) as caught:
        move(CampaignState.SUBMITTED, Action.START)
    assert caught.value.message == Said(
        vi="Không thể bắt đầu gửi: chiến dịch đã trình.", en="Cannot start: the campaign is submitted."
    )
    assert caught.value.hint == Said(vi="Có thể: phê duyệt, hủy.", en="Possible: approve, cancel.")


def test_nothing_leaves_an_end_but_what_a_person_requeues_and_that_waits_for_a_person() -> None:
    leaving = {(state, action): after for (state, action), after in MOVES.items() if state in ENDED}
    assert leaving == {(CampaignState.FINISHED, Action.REQUEUE): CampaignState.PAUSED}
    assert all(possible(state) for state in CampaignState if state not in ENDED)
    with pytest.raises(RefusedError) as caught:
        move(CampaignState.CANCELLED, Action.RESUME)
    assert caught.value.hint is not None
    assert "final" in caught.value.hint.en


def test_sending_begins_only_from_a_scheduled_or_paused_campaign() -> None:
    begins = {before for (before, _), after in MOVES.items() if after is CampaignState.RUNNING and before is not after}
    assert begins == {"scheduled", "paused"}


def test_every_state_that_is_not_an_end_can_be_cancelled() -> None:
    assert all(Action.CANCEL in possible(state) for state in CampaignState if state not in ENDED)


def test_every_state_and_action_has_a_name() -> None:
    assert set(STATE_NAMES) == set(CampaignState)
    assert set(ACTION_NAMES) == set(Action)


@given(states, states, states)
def test_join_and_meet_are_a_lattice(a: State, b: State, c: State) -> None:
    assert join([a, b]) == join([b, a])
    assert join([a, join([b, c])]) == join([join([a, b]), c])
    assert meet([a, meet([b, c])]) == meet([meet([a, b]), c])
    assert join([a, a]) == meet([a, a]) == a
    assert join([a, meet([a, b])]) == meet([a, join([a, b])]) == a


@given(st.lists(states, min_size=1))
def test_the_order_of_attempts_does_not_matter_and_a_final_state_never_regresses(history: list[State]) -> None:
    climbing = list(itertools.accumulate(history, lambda a, b: join([a, b])))
    assert climbing[-1] == join(sorted(history))
    finals = [is_final(state) for state in climbing]
    assert finals == sorted(finals)
    assert all(earlier <= later for earlier, later in itertools.pairwise(climbing))


@given(st.lists(states, min_size=1))
def test_a_message_is_final_only_when_all_its_parts_are(parts: list[State]) -> None:
    assert is_final(meet(parts)) == all(part >= FINAL_FROM for part in parts)


def test_a_part_without_attempts_has_no_state() -> None:
    with pytest.raises(ValueError, match="empty"):
        join([])


def test_only_ready_and_retry_are_open() -> None:
    assert {state for state in State if is_open(state)} == {State.READY, State.RETRY}


def test_a_receipt_proves_a_final_state_or_nothing() -> None:
    assert set(FINAL_RECEIPTS.values()) == {state for state in State if is_final(state)}
    assert not FINAL_RECEIPTS.keys() & {ReceiptState.ENROUTE, ReceiptState.ACCEPTED, ReceiptState.UNKNOWN, ReceiptState.SCHEDULED}
    assert {proof.name for proof in FINAL_RECEIPTS} == {state.name for state in FINAL_RECEIPTS.values()}
