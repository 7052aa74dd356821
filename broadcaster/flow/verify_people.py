"""Were the recipients the people that was signed for: those of the signed rosters, or of the earlier campaign's remainder?

An approval covers a rule and salted commitments over numbers, not rows; so somebody put in the place of another, within the signed
maximum, shows only when the rosters and the recipients are held against what was signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, text

from broadcaster.errors import NotFoundError
from broadcaster.flow.invariant import Check
from broadcaster.lang import Said
from broadcaster.rules.tally import NOT_REACHED
from broadcaster.store.areas import outlined_of
from broadcaster.store.audit import Entry
from broadcaster.store.campaigns import Campaign, Lane, find_campaign, lanes
from broadcaster.store.erasure import FORGET, stored_commitment
from broadcaster.store.schema import campaign_roster, roster
from broadcaster.store.vault import FIRST_TOKEN, Vault

_STRANGERS = text(
    "SELECT count(*) FROM message m WHERE m.id >= :first AND m.id < :end AND m.token >= :first_token AND NOT EXISTS ("
    "  SELECT 1 FROM subscriber s WHERE s.roster_id IN :rosters AND s.token = m.token)"
).bindparams(bindparam("rosters", expanding=True))
_NOT_OF_REMAINDER = text(
    "SELECT count(*) FROM (SELECT token FROM message WHERE id >= :first AND id < :end AND token >= :first_token EXCEPT "
    "SELECT m.token FROM message m JOIN lane l ON l.id = m.id >> 32 "
    "WHERE l.campaign_id = :earlier AND l.carrier = :carrier AND m.state IN :not_reached) AS stray"
).bindparams(bindparam("not_reached", [int(state) for state in NOT_REACHED], expanding=True))


def people_signed_for(
    connection: Connection, vault: Vault, found: Campaign, every: Sequence[Lane], log: Sequence[Entry] = ()
) -> Check:
    """I8: the stored rosters are the signed ones, number by number, and every recipient is in them (or in the signed remainder).

    Of a roster that somebody was erased from, the audit chain says what it was before and has been since.
    """
    signed = found.content.get("rosters", [])
    details = _rosters(connection, vault, found, signed, log) if signed else []
    for lane in every:
        if not lane.messages:
            continue
        bounds = {"first": lane.first_id, "end": lane.end_id, "first_token": FIRST_TOKEN}
        if signed and (strangers := _count(connection, _STRANGERS, bounds | {"rosters": _ids(connection, found, lane)})):
            details.append(
                Said(
                    f"{lane.carrier}: {strangers} người nhận không có trong danh sách thuê bao đã ký",
                    f"{lane.carrier}: {strangers} recipients are not in the signed roster",
                )
            )
    earlier = found.content.get("earlier")
    if earlier is not None:
        details += _remainder(connection, earlier, every)
    outlined = found.content.get("outlined")
    if outlined is not None and outlined_of(connection, found.id).digest != outlined["digest"]:
        details.append(
            Said(
                "các cell trong vòng tròn, đa giác không phải là những cell đã ký",
                "the cells inside the outlines are not the signed ones",
            )
        )
    recipients = sum(lane.messages for lane in every)
    said = Said(
        f"{recipients} người nhận đúng là người trong danh sách đã ký" if signed else "Lệnh đã ký không kèm danh sách thuê bao",
        f"The {recipients} recipients are people of the signed rosters" if signed else "No rosters were signed",
    )
    return Check("I8", not details, said, details)


def _ids(connection: Connection, found: Campaign, lane: Lane) -> list[int]:
    used = select(roster.c.id).join(campaign_roster, campaign_roster.c.roster_id == roster.c.id)
    query = used.where(campaign_roster.c.campaign_id == found.id, roster.c.carrier == lane.carrier)
    return list(connection.execute(query).scalars())


def _count(connection: Connection, query: Any, values: Mapping[str, Any]) -> int:
    return int(connection.execute(query, values).scalar_one())


def _rosters(
    connection: Connection, vault: Vault, found: Campaign, signed: Sequence[Mapping[str, Any]], log: Sequence[Entry]
) -> list[Said]:
    """Compute each roster's commitment anew from the subscribers that are stored."""
    query = select(roster).join(campaign_roster, campaign_roster.c.roster_id == roster.c.id)
    used = connection.execute(query.where(campaign_roster.c.campaign_id == found.id)).all()
    details = []
    wanted = {str(item["carrier"]): item["commitment"] for item in signed}
    if sorted(wanted) != sorted(row.carrier for row in used):
        details.append(Said("danh sách thuê bao của chiến dịch không phải là những bản đã ký", "the rosters are not the signed ones"))
    details += [
        Said(f"{row.carrier}: danh sách thuê bao #{row.id} khác bản đã ký", f"{row.carrier}: roster #{row.id} is not what was signed")
        for row in used
        if _since(wanted.get(row.carrier), row.id, log) != stored_commitment(connection, vault, row.id, row.salt)
    ]
    return details


def _since(signed: str | None, roster_id: int, log: Sequence[Entry]) -> str | None:
    """Return what a roster's commitment must be now, after those who were erased from it."""
    for entry in log:
        for erased in entry.detail["rosters"] if entry.action == FORGET else ():
            if (erased["roster"], erased["was"]) == (roster_id, signed):
                signed = str(erased["now"])
    return signed


def _remainder(connection: Connection, earlier: Mapping[str, Any], every: Sequence[Lane]) -> list[Said]:
    try:
        first = find_campaign(connection, earlier["name"])
    except NotFoundError as error:
        return [error.message]
    details = []
    if first.digest != earlier["digest"]:
        details.append(
            Said(f"«{first.name}» không còn là chiến dịch đã ký", f"“{first.name}” is not the campaign that was signed any more")
        )
    carriers = {lane.carrier for lane in lanes(connection, first.id)}
    for lane in every:
        values = {"first": lane.first_id, "end": lane.end_id, "earlier": first.id, "carrier": lane.carrier}
        values["first_token"] = FIRST_TOKEN
        stray = _count(connection, _NOT_OF_REMAINDER, values) if lane.carrier in carriers else lane.messages
        if stray:
            details.append(
                Said(
                    f"{lane.carrier}: {stray} người nhận không thuộc phần chưa đến được của «{first.name}»",
                    f"{lane.carrier}: {stray} recipients are not of those whom “{first.name}” did not reach",
                )
            )
    return details
