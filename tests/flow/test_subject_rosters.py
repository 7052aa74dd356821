"""A person's number in the carriers' rosters, and a hold on one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from broadcaster.files.prefixes import read_plan
from broadcaster.flow import hold, subject
from broadcaster.model import Msisdn
from broadcaster.rules.basis import Basis
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.holds import HoldScope, holds_on
from broadcaster.store.rosters import Roster
from broadcaster.store.vault import Vault


def test_a_roster_tells_commune_time_and_basis_and_a_hold_on_it_covers_its_people(
    installed_store: Store, vault: Vault, auditor: Auditor, load: Callable[..., Roster], now: dt.datetime
) -> None:
    made = load("viettel", 8)
    third, absent = Msisdn(84_960_000_002), Msisdn(84_960_000_008)
    held = subject.show(installed_store, vault, auditor, third)
    (found,) = held.listings
    assert (found.roster_id, found.carrier, found.area_code, found.legal_basis) == (made.id, "viettel", "21548", "1/CV")
    assert found.seen_ms == int((now - dt.timedelta(hours=1)).timestamp()) * 1000
    assert subject.show(installed_store, vault, auditor, absent).listings == []
    document = Basis("15/QĐ", now.date())
    placed = hold.place_hold(
        installed_store, auditor, vault, read_plan(), HoldScope.ROSTER, str(made.id), document=document, reason="x", now=now
    )
    with installed_store.read() as connection:
        assert holds_on(connection, vault.token(third)) == [placed]
        assert holds_on(connection, vault.token(absent)) == []
