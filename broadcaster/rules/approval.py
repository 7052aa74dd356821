"""What approvers sign, how many of them it takes, and whether the signatures at hand are enough.

The digest covers everything that reaches the wire. Whoever checks it computes it anew from what will really be sent, so an edit by
any road voids every signature.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broadcaster.lang import Said
from broadcaster.model import Approval, Environment, Person, Role

PREFIX: Final = b"broadcaster-order-v1\n"
"""Separates an order's digest from the digest of anything else."""

TWO_APPROVERS_FROM: Final = 1_000
DUTY_OFFICER_FROM: Final = 100_000


def canonical(content: Mapping[str, object]) -> bytes:
    """Return the one JSON form of the content: UTF-8, keys sorted, no spaces, strings in NFC.

    TypeError for a float or any other type JSON does not keep exactly; ValueError when two keys become one in NFC.
    """
    return json.dumps(_normal(content), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest(content: Mapping[str, object]) -> str:
    """Return the SHA-256, in hexadecimal, of the content under the order's prefix. Raises as `canonical` does."""
    return hashlib.sha256(PREFIX + canonical(content)).hexdigest()


def content_of(
    order_json: Mapping[str, object],
    bodies: Iterable[Mapping[str, object]],
    rosters: Iterable[Mapping[str, object]],
    environment: Environment,
) -> Mapping[str, object]:
    """Return what is signed: the order, the rendered texts, the snapshots of people, and whether it reaches the public.

    `bodies` are mappings of carrier or variant, text, coding, parts, sha256; `rosters` of carrier, commitment, rows, observed_at.
    Their order does not matter. ValueError when the order names another environment.
    """
    if order_json.get("environment", environment) != environment:
        raise ValueError(f"the order is for {order_json['environment']}, not for {environment}")
    return {
        "order": order_json,
        "bodies": sorted(bodies, key=canonical),
        "rosters": sorted(rosters, key=canonical),
        "environment": str(environment),
    }


def _normal(value: object) -> object:
    match value:
        case None | bool() | int():
            return value
        case str():
            return unicodedata.normalize("NFC", value)
        case Mapping():
            normal = {_key(key): _normal(inner) for key, inner in value.items()}
            if len(normal) != len(value):
                raise ValueError("two keys are the same in NFC")
            return normal
        case list() | tuple():
            return [_normal(inner) for inner in value]
        case _:
            raise TypeError(f"{type(value).__name__} has no canonical form")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key must be a string, not {type(key).__name__}")
    return unicodedata.normalize("NFC", key)


class Requirement(NamedTuple):
    """How many signatures an order needs: of approvers, and one more of the duty officer or not."""

    approvers: int
    duty_officer: bool
    environment: Environment = Environment.LIVE


def required(recipients: int, environment: Environment, *, overrides_refusals: bool) -> Requirement:
    """Return the tier of this many recipients; a rehearsal needs what the live campaign would.

    Whom to text although they refused is for the duty officer to sign as well, however few they are.
    """
    return Requirement(
        approvers=1 if recipients < TWO_APPROVERS_FROM else 2,
        duty_officer=overrides_refusals or recipients >= DUTY_OFFICER_FROM,
        environment=environment,
    )


def sign(private_key: Ed25519PrivateKey, signed_digest: str) -> bytes:
    """Return the 64-byte Ed25519 signature over the 32 bytes of the digest. ValueError when it is no SHA-256 in hexadecimal."""
    return private_key.sign(_digest_bytes(signed_digest))


def _digest_bytes(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != hashlib.sha256().digest_size:
        raise ValueError("a digest has 64 hexadecimal digits")
    return raw


class Judgement(NamedTuple):
    """Whether the signatures suffice."""

    valid: tuple[str, ...]
    """Names of the people whose signatures count, sorted."""
    missing: tuple[Said, ...]
    """What is still needed; empty when `ok`."""
    discounted: tuple[Said, ...]
    """Why each of the other signatures does not count."""
    ok: bool


def judge(
    current_digest: str,
    approvals: Sequence[Approval],
    people: Iterable[Person],
    barred: Collection[str],
    requirement: Requirement,
) -> Judgement:
    """Judge the signatures over the current digest.

    One counts when it verifies, is over this very digest, and is by an approver or duty officer who is not barred (author, editor,
    submitter) and shares neither name nor key with anyone barred or already counted. ValueError when the digest is malformed.
    """
    message = _digest_bytes(current_digest)
    known = list(people)
    names = Counter(person.name for person in known)
    by_name = {person.name: person for person in known if names[person.name] == 1}
    barred_keys = {person.public_key for person in known if person.name in barred}
    counted: dict[bytes, Person] = {}
    discounted: list[Said] = []
    for approval in approvals:
        person = by_name.get(approval.person)
        if person is None:
            discounted.append(
                Said(
                    vi=f"{approval.person}: không có, hoặc có nhiều hơn một, trong danh sách người ký",
                    en=f"{approval.person}: not, or more than once, in the list of signers",
                )
            )
        elif person in counted.values():
            continue
        elif reason := _objection(approval, person, current_digest, message, barred):
            discounted.append(Said(vi=f"{person.name}: {reason.vi}", en=f"{person.name}: {reason.en}"))
        elif person.public_key in counted or person.public_key in barred_keys:
            discounted.append(
                Said(vi=f"{person.name}: dùng chung khóa với người khác", en=f"{person.name}: shares a key with somebody else")
            )
        else:
            counted[person.public_key] = person
    missing = _missing(list(counted.values()), requirement)
    return Judgement(tuple(sorted(person.name for person in counted.values())), missing, tuple(discounted), not missing)


def _objection(approval: Approval, person: Person, current_digest: str, message: bytes, barred: Collection[str]) -> Said | None:
    if person.name in barred:
        return Said(vi="là người soạn hoặc người trình nên không được ký", en="wrote or submitted it, so may not sign")
    if not person.roles & {Role.APPROVER, Role.DUTY_OFFICER}:
        return Said(vi="không có quyền phê duyệt", en="is neither approver nor duty officer")
    if approval.digest != current_digest:
        return Said(vi="đã ký một nội dung khác", en="signed another content")
    try:
        Ed25519PublicKey.from_public_bytes(person.public_key).verify(approval.signature, message)
    except (InvalidSignature, ValueError):
        return Said(vi="chữ ký không đúng", en="the signature does not verify")
    return None


def _missing(signers: Sequence[Person], requirement: Requirement) -> tuple[Said, ...]:
    """Fill the duty officer's place with whoever can fill no other, then count the approvers left."""
    officers = [person for person in signers if Role.DUTY_OFFICER in person.roles]
    approvers = sum(Role.APPROVER in person.roles for person in signers)
    missing: list[Said] = []
    if requirement.duty_officer:
        if not officers:
            missing.append(Said(vi="thiếu chữ ký của lãnh đạo trực", en="the duty officer's signature is missing"))
        elif all(Role.APPROVER in person.roles for person in officers):
            approvers -= 1
    if (lacking := requirement.approvers - approvers) > 0:
        missing.append(
            Said(
                vi=f"thiếu {lacking} chữ ký của người phê duyệt",
                en=f"{lacking} approver's signature is missing" if lacking == 1 else f"{lacking} approvers' signatures are missing",
            )
        )
    return tuple(missing)
