"""What stands before a carrier's acceptance check: the texts it may send, the standing approval, the day's cap, the audit entry."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from broadcaster.errors import ConfigurationError, RefusedError
from broadcaster.lang import Said
from broadcaster.model import TIMEZONE, CarrierCard, Environment, Person
from broadcaster.rules.approval import sign
from broadcaster.rules.standing import LONGEST_DAYS, StandingApproval, digest, digests, objections
from broadcaster.rules.terms import closed_until, tps_now
from broadcaster.rules.wire import cut
from broadcaster.store.audit import Auditor, entries, first_break
from broadcaster.store.engine import Store
from broadcaster.store.times import from_ms
from broadcaster.text.lint import lint_sender
from broadcaster.text.segment import Coding

AUDIT_ACTION: Final = "carrier-check"
STEPS: Final = (0.25, 0.5, 0.75, 1.0)
"""Shares of the contract rate that are tried one after the other, a second's worth of parts each."""

_ZONE: Final = ZoneInfo(TIMEZONE)
_HOW_TO_SIGN: Final = Said(
    vi="người có vai trò approver ký bằng: broadcaster carrier approve-check",
    en="somebody with the role approver signs with: broadcaster carrier approve-check",
)


@dataclass(frozen=True)
class Errand:
    """What one check will send, and to whom."""

    card: CarrierCard
    sender: str
    texts: Mapping[str, str]
    """The texts this card can carry, by name."""
    skipped: Mapping[str, Said] = field(default_factory=dict)
    """Why each of the others is left out."""
    steps_tps: tuple[int, ...] = ()
    """Rates to try, each with as many texts of one part."""
    tps: int | None = None
    """The rate that the card allows at this hour; None is unlimited."""

    @property
    def count(self) -> int:
        """Return how many texts go out, each number counted."""
        return len(self.texts) * len(self.card.test_numbers) + sum(self.steps_tps)


def plan(card: CarrierCard, sender: str, texts: Mapping[str, str], *, with_tps: bool, now: dt.datetime) -> Errand:
    """Choose what this card can carry.

    Raises `ConfigurationError` when it registers no test number, or a text misses its parts, and `RefusedError` when the carrier is
    closed now, or allows less than its contract's rate while that is to be tried.
    """
    _require_open(card, with_tps=with_tps, now=now)
    if not card.test_numbers:
        raise ConfigurationError(
            Said(vi=f"thẻ {card.code} chưa ghi số máy thử nào (test_numbers)", en=f"the card {card.code} has no test_numbers"),
            Said(
                vi='ghi số máy của chính mình đã đăng ký với nhà mạng, ví dụ test_numbers = ["0912 345 678"]',
                en='write phones of your own, registered with the carrier, such as test_numbers = ["0912 345 678"]',
            ),
        )
    skipped: dict[str, Said] = {}
    for name, text in texts.items():
        if reason := _unfit(card, name, text):
            skipped[name] = reason
    chosen = {name: text for name, text in texts.items() if name not in skipped}
    if not chosen:
        raise ConfigurationError(
            Said(vi=f"thẻ {card.code} không nhận được tin thử nào", en=f"the card {card.code} can carry none of the test texts")
        )
    steps = () if card.tps is None or not with_tps else tuple(sorted({max(1, int(card.tps * share)) for share in STEPS}))
    return Errand(card, sender, chosen, skipped, steps, tps_now(card, now))


def _require_open(card: CarrierCard, *, with_tps: bool, now: dt.datetime) -> None:
    until = closed_until(card, now)
    if until is not None:
        at = until.astimezone(_ZONE)
        raise RefusedError(
            Said(
                vi=f"theo thẻ, {card.code} không nhận tin đến {at:%H:%M %d-%m-%Y}",
                en=f"by its card, {card.code} takes nothing until {at:%H:%M %d-%m-%Y}",
            )
        )
    allowed = tps_now(card, now)
    if with_tps and allowed != card.tps:
        raise RefusedError(
            Said(
                vi=f"giờ này thẻ chỉ cho {allowed} phần/s, nên không thử được tốc độ hợp đồng",
                en=f"at this hour the card allows {allowed} parts/s only, so the contract's rate cannot be tried",
            ),
            Said(
                vi="bỏ --tps, hoặc thử lại ngoài các giờ trong hourly_tps",
                en="leave out --tps, or try outside the hours of hourly_tps",
            ),
        )


