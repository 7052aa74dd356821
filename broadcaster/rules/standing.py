"""The standing approval of system texts: who lets which texts of our own go out without a campaign, until when, how many a day.

Nothing unsigned reaches a socket. What is signed covers the digest of every text as it is rendered, the sender, the environment, the
last day and the daily cap; whoever checks it computes the digests anew from what will really be sent.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from broadcaster.lang import Said
from broadcaster.model import Approval, Environment, Person
from broadcaster.rules.approval import Requirement, canonical, judge
from broadcaster.text.fold import nfc

PREFIX: Final = b"broadcaster-standing-v1\n"
"""Separates a standing approval's digest from the digest of an order, or of anything else."""

KIND: Final = "carrier-check"
LONGEST_DAYS: Final = 366


@dataclass(frozen=True, slots=True)
class StandingApproval:
    """One person's signature under a set of system texts."""

    environment: Environment
    sender: str
    texts: Mapping[str, str]
    """Name of the text to the SHA-256, in hexadecimal, of its rendered form in UTF-8."""
    until: dt.date
    """The last local day on which it holds."""
    daily: int
    """How many texts may go out on one local day, each number counted."""
    person: str
    signed_at: dt.datetime
    signature: bytes = b""


def digests(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each text in NFC and UTF-8, by name."""
    return {name: hashlib.sha256(nfc(text).encode()).hexdigest() for name, text in texts.items()}


def digest(approval: StandingApproval) -> str:
    """Return the digest that is signed: everything but the signature itself."""
    content = {
        "kind": KIND,
        "environment": str(approval.environment),
        "sender": approval.sender,
        "texts": dict(approval.texts),
        "until": approval.until.isoformat(),
        "daily": approval.daily,
        "person": approval.person,
        "signed_at": approval.signed_at.astimezone(dt.UTC).isoformat(timespec="seconds"),
    }
    return hashlib.sha256(PREFIX + canonical(content)).hexdigest()


def objections(
    approval: StandingApproval, texts: Mapping[str, str], environment: Environment, people: Iterable[Person], today: dt.date
) -> list[Said]:
    """Return why the approval does not let these rendered texts out today; an empty list lets them."""
    found: list[Said] = []
    signed = digest(approval)
    verdict = judge(
        signed,
        [Approval(approval.person, signed, approval.signature, approval.signed_at)],
        people,
        (),
        Requirement(approvers=1, duty_officer=False, environment=environment),
    )
    if not verdict.ok:
        found += verdict.discounted or verdict.missing
    if approval.environment is not environment:
        found.append(
            Said(
                vi=f"ký cho môi trường {approval.environment}, không phải {environment}",
                en=f"it is for {approval.environment}, not for {environment}",
            )
        )
    if today > approval.until:
        found.append(Said(vi=f"đã hết hạn ngày {approval.until:%d-%m-%Y}", en=f"it ended on {approval.until.isoformat()}"))
    if dict(approval.texts) != digests(texts):
        found.append(
            Said(vi="nội dung tin thử đã khác với nội dung được ký", en="the test texts are no longer those that were signed")
        )
    return found
