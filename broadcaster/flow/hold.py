"""Legal holds: as long as one is in force nothing is erased of the campaign, roster or number it names."""

from __future__ import annotations

import datetime as dt

from broadcaster.errors import NotFoundError
from broadcaster.flow.subject import number_of
from broadcaster.lang import Said
from broadcaster.rules.basis import Basis, check_basis
from broadcaster.rules.numbers import NumberPlan
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import find_campaign
from broadcaster.store.engine import Store
from broadcaster.store.holds import HoldScope, add_hold, release_hold
from broadcaster.store.rosters import rosters
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault


def place_hold(
    store: Store,
    auditor: Auditor,
    vault: Vault,
    plan: NumberPlan,
    scope: HoldScope,
    subject: str,
    *,
    document: Basis,
    reason: str,
    now: dt.datetime,
) -> int:
    """Put a hold on a campaign (name or number), a roster (number) or a phone number; return its id.

    Raises `NotFoundError` when there is no such thing, `ConfigurationError` for an impossible document. Whether anything is stored
    of a phone number does not matter: the hold covers what may come, too.
    """
    check_basis(document, now)
    token = vault.token(number_of(subject, plan)) if scope is HoldScope.NUMBER else None
    with store.write() as connection:
        subject_id = None
        if scope is HoldScope.CAMPAIGN:
            subject_id = int(find_campaign(connection, subject).id)
        elif scope is HoldScope.ROSTER:
            known = {str(item.id): int(item.id) for item in rosters(connection)}
            if subject not in known:
                raise NotFoundError(
                    Said(f"Không có danh sách thuê bao số «{subject}».", f"There is no roster “{subject}”."),
                    Said("xem danh sách: broadcaster roster list", "list them with: broadcaster roster list"),
                )
            subject_id = known[subject]
        made = add_hold(
            connection,
            scope,
            subject_id=subject_id,
            token=token,
            document=document.number,
            documented_on=document.date.isoformat(),
            reason=reason,
            added_by=auditor.actor,
            added_ms=to_ms(now),
        )
        detail = {"scope": scope.value, "document": document.number, "date": document.date.isoformat(), "reason": reason}
        if subject_id is not None:
            detail["of"] = str(subject_id)
        auditor.record(connection, "hold-add", f"hold {made}", detail)
    return made


def lift_hold(store: Store, auditor: Auditor, hold_id: int, *, reason: str, now: dt.datetime) -> None:
    """End a hold. Raises `NotFoundError` when there is none with this id that is in force."""
    with store.write() as connection:
        if not release_hold(connection, hold_id, reason=reason, released_by=auditor.actor, released_ms=to_ms(now)):
            raise NotFoundError(
                Said(f"Không có lệnh giữ số {hold_id} đang có hiệu lực.", f"There is no hold {hold_id} in force."),
                Said("xem danh sách: broadcaster hold list", "list them with: broadcaster hold list"),
            )
        auditor.record(connection, "hold-release", f"hold {hold_id}", {"reason": reason})
