"""The order of sending mixes communes and number ranges: no cell and no exchange is hit with a whole commune at once."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import insert

from broadcaster.model import RosterId
from broadcaster.store import audience
from broadcaster.store.audience import Rule
from broadcaster.store.campaigns import change_lane, insert_campaign, insert_lane, lanes
from broadcaster.store.engine import Store, append
from broadcaster.store.schema import cell, roster, subscriber
from broadcaster.store.vault import Vault

COMMUNES = ("21025", "21040", "21548", "21553", "21558")
EXCHANGE = 1_000
"""Numbers of one block, which is one commune's here: the worst an export can be."""


def enlisted(store: Store, vault: Vault, people: int) -> list[tuple[int, str]]:
    """Enlist one roster in the order of its numbers, block by block and commune by commune; return (number, commune) in turn."""
    numbers = [84_905_000_000 + at for at in range(people)]
    tokens = vault.tokens(numbers)
    with store.write() as connection:
        cells = [(at, "viettel", str(at), area, "file") for at, area in enumerate(COMMUNES, 1)]
        append(connection, cell, ("id", "carrier", "key", "area_code", "placed"), cells)
        snapshot = {
            "id": 1,
            "carrier": "viettel",
            "file_name": "f",
            "file_sha256": "s",
            "legal_basis": "b",
            "requested_on": "2026-01-01",
            "observed_ms": 0,
            "imported_ms": 0,
            "file_rows": people,
            "kept": people,
            "complete": True,
            "salt": b"",
        }
        connection.execute(insert(roster).values(snapshot))
        rows = [(1, token, at // EXCHANGE % len(COMMUNES) + 1, 0) for at, token in enumerate(tokens)]
        append(connection, subscriber, ("roster_id", "token", "cell_id", "seen_s"), rows)
        values = {
            "content_json": "{}",
            "digest": "",
            "recipients": people,
            "submitted_by": "thu",
            "submitted_ms": 0,
            "roster_ids": [1],
        }
        campaign_id = insert_campaign(connection, name="thu", **values)
        insert_lane(connection, campaign_id, "viettel", "x", 1)
        rule = Rule([RosterId(1)], [], 24, obey_refusals=True)
        audience.prepare(connection, rule)
        for low, high in audience.token_slices(people):
            (item,) = lanes(connection, campaign_id)
            added, _ = audience.enlist(connection, rule, [item], low, high)[item.id]
            change_lane(connection, item.id, messages=item.messages + added)
        found = connection.exec_driver_sql("SELECT token, area_code FROM message ORDER BY id").all()
    return list(zip(vault.reveal([row[0] for row in found]), (row[1] for row in found), strict=True))


def test_no_hundred_in_a_row_fall_on_one_commune_or_one_block_of_numbers(store: Store, vault: Vault) -> None:
    order = enlisted(store, vault, 10 * EXCHANGE)
    assert len(order) == 10 * EXCHANGE
    for start in range(0, len(order), 100):
        window = order[start : start + 100]
        # A fair shuffle puts 20 and 10 of a hundred into each; six standard deviations above are 44 and 28.
        assert max(Counter(area for _, area in window).values()) <= 44
        assert max(Counter(number // EXCHANGE for number, _ in window).values()) <= 28
