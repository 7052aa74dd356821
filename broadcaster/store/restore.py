"""A database put back from a backup has forgotten what was sent after the copy was made: it never sends before a person took it over.

What it forgot is bounded by the note beside it (store/sidecar.py). Taking over names every message that may have been sent in the gap
as uncertain, so that nobody gets it twice, and leaves the rest to go on (I18).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, text, update

from broadcaster.errors import RefusedError
from broadcaster.lang import Said
from broadcaster.model import CampaignState, State
from broadcaster.rules.lifecycle import Action, move
from broadcaster.store import messages, refused
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import Campaign, Lane, campaigns, change_campaign, change_lane, lanes
from broadcaster.store.engine import Store
from broadcaster.store.journal import Journal
from broadcaster.store.refusals import Compared, compare, reconcile
from broadcaster.store.schema import LANE_SHIFT, campaign, installation, lease, submission
from broadcaster.store.sidecar import OPEN, Mark, mark_of, read_mark, write_mark

ADOPT: Final = "db-adopt"
SLICE: Final = 1_000
"""How many messages one lease of a gap covers, and one transaction settles."""
_REASON: Final = "restored"
_REQUEUED: Final = (CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.FINISHED)
"""States in which a campaign may be requeued."""
_UNANSWERED: Final = text(
    "SELECT m.id FROM message m CROSS JOIN lane l WHERE m.id IN :ids AND l.id = m.id >> :shift "
    "AND m.not_before_ms IS NULL AND m.state NOT IN (:cancelled, :lapsed) AND l.parts > ("
    "  SELECT count(DISTINCT s.part) FROM submission s WHERE s.message_id = m.id AND s.state > :retry)"
).bindparams(
    bindparam("ids", expanding=True),
    shift=LANE_SHIFT,
    cancelled=int(State.CANCELLED),
    lapsed=int(State.LAPSED),
    retry=int(State.RETRY),
)


class Doubt(StrEnum):
    """Why a database may be older than what was sent."""

    OLDER = "older"
    """The note beside it is further on."""
    REPLACED = "replaced"
    """It is another file than the one the note was written for: copied or restored, perhaps together with the note."""
    UNMARKED = "unmarked"
    """A service ran on it, and there is no note."""


class Gap(NamedTuple):
    """One lane's messages that may have been sent after the copy was made.

    A range of positions, second tries, and what this database holds to be refused for good: a person may have requeued it.
    """

    campaign: str
    lane: Lane
    first: int
    last: int
    retries: tuple[int, ...]
    refused: tuple[int, ...] = ()

    @property
    def messages(self) -> int:
        return max(0, self.last - self.first + 1) + len(self.retries) + len(self.refused)


class Survey(NamedTuple):
    """What taking a database over changes: messages that become uncertain, campaigns paused, and those closed for good.

    `unanswered` are the messages that this database itself knows to have been under way, without an outcome: they become uncertain
    too, and are in no gap. A campaign is closed when it may have run in the gap to people this database does not know.
    """

    doubt: Doubt | None
    epoch: int
    gaps: list[Gap]
    unanswered: int
    paused: list[str]
    closed: list[str]
    refusals: int = 0
    """Entries of the journal of refusals that this database has forgotten."""
    unwritten: int = 0
    """Refusals of this database that the journal has not."""
    damaged: tuple[int, ...] = ()
    """Lines of the journal that cannot be used."""

    def with_journal(self, found: Compared) -> Survey:
        """Return this survey together with what the journal of refusals holds."""
        return self._replace(refusals=len(found.forgotten), unwritten=len(found.unwritten), damaged=tuple(found.damaged))

    @property
    def uncertain(self) -> int:
        """Return how many messages may have been sent in the gaps."""
        return sum(gap.messages for gap in self.gaps)


def doubt_about(here: Mark, note: Mark | None) -> Doubt | None:
    """Tell why the database that stands at `here` may not send, None when it is the one of which the note speaks."""
    if note is None:
        return Doubt.UNMARKED if here.epoch else None
    if here.epoch < note.epoch or here.lease < note.lease:
        return Doubt.OLDER
    return Doubt.REPLACED if here.inode != note.inode else None


def survey(connection: Connection, database: Path, *, nothing_sent: bool, journal: Journal | None = None) -> Survey:
    """Return what `adopt` would change; `nothing_sent` is a person's word that no gap exists.

    Raises `StoreError` for a note or a journal that cannot be read, `RefusedError` when the note disproves that word.
    """
    found = _survey(connection, database, nothing_sent=nothing_sent)
    return found if journal is None else found.with_journal(compare(connection, journal))


def _survey(connection: Connection, database: Path, *, nothing_sent: bool) -> Survey:
    note = read_mark(database)
    here = mark_of(connection, database, 0)
    doubt = doubt_about(here, note)
    known = note if doubt is Doubt.OLDER else None
    found = campaigns(connection, *OPEN)
    epoch = max(here.epoch, note.epoch if note else 0) + 1
    if nothing_sent and doubt is Doubt.OLDER:
        raise RefusedError(
            Said(
                "Tệp mốc bên cạnh cho thấy dịch vụ còn chạy tiếp sau khi bản này được chép ra: không thể cam đoan chưa gửi gì.",
                "The note beside the database shows that the service went on after this copy was made: nobody can state that nothing "
                "was sent.",
            ),
            Said("chạy lại, không dùng --nothing-sent", "run it again without --nothing-sent"),
        )
    unanswered = _unanswered(connection)
    if doubt is None:
        return Survey(doubt, epoch, [], unanswered, [], [])
    if nothing_sent:
        return Survey(doubt, epoch, [], unanswered, _running(found), [])
    closed = [item.name for item in found if not item.enlisted and not (known and item.id in known.campaigns)]
    kept = {item.id: item for item in found if item.enlisted}
    gaps = [_gap(connection, kept[lane.campaign_id].name, lane, known) for lane in lanes(connection, *kept)]
    gaps = _with_requeued(connection, gaps, known)
    return Survey(doubt, epoch, [gap for gap in gaps if gap.messages], unanswered, _running(found), closed)


def _unanswered(connection: Connection) -> int:
    """Return how many messages recovery will find under open leases without an outcome, each once."""
    query = select(lease.c.first_id, lease.c.last_id, lease.c.message_ids).where(lease.c.closed_ms.is_(None))
    found: set[int] = set()
    for row in connection.execute(query).all():
        ids = range(row.first_id, row.last_id + 1) if row.message_ids is None else json.loads(row.message_ids)
        for some in _slices(ids):
            found.update(connection.execute(_UNANSWERED, {"ids": some}).scalars())
    return len(found)


def _running(found: Iterable[Campaign]) -> list[str]:
    return [item.name for item in found if item.state is CampaignState.RUNNING]


def _gap(connection: Connection, campaign: str, lane: Lane, note: Mark | None) -> Gap:
    """Return what may have been sent of a lane; one the note does not name had ended by then, so all of it may."""
    beyond = lane.messages + 1
    if note is not None:
        beyond = min(beyond, note.lanes.get(lane.id, beyond))
    query = text("SELECT id FROM message WHERE not_before_ms IS NOT NULL AND id >= :low AND id < :high ORDER BY id")
    retries = connection.execute(query, {"low": lane.first_id, "high": lane.end_id}).scalars()
    return Gap(campaign, lane, lane.next_position, beyond - 1, tuple(retries))


def _with_requeued(connection: Connection, gaps: list[Gap], note: Mark | None) -> list[Gap]:
    """Add to the gaps what was refused for good in campaigns that were, or without a note may have been, requeued since.

    Nothing is requeued past its deadline; this copy is no older than its newest lease.
    """
    newest = func.coalesce(select(func.max(lease.c.opened_ms)).scalar_subquery(), 0)
    query = select(campaign.c.id, campaign.c.name, campaign.c.requeues).where(
        campaign.c.state.in_([state.value for state in _REQUEUED]), campaign.c.deadline_ms > newest
    )
    by_lane = {gap.lane.id: gap for gap in gaps}
    for item in connection.execute(query).all():
        if note is not None and note.requeues.get(item.id, 0) <= item.requeues:
            continue
        for lane in lanes(connection, item.id):
            gap = by_lane.get(lane.id) or Gap(item.name, lane, lane.messages + 1, lane.messages, ())
            by_lane[lane.id] = gap._replace(refused=tuple(refused.all_refused(connection, lane)))
    return list(by_lane.values())


def adopt(
    store: Store, auditor: Auditor, database: Path, *, reason: str, nothing_sent: bool, now_ms: int, journal: Journal | None = None
) -> Survey:
    """Take over a database that is in doubt, and return what was changed; the service must not run.

    The note is written anew in any case, with `now_ms` as the last moment seen: this is also how a person confirms the clock. Done
    again after an interruption it goes on where it stopped. The journal of refusals and the log are brought in line first.
    Raises as `survey` does, and `JournalError`.
    """
    told = Compared(0, [], [], [])
    if journal is not None:
        with store.write() as connection:
            told = reconcile(connection, auditor, journal)
        if told.unwritable:
            raise told.unwritable
    messages.fold_up(store)
    with store.write() as connection:
        messages.fold_all(connection)
        found = survey(connection, database, nothing_sent=nothing_sent)
        connection.execute(update(installation).values(epoch=found.epoch))
        lease_ids = [item for gap in found.gaps for item in _lease(connection, gap, found.epoch - 1, now_ms)]
        _stand_still(connection, auditor, found, reason, now_ms)
        detail = {
            "doubt": found.doubt,
            "reason": reason,
            "nothing_sent": nothing_sent,
            "uncertain": found.uncertain,
            "unanswered": found.unanswered,
            "paused": found.paused,
            "closed": found.closed,
            "refusals": len(told.forgotten),
        }
        auditor.record(connection, ADOPT, database.name, detail)
        if found.doubt is not None and not nothing_sent:
            # Before the commit: whichever of the two an interruption keeps, the next run finds the same gaps or none, and not
            # another file than the note's, of which everybody may have been sent to.
            write_mark(database, mark_of(connection, database, now_ms))
    while True:
        with store.write() as connection:
            if not messages.recover(connection, found.epoch, now_ms, SLICE + 1):
                break
    for some in _slices(lease_ids):
        with store.write() as connection:
            _name(connection, some)
    messages.fold_up(store)
    with store.read() as connection:
        note = mark_of(connection, database, now_ms)
    write_mark(database, note)
    return found.with_journal(told)


def _lease(connection: Connection, gap: Gap, epoch: int, now_ms: int) -> Iterator[int]:
    """Open leases over the gap, as the forgotten ones were; yield their ids. Recovery settles them as it does a crash's."""
    lane = gap.lane
    for some in _slices(range(gap.first, gap.last + 1)):
        yield messages.open_range(connection, lane.id, epoch, some[0], some[-1], lane.parts, now_ms)[0]
    for some in _slices(gap.refused):
        refused.reopen(connection, some)
    for some in _slices((*gap.retries, *gap.refused)):
        yield messages.open_list(connection, lane.id, epoch, some, lane.parts, now_ms)[0]
    if gap.last >= gap.first:
        change_lane(connection, lane.id, next_position=gap.last + 1)


