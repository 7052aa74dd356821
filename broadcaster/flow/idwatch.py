"""Watch whether receipts still find their messages, and tell when another way of reading ids would bring them together (F02, F06).

Nothing is ever switched: what is found is logged and returned as a proposal for the card.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Connection, bindparam, false, select, text

from broadcaster.model import CarrierCard
from broadcaster.rules.dialect import IdDialect, other_rules, propose, same_id, stored_id
from broadcaster.smpp.receipt import Receipt
from broadcaster.store.receipts import newest_id
from broadcaster.store.schema import message, receipt, submission

NEWEST: Final = 20_000
MOST_ORPHANS: Final = 200
"""So many of the newest receipts, and of those among them without a message, are looked at: old ones do not outvote a change."""
MORE_THAN: Final = 20
MORE_THAN_PERCENT: Final = 95
IDS_AT_ONCE: Final = 200

log = structlog.get_logger("idwatch")


class _Orphan(NamedTuple):
    smsc_id: str
    token: bytes


class IdWatch:
    """Watch one carrier account."""

    def __init__(self, card: CarrierCard) -> None:
        self._card = card
        self._told: IdDialect | None = None

    def conflicts(self, found: Receipt) -> bool:
        """Tell whether a receipt's parameter and text name different messages, however the ids are spelt (F06)."""
        if found.text_id is None or found.text_id == found.message_id:
            return False
        return not same_id(found.message_id, found.text_id, self._card.ids.receipt)

    def judge(self, connection: Connection) -> IdDialect | None:
        """Return the rule that would match more than 95 % of more than 20 orphans, by id and number; log it once.

        The orphans are the newest receipts of the carrier that are stored as unmatched.
        """
        orphans = _orphans(connection, self._card)
        if len({orphan.smsc_id for orphan in orphans}) <= MORE_THAN:
            return None
        believed = self._card.ids
        best: IdDialect | None = None
        for rule in other_rules(believed):
            wanted = {orphan: stored_id(orphan.smsc_id, believed, rule) for orphan in orphans}
            known = _submitted(connection, self._card, wanted.values())
            hits = {orphan.smsc_id: ours for orphan, ours in wanted.items() if (ours, orphan.token) in known}
            seen = len({orphan.smsc_id for orphan in orphans})
            if 100 * len(hits) > MORE_THAN_PERCENT * seen and (best is None or len(hits) > best.matched):
                best = propose(rule, believed, responses=list(hits.values()), receipts=list(hits), seen=seen)
        self._tell(best)
        return best

    def _tell(self, found: IdDialect | None) -> None:
        if found is None or (self._told is not None and self._told.rule == found.rule):
            return
        self._told = found
        log.error(
            "id-rule",
            carrier=self._card.code,
            count=found.seen,
            reason=f'response_id = "{found.rule.response}", receipt_id = "{found.rule.receipt}" would match {found.matched}',
        )


def _orphans(connection: Connection, card: CarrierCard) -> list[_Orphan]:
    query = (
        select(receipt.c.smsc_id, receipt.c.token)
        .where(receipt.c.id > newest_id(connection) - NEWEST, receipt.c.matched == false())
        .where(receipt.c.carrier == card.code, receipt.c.token.is_not(None), receipt.c.smsc_id != "")
        .order_by(receipt.c.id.desc())
        .limit(MOST_ORPHANS)
    )
    return [_Orphan(row.smsc_id, row.token) for row in connection.execute(query)]


def _submitted(connection: Connection, card: CarrierCard, ids: Iterable[str]) -> set[tuple[str, bytes]]:
    """Return (id, number's token) of what this carrier took under these ids and gave no receipt for."""
    query = (
        select(submission.c.smsc_id, message.c.token)
        .join(message, message.c.id == submission.c.message_id)
        # Answers that await their receipt, as the partial index spells it.
        .where(text("submission.state = 30"), submission.c.smsc_id.in_(bindparam("ids", expanding=True)))
        .where(submission.c.carrier == card.code)
    )
    wanted: Sequence[str] = sorted(set(ids))
    found: set[tuple[str, bytes]] = set()
    for start in range(0, len(wanted), IDS_AT_ONCE):
        found |= {tuple(row) for row in connection.execute(query, {"ids": wanted[start : start + IDS_AT_ONCE]})}
    return found
