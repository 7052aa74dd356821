"""The moves a campaign may make, as a table, and the lattice on which parts and messages only ever climb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from broadcaster.errors import RefusedError
from broadcaster.lang import Said
from broadcaster.model import CampaignState, State
from broadcaster.smpp.receipt import ReceiptState


class Action(StrEnum):
    """What a person or the service does to a campaign."""

    SUBMIT = "submit"
    APPROVE = "approve"
    SCHEDULE = "schedule"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    REQUEUE = "requeue"
    """What was certainly refused waits for another try, inside the signed window and deadline."""
    FINISH = "finish"
    """Nothing is left to send, or the deadline passed and the rest has lapsed."""
    HALT = "halt"
    """The content no longer matches what was signed: this campaign never sends again."""
    EXPIRE = "expire"
    """It was not started in the time its approval names."""


COMMANDS: Final = frozenset(
    {Action.SUBMIT, Action.APPROVE, Action.SCHEDULE, Action.PAUSE, Action.RESUME, Action.CANCEL, Action.REQUEUE}
)
"""What a person does by a command; the rest is the service's own."""

_SUBMITTED, _APPROVED, _SCHEDULED = CampaignState.SUBMITTED, CampaignState.APPROVED, CampaignState.SCHEDULED
_RUNNING, _PAUSED, _FINISHED = CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.FINISHED

MOVES: Final[Mapping[tuple[CampaignState | None, Action], CampaignState]] = MappingProxyType(
    {
        (None, Action.SUBMIT): CampaignState.SUBMITTED,
        (_SUBMITTED, Action.APPROVE): CampaignState.APPROVED,
        (_APPROVED, Action.SCHEDULE): CampaignState.SCHEDULED,
        (_SCHEDULED, Action.START): CampaignState.RUNNING,
        (_RUNNING, Action.PAUSE): CampaignState.PAUSED,
        (_PAUSED, Action.RESUME): CampaignState.RUNNING,
        (_RUNNING, Action.REQUEUE): CampaignState.RUNNING,
        (_PAUSED, Action.REQUEUE): CampaignState.PAUSED,
        # It was over: sending begins again only when a person resumes it.
        (_FINISHED, Action.REQUEUE): CampaignState.PAUSED,
        (_RUNNING, Action.FINISH): CampaignState.FINISHED,
        (_PAUSED, Action.FINISH): CampaignState.FINISHED,
        (_SUBMITTED, Action.EXPIRE): CampaignState.EXPIRED,
        (_APPROVED, Action.EXPIRE): CampaignState.EXPIRED,
        (_SCHEDULED, Action.EXPIRE): CampaignState.EXPIRED,
        (_APPROVED, Action.HALT): CampaignState.HALTED,
        (_SCHEDULED, Action.HALT): CampaignState.HALTED,
        (_RUNNING, Action.HALT): CampaignState.HALTED,
        (_PAUSED, Action.HALT): CampaignState.HALTED,
        (_SUBMITTED, Action.CANCEL): CampaignState.CANCELLED,
        (_APPROVED, Action.CANCEL): CampaignState.CANCELLED,
        (_SCHEDULED, Action.CANCEL): CampaignState.CANCELLED,
        (_RUNNING, Action.CANCEL): CampaignState.CANCELLED,
        (_PAUSED, Action.CANCEL): CampaignState.CANCELLED,
    }
)
"""(where it stands, what is done) → where it stands then; None is a campaign that does not exist yet. What is absent is refused."""

ENDED: Final = frozenset({CampaignState.FINISHED, CampaignState.CANCELLED, CampaignState.HALTED, CampaignState.EXPIRED})
"""Nothing is sent any more, and nothing will be unless a person requeues."""

