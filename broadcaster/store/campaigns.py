"""The `campaign`, `approval` and `lane` tables. A lane is one campaign's messages to one carrier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from broadcaster.errors import NotFoundError, RefusedError, StoreError
from broadcaster.lang import Said
from broadcaster.model import Approval, CampaignId, CampaignState, CarrierCode, RosterId
from broadcaster.store.engine import run
from broadcaster.store.schema import LANE_SHIFT, approval, campaign, campaign_roster, installation, lane
from broadcaster.store.times import from_ms, to_ms

MAX_ID_DIGITS = 18
"""What surely fits a column; a longer number can only be a name."""


# Built once: these run at every lease, or ten times a second.
_BY_NAME = select(campaign).where(campaign.c.name == bindparam("wanted"))
_BY_ID = select(campaign).where(campaign.c.id == bindparam("wanted"))
_BY_STATES = select(campaign).where(campaign.c.state.in_(bindparam("states", expanding=True))).order_by(campaign.c.id)
_LANES = select(lane).where(lane.c.campaign_id.in_(bindparam("campaigns", expanding=True))).order_by(lane.c.id)
_APPROVALS = select(approval).where(approval.c.campaign_id == bindparam("campaign")).order_by(approval.c.signed_ms)


class Campaign(NamedTuple):
    """One row of `campaign`; `content` is what approvers sign, `digest` the digest it had when it was submitted."""

    id: CampaignId
    name: str
    state: CampaignState
    content: Mapping[str, Any]
    digest: str
    recipients: int
    """How many would have got it when it was submitted; refusals and a newer look only shrink that."""
    submitted_by: str
    submitted_ms: int
    planned_ms: int | None
    start_by_ms: int | None
    started_ms: int | None
    deadline_ms: int | None
    finished_ms: int | None
    reason: str | None
    enlisted: bool
    """Whether its messages are written out; the service does it once the campaign is scheduled."""
    requeues: int = 0
    """How often people let messages that were refused for good be tried again."""


class Lane(NamedTuple):
    """One campaign's messages to one carrier; positions 1..`messages`, those below `next_position` have been leased."""

    id: int
    campaign_id: CampaignId
    carrier: CarrierCode
    body: str
    parts: int
    messages: int
    excluded: int
    next_position: int
    halted: str | None
    receipt_part: int = 0
    """The one part for which the carrier sends a receipt; 0 when it sends one for each (docs/delivery.md F11)."""

    @property
    def first_id(self) -> int:
        return (self.id << LANE_SHIFT) + 1

    @property
    def end_id(self) -> int:
        """One past the last id that is to be sent."""
        return self.first_id + self.messages


def insert_campaign(
    connection: Connection,
    *,
    name: str,
    content_json: str,
    digest: str,
    recipients: int,
    submitted_by: str,
    submitted_ms: int,
    roster_ids: Sequence[RosterId],
) -> CampaignId:
    """Store a newly submitted campaign with the rosters its audience comes from."""
    result = connection.execute(
        insert(campaign).values(
            name=name,
            state=CampaignState.SUBMITTED.value,
            content_json=content_json,
            digest=digest,
            recipients=recipients,
            submitted_by=submitted_by,
            submitted_ms=submitted_ms,
            enlisted=False,
        )
    )
    campaign_id = CampaignId(int(result.inserted_primary_key[0]))  # type: ignore[index]
    if roster_ids:
        connection.execute(insert(campaign_roster), [{"campaign_id": campaign_id, "roster_id": item} for item in roster_ids])
    return campaign_id


def find_campaign(connection: Connection, reference: str) -> Campaign:
    """Return the campaign with this number or name. Raises `NotFoundError`."""
    number = int(reference) if reference.isascii() and reference.isdigit() and len(reference) <= MAX_ID_DIGITS else None
    query, wanted = (_BY_NAME, reference) if number is None else (_BY_ID, number)
    row = connection.execute(query, {"wanted": wanted}).mappings().first()
    if row is None:
        raise NotFoundError(
            Said(f"Không có chiến dịch «{reference}».", f"There is no campaign “{reference}”."),
            Said("Xem danh sách: broadcaster campaign list", "List them with: broadcaster campaign list"),
        )
    return _campaign(row)


def campaigns(connection: Connection, *states: CampaignState) -> list[Campaign]:
    """Return the campaigns in any of these states (all without), oldest first."""
    if states:
        rows = connection.execute(_BY_STATES, {"states": [state.value for state in states]})
    else:
        rows = connection.execute(select(campaign).order_by(campaign.c.id))
    return [_campaign(row) for row in rows.mappings()]