def _slices(items: range | tuple[int, ...] | list[int]) -> Iterator[list[int]]:
    for start in range(0, len(items), SLICE):
        yield list(items[start : start + SLICE])


def _stand_still(connection: Connection, auditor: Auditor, found: Survey, reason: str, now_ms: int) -> None:
    """Pause what runs, and end what cannot go on."""
    for item in campaigns(connection, *OPEN):
        if item.name in found.closed:
            action = Action.CANCEL if item.state is CampaignState.SUBMITTED else Action.HALT
            change_campaign(connection, item.id, move(item.state, action), reason=reason, finished_ms=now_ms)
        elif item.name in found.paused:
            action = Action.PAUSE
            change_campaign(connection, item.id, move(item.state, action), reason=reason)
        else:
            continue
        auditor.record(connection, action, item.name, {"reason": reason})


def _name(connection: Connection, lease_ids: list[int]) -> None:
    """Say of uncertain parts that it was the restored database that forgot them, and not a crash."""
    rows = connection.execute(select(lease.c.id, lease.c.first_id, lease.c.last_id).where(lease.c.id.in_(lease_ids))).all()
    for row in rows:
        connection.execute(
            update(submission)
            .where(
                submission.c.message_id.between(row.first_id, row.last_id),
                submission.c.lease_id == row.id,
                submission.c.state == int(State.UNCERTAIN),
            )
            .values(reason=_REASON)
        )