STATE_NAMES: Final[Mapping[CampaignState, Said]] = MappingProxyType(
    {
        CampaignState.SUBMITTED: Said(vi="đã trình", en="submitted"),
        CampaignState.APPROVED: Said(vi="đã phê duyệt", en="approved"),
        CampaignState.SCHEDULED: Said(vi="đã lên lịch", en="scheduled"),
        CampaignState.RUNNING: Said(vi="đang gửi", en="running"),
        CampaignState.PAUSED: Said(vi="đang tạm dừng", en="paused"),
        CampaignState.FINISHED: Said(vi="đã kết thúc", en="finished"),
        CampaignState.CANCELLED: Said(vi="đã hủy", en="cancelled"),
        CampaignState.HALTED: Said(vi="đã bị chặn", en="halted"),
        CampaignState.EXPIRED: Said(vi="đã quá hạn", en="expired"),
    }
)

ACTION_NAMES: Final[Mapping[Action, Said]] = MappingProxyType(
    {
        Action.SUBMIT: Said(vi="trình", en="submit"),
        Action.APPROVE: Said(vi="phê duyệt", en="approve"),
        Action.SCHEDULE: Said(vi="lên lịch", en="schedule"),
        Action.START: Said(vi="bắt đầu gửi", en="start"),
        Action.PAUSE: Said(vi="tạm dừng", en="pause"),
        Action.RESUME: Said(vi="gửi tiếp", en="resume"),
        Action.CANCEL: Said(vi="hủy", en="cancel"),
        Action.REQUEUE: Said(vi="xếp gửi lại tin bị từ chối", en="requeue what was refused"),
        Action.FINISH: Said(vi="kết thúc", en="finish"),
        Action.HALT: Said(vi="chặn", en="halt"),
        Action.EXPIRE: Said(vi="cho quá hạn", en="expire"),
    }
)


def possible(state: CampaignState | None) -> tuple[Action, ...]:
    """Return what may be done to a campaign in this state, in the order of `Action`."""
    return tuple(action for action in Action if (state, action) in MOVES)


def move(state: CampaignState | None, action: Action) -> CampaignState:
    """Return the state after the action; raise `RefusedError` naming the present state and what a person may do then."""
    after = MOVES.get((state, action))
    if after is not None:
        return after
    now = Said(vi="chưa có", en="not there yet") if state is None else STATE_NAMES[state]
    wanted = ACTION_NAMES[action]
    rest = [one for one in possible(state) if one in COMMANDS]
    hint = Said(
        vi="Có thể: " + ", ".join(ACTION_NAMES[one].vi for one in rest) + ".",
        en="Possible: " + ", ".join(ACTION_NAMES[one].en for one in rest) + ".",
    )
    none_left = Said(
        vi="Trạng thái này là cuối cùng, không thao tác nào được phép nữa.", en="This state is final; nothing more can be done."
    )
    raise RefusedError(
        Said(vi=f"Không thể {wanted.vi}: chiến dịch {now.vi}.", en=f"Cannot {wanted.en}: the campaign is {now.en}."),
        hint if rest else none_left,
    )


FINAL_FROM: Final = State.EXPIRED
"""From here upward a state is the carrier's final evidence."""

FINAL_RECEIPTS: Final[Mapping[ReceiptState, State]] = MappingProxyType(
    {
        ReceiptState.DELIVERED: State.DELIVERED,
        ReceiptState.EXPIRED: State.EXPIRED,
        ReceiptState.DELETED: State.DELETED,
        ReceiptState.UNDELIVERABLE: State.UNDELIVERABLE,
        ReceiptState.REJECTED: State.REJECTED,
    }
)
"""What a receipt proves for good; the other states say only that the carrier still has the message, or nothing (F14)."""


def join(attempt_states: Iterable[State]) -> State:
    """Return the state of one part: the highest any of its attempts reached. ValueError when there is none."""
    return max(attempt_states)


def meet(part_states: Iterable[State]) -> State:
    """Return the state of one message: the lowest any of its parts is at. ValueError when there is none."""
    return min(part_states)


def is_open(state: State) -> bool:
    """Tell whether something is still to be sent: waiting for its first try or for its next."""
    return state in (State.READY, State.RETRY)


def is_final(state: State) -> bool:
    """Tell whether the carrier's receipt has settled it."""
    return state >= FINAL_FROM
