"""What a sender holds in memory between a lease and its outcomes: lanes, leases, messages and the parts in flight."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from broadcaster.flow.lease import Grant
from broadcaster.smpp.submit import Submit, SubmitTemplate
from broadcaster.store.messages import Leased
from broadcaster.store.times import to_ms


class Link(Protocol):
    """What a sender needs of link.client.Client."""

    @property
    def bound(self) -> bool: ...
    @property
    def room(self) -> int: ...
    @property
    def outstanding(self) -> int: ...
    def submit_all(self, parts: Sequence[Submit]) -> None: ...
    def flush(self) -> None: ...
    async def request_cancel(self, smsc_id: str, source: str, destination: str) -> int | None: ...


class Job(NamedTuple):
    """One lane that may be sent now."""

    lane_id: int
    campaign: str
    parts: int
    tps: int | None
    """The order's own ceiling for this carrier, if any."""
    urgent: bool


class Ready(NamedTuple):
    """A durable lease with everything its messages need to be written; `references` tie each message's parts together."""

    grant: Grant
    templates: Sequence[SubmitTemplate]
    references: Sequence[int | None]


class Lease:
    """One open lease of `job`'s lane.

    `open` counts its messages without an outcome, `until_ms` is when what is not written goes back; of `charged` parts, by which the
    account's quotas were lowered, `spent` were or may have been accepted.
    """

    __slots__ = ("charged", "id", "job", "lane_id", "obeys_refusals", "open", "spent", "templates", "until_ms")

    def __init__(self, ready: Ready, job: Job) -> None:
        grant = ready.grant
        self.id = grant.lease_id
        self.job = job
        self.lane_id = grant.lane_id
        self.templates = ready.templates
        self.open = len(grant.messages)
        self.until_ms = to_ms(grant.until)
        self.obeys_refusals = not grant.overrides_refusals
        self.charged = sum(len(leased.parts) for leased in grant.messages)
        self.spent = 0


class Message:
    """One leased message under way.

    `todo` lists (part, attempt) not yet written, in order; `later` those left for another lease; `open_parts` counts those written
    and unanswered; `reference` ties its parts together on the handset. `taken` says that a part written under this lease was or may
    have been accepted, `halved` that one was before.
    """

    __slots__ = (
        "destination",
        "halved",
        "id",
        "later",
        "lease",
        "open_parts",
        "reference",
        "refused",
        "taken",
        "todo",
        "token",
        "tries",
        "wait_s",
    )

    def __init__(self, leased: Leased, number: int, reference: int | None, lease: Lease) -> None:
        self.id = leased.id
        self.reference = reference
        self.token = leased.token
        self.destination = str(number).encode()
        self.todo = deque(leased.parts)
        self.tries = leased.tries
        self.lease = lease
        self.halved = len(leased.parts) < len(lease.templates)
        self.taken = False
        self.refused = False
        self.open_parts = 0
        self.later: list[tuple[int, int]] = []
        self.wait_s = 0

    @property
    def begun(self) -> bool:
        """Whether the carrier has, or may have, a part of it: then the other parts follow. A part it gave back is no beginning."""
        return self.taken or self.open_parts > 0

    def may_be_refused(self) -> bool:
        """Tell whether a refusal still stops it: half a warning is worse than one that comes too late."""
        return self.lease.obeys_refusals and not self.halved and not self.begun

    def put_back(self, part: int, attempt: int) -> bool:
        """Set a part to be written again, in its place among the others; True when nothing else was waiting."""
        alone = not self.todo
        waiting = list(self.todo)
        bisect.insort(waiting, (part, attempt))
        self.todo = deque(waiting)
        return alone


class Flight(NamedTuple):
    """One part on its way."""

    message: Message
    part: int
    attempt: int
    sent_ns: int
