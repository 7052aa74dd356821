"""A person's decision about many messages: taken once, at the number they typed, and carried out in slices."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

from sqlalchemy import Connection

from broadcaster.errors import RefusedError
from broadcaster.lang import Said
from broadcaster.model import CampaignState
from broadcaster.store.campaigns import find_campaign
from broadcaster.store.engine import Store

SLICE: Final = 5_000
"""Messages per transaction, so that a service beside it gets its turn."""
SENDING: Final = frozenset({CampaignState.RUNNING, CampaignState.PAUSED})
"""States in which a decision to send again is still carried out."""


def refuse_other_number(count: int, expect: int, what: Said) -> None:
    """Raise `RefusedError` when the decision is about another number of messages than was typed; `what` names them."""
    if count != expect:
        raise RefusedError(
            Said(
                f"Đang có {count} {what.vi}, không phải {expect}; chưa có gì thay đổi.",
                f"{count} {what.en}, not {expect}; nothing has changed.",
            )
        )


def carry_on(
    store: Store,
    reference: str,
    begun: list[int],
    slice_after: Callable[[Connection, int], list[int]],
    *,
    while_in: Container[CampaignState] = frozenset(CampaignState),
) -> int:
    """Carry out the rest of a decision of which `begun` was the first slice, and return how many messages it was about in all.

    `slice_after` takes the slice behind a message id and returns its ids. It ends with the messages, or when somebody moved the
    campaign out of the states `while_in`.
    """
    done, ids = len(begun), begun
    while len(ids) == SLICE:
        with store.write() as connection:
            if find_campaign(connection, reference).state not in while_in:
                break
            ids = slice_after(connection, ids[-1])
        done += len(ids)
    return done
