"""Digests, signatures and the number of them."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from collections.abc import Iterable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from broadcaster.model import Approval, Environment, Person, Role
from broadcaster.rules.approval import Judgement, Requirement, canonical, content_of, digest, judge, required, sign

AT = dt.datetime(2026, 11, 23, 3, tzinfo=dt.UTC)
CONTENT = {"order": {"name": "canh-bao", "values": {"hotline": "156"}}, "environment": "live"}
DIGEST = digest(CONTENT)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
contents = st.dictionaries(
    names,
    st.recursive(
        st.none() | st.booleans() | st.integers() | names,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def is_normal(content: object) -> bool:
    text = json.dumps(content, ensure_ascii=False)
    return unicodedata.is_normalized("NFC", text)


def key_of(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def a_person(name: str, number: int, *roles: Role) -> Person:
    return Person(name, name, frozenset(roles), key_of(number).public_key().public_bytes_raw())


def signed(name: str, number: int, over: str = DIGEST, claims: str | None = None) -> Approval:
    return Approval(name, claims or over, sign(key_of(number), over), AT)


LEADER = a_person("lanh-dao-so", 1, Role.APPROVER)
CHIEF = a_person("truong-phong", 2, Role.APPROVER)
OFFICER = a_person("truc-ban", 3, Role.DUTY_OFFICER)
BOTH = a_person("pho-giam-doc", 4, Role.APPROVER, Role.DUTY_OFFICER)
AUTHOR = a_person("chuyen-vien", 5, Role.APPROVER, Role.AUTHOR)
AUDITOR = a_person("thanh-tra", 6, Role.AUDITOR)
PEOPLE = (LEADER, CHIEF, OFFICER, BOTH, AUTHOR, AUDITOR)
NUMBERS = {person.name: number for number, person in enumerate(PEOPLE, start=1)}
ONE, TWO, THREE = Requirement(1, False), Requirement(2, False), Requirement(2, True)


def judged(approvals: Iterable[Approval], requirement: Requirement = ONE, people: Iterable[Person] = PEOPLE) -> Judgement:
    return judge(DIGEST, list(approvals), people, {"chuyen-vien"}, requirement)


def by(*people: Person) -> list[Approval]:
    return [signed(person.name, NUMBERS[person.name]) for person in people]


def test_the_canonical_form_is_one_line_of_sorted_utf8() -> None:
    assert canonical({"b": [1, True, None], "a": {"y": "Hủy", "x": ()}}) == '{"a":{"x":[],"y":"Hủy"},"b":[1,true,null]}'.encode()


def test_composed_and_decomposed_text_have_one_digest() -> None:
    text = "Từ chối: TC gửi 8088"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    assert digest({"text": decomposed, decomposed: 1}) == digest({"text": text, text: 1})


def test_a_digest_is_bound_to_its_purpose() -> None:
    assert digest({}) == "a70125d1f04b22d56ccbfb9e711156fd631203e5652e7cdefa56578ae6802d82"


@pytest.mark.parametrize("value", [1.0, float("nan"), b"x", {1, 2}, AT, {"deep": [1.5]}])
def test_what_json_does_not_keep_exactly_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="canonical"):
        canonical({"value": value})


def test_keys_must_be_strings_and_stay_apart() -> None:
    with pytest.raises(TypeError, match="key"):
        canonical({"values": {1: "x"}})
    with pytest.raises(ValueError, match="NFC"):
        canonical({"\u00e9": 1, "e\u0301": 2})


@given(contents)
def test_the_canonical_form_says_the_same_and_is_stable(content: dict[str, object]) -> None:
    assume(is_normal(content))
    encoded = canonical(content)
    assert json.loads(encoded) == content
    assert canonical(json.loads(encoded)) == encoded
    assert digest(dict(reversed(content.items()))) == digest(content)


@given(contents, contents)
def test_any_change_of_content_changes_the_digest(one: dict[str, object], other: dict[str, object]) -> None:
    assume(is_normal(one) and is_normal(other))
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


BODIES = [
    {"variant": "accented", "text": "Cảnh báo", "coding": "ucs2", "parts": 1, "sha256": "aa"},
    {"variant": "unaccented", "text": "Canh bao", "coding": "gsm7", "parts": 1, "sha256": "bb"},
]
ROSTERS = [
    {"carrier": "viettel", "commitment": "cc", "rows": 10, "observed_at": "2026-11-22T00:00:00Z"},
    {"carrier": "gmobile", "commitment": "dd", "rows": 2, "observed_at": "2026-11-22T00:00:00Z"},
]
ORDER = {"name": "canh-bao", "environment": "live", "validity_h": 6}


def test_the_order_of_texts_and_rosters_does_not_matter() -> None:
    here = content_of(ORDER, BODIES, ROSTERS, Environment.LIVE)
    there = content_of(ORDER, BODIES[::-1], ROSTERS[::-1], Environment.LIVE)
    assert digest(here) == digest(there)


@given(st.sampled_from(["order", "bodies", "rosters"]), st.data())
def test_whatever_is_edited_in_the_content_changes_the_digest(section: str, data: st.DataObject) -> None:
    sources: dict[str, list[dict[str, object]]] = {"order": [ORDER], "bodies": BODIES, "rosters": ROSTERS}
    edited = {name: [dict(one) for one in ones] for name, ones in sources.items()}
    victim = data.draw(st.sampled_from(edited[section]))
    key = data.draw(st.sampled_from(sorted(set(victim) - {"environment"})))
    before = victim[key]
    victim[key] = before + 1 if isinstance(before, int) else f"{before}."
    after = content_of(edited["order"][0], edited["bodies"], edited["rosters"], Environment.LIVE)
    assert digest(after) != digest(content_of(ORDER, BODIES, ROSTERS, Environment.LIVE))


def test_the_environment_is_signed_and_cannot_contradict_the_order() -> None:
    nameless = {"name": "canh-bao"}
    rehearsal = content_of(nameless, BODIES, ROSTERS, Environment.REHEARSAL)
    assert digest(rehearsal) != digest(content_of(nameless, BODIES, ROSTERS, Environment.LIVE))
    with pytest.raises(ValueError, match="not for rehearsal"):
        content_of(ORDER, BODIES, ROSTERS, Environment.REHEARSAL)


@pytest.mark.parametrize(
    ("recipients", "approvers", "duty_officer"),
    [(0, 1, False), (999, 1, False), (1_000, 2, False), (99_999, 2, False), (100_000, 2, True), (2_000_000, 2, True)],
)
@pytest.mark.parametrize("environment", Environment)
def test_more_recipients_need_more_signatures(recipients: int, approvers: int, duty_officer: bool, environment: Environment) -> None:
    assert required(recipients, environment, overrides_refusals=False) == Requirement(approvers, duty_officer, environment)


@pytest.mark.parametrize(("recipients", "approvers"), [(1, 1), (1_000, 2), (100_000, 2)])
def test_texting_people_who_refused_needs_the_duty_officer_as_well(recipients: int, approvers: int) -> None:
    assert required(recipients, Environment.LIVE, overrides_refusals=True) == Requirement(approvers, True, Environment.LIVE)


@pytest.mark.parametrize(
    ("signers", "requirement", "ok"),
    [
        ([LEADER], ONE, True),
        ([OFFICER], ONE, False),
        ([BOTH], ONE, True),
        ([LEADER], TWO, False),
        ([LEADER, CHIEF], TWO, True),
        ([LEADER, OFFICER], TWO, False),
        ([LEADER, BOTH], TWO, True),
        ([LEADER, CHIEF], THREE, False),
        ([LEADER, CHIEF, OFFICER], THREE, True),
        ([LEADER, CHIEF, BOTH], THREE, True),
        ([LEADER, BOTH], THREE, False),
        ([LEADER, OFFICER], THREE, False),
        ([LEADER, BOTH, OFFICER], THREE, True),
        ([], ONE, False),
    ],
)
def test_each_tier_wants_its_people(signers: list[Person], requirement: Requirement, ok: bool) -> None:
    verdict = judged(by(*signers), requirement)
    assert verdict.valid == tuple(sorted(person.name for person in signers))
    assert verdict.ok is ok
    assert bool(verdict.missing) is not ok
    assert not verdict.discounted


def test_what_is_missing_is_said() -> None:
    verdict = judged([], THREE)
    assert [said.vi for said in verdict.missing] == ["thiếu chữ ký của lãnh đạo trực", "thiếu 2 chữ ký của người phê duyệt"]
    assert [said.en for said in judged(by(LEADER), TWO).missing] == ["1 approver's signature is missing"]


@pytest.mark.parametrize(
    ("approval", "why"),
    [
        (by(AUTHOR)[0], "wrote or submitted"),
        (by(AUDITOR)[0], "neither approver"),
        (signed("nguoi-la", 9), "list of signers"),
        (signed("lanh-dao-so", 2), "does not verify"),
        (signed("lanh-dao-so", 1, over="00" * 32), "another content"),
        (signed("lanh-dao-so", 1, over="00" * 32, claims=DIGEST), "does not verify"),
        (Approval("lanh-dao-so", DIGEST, b"", AT), "does not verify"),
        (Approval("lanh-dao-so", DIGEST, bytes(64), AT), "does not verify"),
    ],
)
def test_a_signature_that_does_not_count_is_named_with_its_reason(approval: Approval, why: str) -> None:
    verdict = judged([approval])
    assert not verdict.ok
    assert verdict.valid == ()
    assert [why in said.en for said in verdict.discounted] == [True]


def test_signing_twice_counts_once() -> None:
    verdict = judged(by(LEADER, LEADER, LEADER), TWO)
    assert verdict.valid == ("lanh-dao-so",)
    assert not verdict.ok


def test_a_good_signature_counts_after_a_bad_one_of_the_same_person() -> None:
    assert judged([signed("lanh-dao-so", 9), *by(LEADER)]).ok


def test_two_names_with_one_key_count_once() -> None:
    twin = a_person("anh-em", 1, Role.APPROVER)
    verdict = judged([*by(LEADER), signed("anh-em", 1)], TWO, (*PEOPLE, twin))
    assert verdict.valid == ("lanh-dao-so",)
    assert "shares a key" in verdict.discounted[0].en


def test_an_author_cannot_sign_under_another_name_with_the_same_key() -> None:
    mask = a_person("nguoi-khac", 5, Role.APPROVER)
    assert not judged([signed("nguoi-khac", 5)], ONE, (*PEOPLE, mask)).ok


def test_a_name_listed_twice_counts_for_nobody() -> None:
    again = a_person("lanh-dao-so", 9, Role.APPROVER)
    assert not judged([*by(LEADER), signed("lanh-dao-so", 9)], ONE, (*PEOPLE, again)).ok


approvals = st.lists(
    st.builds(
        signed,
        st.sampled_from([*NUMBERS, "nguoi-la"]),
        st.integers(1, 9),
        st.sampled_from([DIGEST, DIGEST, "ab" * 32]),
        st.sampled_from([None, DIGEST, "ab" * 32]),
    ),
    max_size=12,
)


@given(approvals, st.sets(st.sampled_from(sorted(NUMBERS))), st.sampled_from([ONE, TWO, THREE]))
def test_forged_repeated_and_barred_signatures_never_count(
    signatures: list[Approval], barred: set[str], requirement: Requirement
) -> None:
    verdict = judge(DIGEST, signatures, PEOPLE, barred, requirement)
    genuine = {
        person.name
        for person in (LEADER, CHIEF, OFFICER, BOTH, AUTHOR)
        if person.name not in barred and any(one.person == person.name and one in by(person) for one in signatures)
    }
    assert verdict.valid == tuple(sorted(genuine))
    assert verdict.ok == (not verdict.missing)
    if verdict.ok:
        assert len(genuine) >= requirement.approvers + requirement.duty_officer


def test_only_a_whole_digest_is_signed_or_judged() -> None:
    with pytest.raises(ValueError, match="64 hexadecimal"):
        sign(key_of(1), "abcd")
    with pytest.raises(ValueError, match="hexadecimal"):
        sign(key_of(1), "not a digest")
    with pytest.raises(ValueError, match="64 hexadecimal"):
        judge("abcd", [], PEOPLE, set(), ONE)