def _unfit(card: CarrierCard, name: str, text: str) -> Said | None:
    segments = cut(text, card)
    parts = len(segments.parts)
    if parts != int(name.rpartition("-")[2]):
        raise ConfigurationError(
            Said(
                vi=f"tin thử {name} thành {parts} phần với thẻ {card.code}; hãy sửa mẫu tin thử",
                en=f"the test text {name} makes {parts} parts with the card {card.code}; mend the test texts",
            )
        )
    if segments.coding is Coding.UCS2 and not card.allow_unicode:
        return Said(vi="thẻ ghi nhà mạng không nhận chữ có dấu", en="the card says that the carrier takes no accented text")
    if parts > card.max_parts:
        return Said(vi=f"thẻ chỉ cho {card.max_parts} phần", en=f"the card allows {card.max_parts} parts only")
    if bad := sorted(set(text) & set(card.forbidden)):
        return Said(vi=f"thẻ cấm ký tự {' '.join(bad)}", en=f"the card forbids {' '.join(bad)}")
    return None


def sign_standing(
    texts: Mapping[str, str],
    *,
    person: Person,
    key: Ed25519PrivateKey,
    environment: Environment,
    sender: str,
    until: dt.date,
    daily: int,
    now: dt.datetime,
) -> StandingApproval:
    """Sign these rendered texts; whether the signature counts is for `judge_standing` to say. Raises `RefusedError`."""
    if found := lint_sender(sender):
        raise RefusedError(found[0].message)
    today = now.astimezone(_ZONE).date()
    if not today <= until <= today + dt.timedelta(days=LONGEST_DAYS):
        raise RefusedError(
            Said(
                vi=f"ngày hết hạn phải từ hôm nay đến tối đa {LONGEST_DAYS} ngày sau",
                en=f"the last day must be today or at most {LONGEST_DAYS} days later",
            )
        )
    made = StandingApproval(environment, sender, digests(texts), until, daily, person.name, now.replace(microsecond=0))
    return replace(made, signature=sign(key, digest(made)))


def judge_standing(
    approval: StandingApproval | None,
    texts: Mapping[str, str],
    environment: Environment,
    people: Iterable[Person],
    now: dt.datetime,
) -> StandingApproval:
    """Return the standing approval when it covers exactly these rendered texts today. Raises `RefusedError` with every reason."""
    if approval is None:
        raise RefusedError(
            Said(vi="chưa có phê duyệt thường trực cho tin thử", en="there is no standing approval for test texts"), _HOW_TO_SIGN
        )
    found = objections(approval, texts, environment, people, now.astimezone(_ZONE).date())
    if found:
        raise RefusedError(
            Said(
                vi="phê duyệt thường trực cho tin thử không có hiệu lực: " + "; ".join(item.vi for item in found),
                en="the standing approval for test texts does not hold: " + "; ".join(item.en for item in found),
            ),
            _HOW_TO_SIGN,
        )
    return approval


def require_room(connection: Connection, audit_key: bytes, approval: StandingApproval, errand: Errand, now: dt.datetime) -> None:
    """Raise `RefusedError` when the audit chain is broken, or when this errand would exceed the day's cap."""
    if (broken := first_break(connection, audit_key)) is not None:
        raise RefusedError(
            Said(
                vi=f"nhật ký bị sửa từ mục {broken}, nên không biết hôm nay đã gửi bao nhiêu tin thử",
                en=f"the audit chain is broken at entry {broken}, so nobody knows how many test texts went out today",
            )
        )
    used = texts_on(connection, now)
    if used + errand.count > approval.daily:
        raise RefusedError(
            Said(
                vi=f"cần gửi {errand.count} tin thử, hôm nay đã gửi {used}, phê duyệt chỉ cho {approval.daily} tin mỗi ngày",
                en=f"{errand.count} test texts are needed, {used} went out today, and the approval allows {approval.daily} a day",
            ),
            Said(
                vi="chờ đến ngày mai, bỏ --tps, hoặc ký lại với --daily lớn hơn",
                en="wait until tomorrow, leave out --tps, or sign again with a greater --daily",
            ),
        )


def texts_on(connection: Connection, now: dt.datetime) -> int:
    """Return how many test texts the audit chain records for the local day of `now`, over all carriers."""
    day = now.astimezone(_ZONE).date()
    return sum(
        int(entry.detail["texts"])
        for entry in entries(connection)
        if entry.action == AUDIT_ACTION and from_ms(entry.at_ms).astimezone(_ZONE).date() == day
    )


def reserve(store: Store, auditor: Auditor, audit_key: bytes, approval: StandingApproval, errand: Errand, now: dt.datetime) -> int:
    """Enter the check into the audit chain ahead of its first text; return a number no other check has. Raises `RefusedError`."""
    with store.write() as connection:
        require_room(connection, audit_key, approval, errand, now)
        auditor.record(
            connection,
            AUDIT_ACTION,
            errand.card.code,
            {
                "texts": errand.count,
                "numbers": len(errand.card.test_numbers),
                "names": sorted(errand.texts),
                "steps_tps": list(errand.steps_tps),
                "sender": errand.sender,
                "approval": digest(approval),
            },
        )
        return max(entry.seq for entry in entries(connection))