def remainder_of(item: Campaign) -> str | None:
    """Return the name of the campaign whose remainder this one was ordered for; None when it is none, or its content damaged."""
    try:
        name = item.content["order"]["audience"]["remainder_of"]
    except (KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def remainders(connection: Connection, name: str) -> list[Campaign]:
    """Return the campaigns ordered for those whom the campaign `name` did not reach, oldest first; damaged ones are left out."""
    found = []
    for row in connection.execute(select(campaign).where(campaign.c.content_json.contains(name)).order_by(campaign.c.id)).mappings():
        with suppress(StoreError):
            found.append(_campaign(row))
    return [item for item in found if remainder_of(item) == name]


def standing_remainder(connection: Connection, name: str) -> Campaign | None:
    """Return the remainder of the campaign `name` that has sent or may yet send; None when there is none.

    While there is one, neither the campaign itself nor a second remainder may write to the same people.
    """
    over = {CampaignState.CANCELLED, CampaignState.HALTED, CampaignState.EXPIRED}
    standing = (item for item in remainders(connection, name) if item.started_ms is not None or item.state not in over)
    return next(standing, None)


def refuse_second_remainder(connection: Connection, name: str) -> None:
    """Raise `RefusedError` when a remainder of the campaign `name` stands already."""
    if other := standing_remainder(connection, name):
        raise RefusedError(
            Said(
                f"Phần còn lại của «{name}» đã có chiến dịch «{other.name}» lo.",
                f"The remainder of “{name}” has a campaign already: “{other.name}”.",
            ),
            Said(
                f"Cho người mà chiến dịch ấy cũng chưa đến được: broadcaster campaign remainder {other.name}",
                f"For those whom that one does not reach either: broadcaster campaign remainder {other.name}",
            ),
        )


def _campaign(row: RowMapping) -> Campaign:
    try:
        values = dict(row) | {"state": CampaignState(row["state"]), "content": _read_content(row["content_json"])}
    except ValueError as error:
        name = row["name"]
        raise StoreError(
            Said(f"Chiến dịch «{name}» trong cơ sở dữ liệu đã hỏng.", f"Campaign “{name}” is damaged in the database.")
        ) from error
    del values["content_json"]
    return Campaign(**values)


@lru_cache(maxsize=16)
def _read_content(stored: str) -> Mapping[str, Any]:
    """Return what is stored as a value, the same one for the same text, as it is read at every lease and every look."""
    content: Mapping[str, Any] = json.loads(stored)
    return content


def change_campaign(connection: Connection, campaign_id: CampaignId, state: CampaignState, **values: int | str | bool | None) -> None:
    """Set the state and the named columns."""
    connection.execute(update(campaign).where(campaign.c.id == campaign_id).values(state=state.value, **values))


def add_approval(connection: Connection, campaign_id: CampaignId, item: Approval) -> None:
    connection.execute(
        insert(approval).values(
            campaign_id=campaign_id,
            person=item.person,
            digest=item.digest,
            signature=item.signature,
            signed_ms=to_ms(item.signed_at),
        )
    )


def approvals(connection: Connection, campaign_id: CampaignId) -> list[Approval]:
    rows = connection.execute(_APPROVALS, {"campaign": campaign_id})
    return [Approval(row.person, row.digest, row.signature, from_ms(row.signed_ms)) for row in rows]


def roster_ids(connection: Connection, campaign_id: CampaignId) -> list[RosterId]:
    query = (
        select(campaign_roster.c.roster_id).where(campaign_roster.c.campaign_id == campaign_id).order_by(campaign_roster.c.roster_id)
    )
    return [RosterId(item) for item in connection.execute(query).scalars()]


def insert_lane(
    connection: Connection, campaign_id: CampaignId, carrier: CarrierCode, body: str, parts: int, receipt_part: int = 0
) -> int:
    """Open an empty lane and return its id."""
    result = connection.execute(
        insert(lane).values(
            campaign_id=campaign_id,
            carrier=carrier,
            body=body,
            parts=parts,
            messages=0,
            excluded=0,
            next_position=1,
            halted=None,
            receipt_part=receipt_part,
        )
    )
    return int(result.inserted_primary_key[0])  # type: ignore[index]


def lanes(connection: Connection, *campaign_ids: CampaignId) -> list[Lane]:
    """Return the lanes of these campaigns, in order of their ids."""
    return [Lane(**row) for row in connection.execute(_LANES, {"campaigns": campaign_ids}).mappings()]


def change_lane(connection: Connection, lane_id: int, **values: int | str | None) -> None:
    """Set the named columns of a lane."""
    connection.execute(update(lane).where(lane.c.id == lane_id).values(**values))


def move_on(connection: Connection, lane_id: int, next_position: int) -> None:
    """Set the next position of a lane that is not leased yet."""
    run(connection, "UPDATE lane SET next_position = ? WHERE id = ?", (next_position, lane_id))


def installed(connection: Connection) -> RowMapping:
    """Return the installation's one row."""
    return connection.execute(select(installation)).mappings().one()


def next_epoch(connection: Connection) -> int:
    """Raise the installation's epoch: every start of the service is one."""
    connection.execute(update(installation).values(epoch=installation.c.epoch + 1))
    return int(connection.execute(select(installation.c.epoch)).scalar_one())
