"""What one check of a carrier's connection found, held against its card: findings, figures, and the card filled in."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from broadcaster.flow import check_extras
from broadcaster.flow.check_extras import final_states, parts_with_receipt
from broadcaster.flow.check_gate import Errand
from broadcaster.flow.check_seen import Seen, SentPart
from broadcaster.flow.check_words import SHAPES, STATES, WHERE, Finding, why
from broadcaster.lang import Said
from broadcaster.model import CarrierCard
from broadcaster.rules.dialect import FINAL_STATES, IdDialect, ReceiptForm, Where, detect_ids, every_form, receipt_form
from broadcaster.rules.numbers import mask
from broadcaster.rules.wire import receipt_part
from broadcaster.smpp.status import Verdict, describe, verdict

ENOUGH_OF_A_STEP: Final = 0.9
"""A step counts as tried when this share of its rate was really reached."""


class Spread(NamedTuple):
    """How long something took for so many parts, in milliseconds."""

    parts: int
    p50_ms: float
    p95_ms: float


class Step(NamedTuple):
    """One rate that was tried."""

    tps: int
    sent: int
    accepted: int
    throttled: int
    reached_tps: float


@dataclass(frozen=True)
class Report:
    """A check judged."""

    errand: Errand
    seen: Seen
    at: dt.datetime
    findings: tuple[Finding, ...]
    dialect: IdDialect
    form: ReceiptForm
    answers: Spread | None
    receipts: Spread | None
    steps: tuple[Step, ...]

    @property
    def exit_code(self) -> int:
        """Return 12 when the connection failed, 3 when something found is wrong, else 0."""
        if self.seen.failure is not None:
            return 12
        return 3 if any(finding.ok is False for finding in self.findings) else 0


def spread(seconds: Sequence[float]) -> Spread | None:
    """Return median and 95th percentile by nearest rank; None for nothing."""
    if not seconds:
        return None
    ranked = sorted(seconds)
    p50, p95 = (ranked[math.ceil(share * len(ranked)) - 1] * 1000 for share in (0.5, 0.95))
    return Spread(len(ranked), round(p50, 1), round(p95, 1))


def judge(errand: Errand, seen: Seen, at: dt.datetime, *, with_tps: bool) -> Report:
    """Hold what was seen against the card."""
    card = errand.card
    ids = [one.receipt.message_id for one in (*seen.receipts, *seen.strangers)]
    dialect = detect_ids(seen.ids(), ids, card.ids)
    form = receipt_form([*seen.receipts, *seen.strangers], dialect.rule)
    steps = _steps(errand, seen.parts)
    findings = [_link(errand, seen)]
    if seen.parts:
        findings += [_submits(seen), _delivery(card, seen), _ids(card, dialect), _form(form, seen)]
        findings.append(_rate(card, steps, with_tps=with_tps))
        findings += check_extras.findings(card, seen)
    answers = spread([part.answered_s - part.sent_s for part in seen.parts if part.answered_s is not None])
    return Report(errand, seen, at, tuple(findings), dialect, form, answers, spread(_delays(seen)), steps)


def _link(errand: Errand, seen: Seen) -> Finding:
    card, failure = errand.card, seen.failure
    how = "TCP" if not card.tls else "TLS" if card.tls_ca is None else f"TLS, CA {card.tls_ca.name}"
    details = []
    if seen.peer is not None:
        details.append(Said(f"đã đăng nhập; nhà mạng tự xưng là “{seen.peer}”", f"bound; the carrier calls itself “{seen.peer}”"))
    if seen.enquiries_s:
        times = ", ".join(f"{taken * 1000:.1f}" for taken in seen.enquiries_s)
        details.append(
            Said(f"enquire_link: {len(seen.enquiries_s)} lần, {times} ms", f"enquire_link: {len(seen.enquiries_s)} times, {times} ms")
        )
    if seen.left_alone:
        details.append(
            Said(
                f"{seen.left_alone} biên nhận hoặc tin của người dân không thuộc lần thử này: để nhà mạng giữ cho dịch vụ",
                f"{seen.left_alone} receipts or messages that are not of this check were left with the carrier for the service",
            )
        )
    if failure is not None:
        reason = why(failure)
        said = Said(f"kết nối {card.endpoint} ({how}) hỏng: {reason.vi}", f"the link to {card.endpoint} ({how}) failed: {reason.en}")
        return Finding("link", ok=False, said=said, details=tuple(details))
    return Finding(
        "link",
        ok=True,
        said=Said(f"kết nối {card.endpoint} ({how}) tốt", f"the link to {card.endpoint} ({how}) holds"),
        details=tuple(details),
    )


def _submits(seen: Seen) -> Finding:
    """Judge the test texts; those of the climb are judged by `_rate`."""
    parts = [part for part in seen.parts if part.step_tps is None]
    taken = sum(part.accepted for part in parts)
    silent = sum(part.answered_s is None for part in parts)
    refused = Counter((part.text, part.status) for part in parts if part.status)
    details = [
        Said(f"{text}: {count} phần bị từ chối, {describe(status or 0)}", f"{text}: {count} parts refused, {describe(status or 0)}")
        for (text, status), count in sorted(refused.items())
    ]
    if silent:
        details.append(Said(f"{silent} phần không được trả lời", f"{silent} parts were not answered"))
    nameless = sum(part.accepted and not part.smsc_id for part in parts)
    if nameless:
        details.append(Said(f"{nameless} phần được nhận nhưng không có mã tin", f"{nameless} parts were taken without an id"))
    return Finding(
        "submit",
        ok=taken == len(parts) and not nameless,
        said=Said(f"nhà mạng nhận {taken} trên {len(parts)} phần tin thử", f"the carrier took {taken} of {len(parts)} parts"),
        details=tuple(details),
    )


def _delivery(card: CarrierCard, seen: Seen) -> Finding:
    if card.receipt_means == "none":
        said = Said("thẻ ghi nhà mạng không có biên nhận; không chờ", "the card says that there are no receipts; none were awaited")
        return Finding("receipts", ok=None, said=said)
    final = final_states(seen)
    taken = [part for part in seen.parts if part.accepted and part.smsc_id]
    promised = [part for part in taken if receipt_part(card, part.parts) in (0, part.part)]
    ended = [next((final[form] for form in every_form(part.smsc_id or "") if form in final), None) for part in promised]
    missing = ended.count(None)
    there = len(ended) - missing
    states = Counter(state for state in ended if state is not None)
    details = [Said(f"{STATES[state]}: {count} phần", f"{state}: {count} parts") for state, count in sorted(states.items())]
    if missing:
        details.append(Said(f"{missing} phần không có biên nhận cuối", f"{missing} parts without a final receipt"))
    places = parts_with_receipt(seen)
    if there and places and places < {part.part for part in taken if part.parts > 1}:
        shown = ", ".join(map(str, sorted(places)))
        details.append(Said(f"trong tin nhiều phần, chỉ phần {shown} có biên nhận", f"of long texts only part {shown} got a receipt"))
    return Finding(
        "receipts",
        ok=bool(ended) and not missing,
        said=Said(f"{there} trên {len(ended)} phần có biên nhận cuối", f"{there} of {len(ended)} parts got a final receipt"),
        details=tuple(details),
    )


def _ids(card: CarrierCard, dialect: IdDialect) -> Finding:
    found, believed = dialect.rule, card.ids
    shapes = Said(
        f"mã trong trả lời: {SHAPES[dialect.responses]}; trong biên nhận: {SHAPES[dialect.receipts]}",
        f"ids in responses: {dialect.responses}; in receipts: {dialect.receipts}",
    )
    if not dialect.seen:
        return Finding("ids", ok=None, said=Said("chưa so được mã tin: không có biên nhận", "no receipt to compare ids with"))
    if not dialect.matched:
        said = Said("không mã nào trong biên nhận khớp với trả lời", "no id in a receipt matches a response under any rule")
        return Finding("ids", ok=False, said=said, details=(shapes,))
    details = [shapes]
    if not dialect.certain:
        details.append(Said("quá ít mã để chắc chắn", "too few ids to be certain"))
    figures = f"{dialect.matched}/{dialect.seen}"
    if dialect.agrees:
        return Finding(
            "ids",
            ok=True,
            said=Said(f"cách viết mã tin đúng như thẻ ({figures} khớp)", f"ids are as the card says ({figures})"),
            details=tuple(details),
        )
    said = Said(
        f'cách viết mã tin khác thẻ: response_id = "{found.response}", receipt_id = "{found.receipt}" thì {figures} khớp; '
        f'thẻ ghi "{believed.response}", "{believed.receipt}" chỉ khớp {dialect.believed_matched}',
        f'ids are not as the card says: response_id = "{found.response}", receipt_id = "{found.receipt}" matches {figures}; '
        f'the card\'s "{believed.response}", "{believed.receipt}" matches {dialect.believed_matched}',
    )
    return Finding("ids", ok=False, said=said, details=tuple(details))


def _form(form: ReceiptForm, seen: Seen) -> Finding:
    if form.where is Where.NONE and not seen.unreadable:
        return Finding("receipt-form", ok=None, said=Said("không có biên nhận để xem dạng", "no receipt whose form could be seen"))
    where = WHERE[form.where]
    counted = (
        (seen.unreadable, Said("biên nhận không đọc được mã tin", "receipts without a readable id")),
        (form.conflicts, Said("biên nhận có hai mã tin khác nhau", "receipts with two different ids")),
        (form.unmarked, Said("biên nhận không có dấu trong esm_class", "receipts that esm_class does not mark")),
        (form.by_data_sm, Said("biên nhận đến bằng data_sm", "receipts that came by data_sm")),
        (form.repeated, Said("biên nhận lặp lại", "repeated receipts")),
        (form.intermediate, Said("biên nhận trạng thái giữa chừng", "receipts of intermediate states")),
    )
    details = [Said(f"{count} {said.vi}", f"{count} {said.en}") for count, said in counted if count]
    if form.words:
        words = ", ".join(form.words)
        details.append(Said(f"chữ trạng thái: {words}", f"words for states: {words}"))
    if form.dates:
        dates = ", ".join(form.dates)
        details.append(Said(f"dạng ngày giờ: {dates}", f"shape of dates: {dates}"))
    return Finding(
        "receipt-form",
        ok=not (seen.unreadable or form.conflicts),
        said=Said(f"mã tin trong biên nhận: {where.vi}", f"the id in receipts: {where.en}"),
        details=tuple(details),
    )


def _steps(errand: Errand, parts: Sequence[SentPart]) -> tuple[Step, ...]:
    found = []
    for tps in errand.steps_tps:
        tried = [part for part in parts if part.step_tps == tps]
        if not tried:
            break
        throttled = sum(
            bool(part.status) and verdict(part.status or 0, errand.card.status_verdicts) is Verdict.THROTTLED for part in tried
        )
        took_s = tried[-1].sent_s - tried[0].sent_s
        reached = (len(tried) - 1) / took_s if took_s > 0 else float(len(tried))
        found.append(Step(tps, len(tried), sum(part.accepted for part in tried), throttled, round(min(reached, tps), 1)))
    return tuple(found)


def accepted_tps(steps: Sequence[Step]) -> int | None:
    """Return the highest rate that was really reached and fully accepted."""
    good = [step.tps for step in steps if step.accepted == step.sent == step.tps and step.reached_tps >= ENOUGH_OF_A_STEP * step.tps]
    return max(good, default=None)


def _rate(card: CarrierCard, steps: Sequence[Step], *, with_tps: bool) -> Finding:
    if card.tps is None:
        return Finding("tps", ok=None, said=Said("thẻ không giới hạn tốc độ: không có gì để thử", "the card names no rate to try"))
    if not with_tps:
        return Finding("tps", ok=None, said=Said("chưa thử tốc độ (thêm --tps)", "the rate was not tried (add --tps)"))
    if not steps:
        said = Said("không thử tốc độ vì tin thử chưa được nhận hết", "the rate was not tried: not all test texts were taken")
        return Finding("tps", ok=None, said=said)
    details = tuple(
        Said(
            f"{step.tps} phần/s: nhận {step.accepted}/{step.sent}, bị báo quá tải {step.throttled}, đạt {step.reached_tps:g} phần/s",
            f"{step.tps} parts/s: {step.accepted}/{step.sent} taken, {step.throttled} throttled, {step.reached_tps:g}/s reached",
        )
        for step in steps
    )
    best = accepted_tps(steps)
    if best == card.tps:
        said = Said(f"nhà mạng nhận đủ {card.tps} phần/s như thẻ", f"the carrier takes the card's {card.tps} parts/s")
        return Finding("tps", ok=True, said=said, details=details)
    said = Said(
        f"nhà mạng không nhận đủ {card.tps} phần/s của thẻ; mức cao nhất nhận đủ: {best or 'không có'}",
        f"the carrier does not take the card's {card.tps} parts/s; the highest rate taken in full: {best or 'none'}",
    )
    return Finding("tps", ok=False, said=said, details=details)


def _delays(seen: Seen) -> list[float]:
    """Return how long after its submit each part had its first final receipt."""
    first: dict[str, float] = {}
    for one in seen.receipts:
        if one.receipt.state in FINAL_STATES:
            for form in every_form(one.receipt.message_id):
                first.setdefault(form, one.at_s)
    found = []
    for part in seen.parts:
        came = [first[form] for form in every_form(part.smsc_id or "") if form in first]
        if part.accepted and came:
            found.append(min(came) - part.sent_s)
    return found


def document(report: Report) -> dict[str, Any]:
    """Return the report as plain JSON values; numbers are masked."""
    seen, card = report.seen, report.errand.card
    failure = seen.failure
    return {
        "carrier": card.code,
        "environment": card.environment,
        "endpoint": str(card.endpoint),
        "tls": card.tls,
        "tls_ca": card.tls_ca and card.tls_ca.name,
        "system_id": card.system_id,
        "at": report.at,
        "peer": seen.peer,
        "failure": failure
        and {"stage": failure.stage, "cause": failure.cause, "reason": str(why(failure)), "bind_status": failure.bind_status},
        "enquire_link_ms": [round(taken * 1000, 1) for taken in seen.enquiries_s],
        "response_ms": report.answers and report.answers._asdict(),
        "receipt_ms": report.receipts and report.receipts._asdict(),
        "texts": [
            {
                "text": part.text,
                "part": part.part,
                "parts": part.parts,
                "number": mask(part.number),
                "status": part.status,
                "id": part.smsc_id,
                "response_ms": None if part.answered_s is None else round((part.answered_s - part.sent_s) * 1000, 1),
            }
            for part in seen.parts
            if part.step_tps is None
        ],
        "skipped": {name: str(reason) for name, reason in report.errand.skipped.items()},
        "ids": report.dialect._asdict()
        | {"rule": {"response_id": report.dialect.rule.response, "receipt_id": report.dialect.rule.receipt}},
        "receipts": report.form._asdict(),
        "left_with_carrier": seen.left_alone,
        **check_extras.document(seen),
        "tps": [step._asdict() for step in report.steps],
        "checks": [
            {"id": item.id, "ok": item.ok, "said": str(item.said), "details": list(map(str, item.details))}
            for item in report.findings
        ],
    }
