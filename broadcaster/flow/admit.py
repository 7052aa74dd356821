"""Stage 2: an order is drafted, submitted, approved and scheduled; and later paused, resumed or cancelled.

Each step is one transaction with its audit entry. What approvers sign is the digest of the draft's content; it is computed anew from
what is stored whenever it matters.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select

from broadcaster.errors import RefusedError
from broadcaster.flow.judgement import judgement
from broadcaster.lang import Said
from broadcaster.model import (
    Approval,
    CampaignState,
    CarrierCard,
    CarrierCode,
    DailyWindow,
    Environment,
    MessageClass,
    Order,
    Person,
    Role,
)
from broadcaster.rules import approval as rule
from broadcaster.rules import plan, windows
from broadcaster.rules.lifecycle import Action, move
from broadcaster.rules.order import order_from_json, order_to_json, window_text
from broadcaster.store.areas import Outlined, put_outlined
from broadcaster.store.audience import Count
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import (
    Campaign,
    add_approval,
    approvals,
    change_campaign,
    change_lane,
    find_campaign,
    insert_campaign,
    installed,
    lanes,
    refuse_second_remainder,
)
from broadcaster.store.control import refuse_while_stopped
from broadcaster.store.engine import Store
from broadcaster.store.rosters import Roster
from broadcaster.store.schema import campaign as campaign_table
from broadcaster.store.times import to_ms


class _Earlier(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


class _Body(Protocol):
    @property
    def carrier(self) -> CarrierCode: ...
    @property
    def parts(self) -> int: ...
    def _asdict(self) -> dict[str, Any]: ...


class Draft(NamedTuple):
    """Everything known about an order before it is submitted; approvers will sign `content` with the submitter's name."""

    order: Order
    bodies: Sequence[_Body]
    rosters: Sequence[Roster]
    counts: Sequence[Count]
    content: Mapping[str, Any]
    recipients: int
    requirement: rule.Requirement
    starts_at: dt.datetime
    finish: Mapping[CarrierCode, dt.datetime]
    """When each carrier's last part is predicted to be written."""
    fits: bool
    """Whether all of that is before the order's deadline."""
    outlined: Outlined | None = None
    """The cells inside the order's circles and polygons."""


def limits(order: Order, cards: Mapping[CarrierCode, CarrierCard]) -> dict[CarrierCode, int | None]:
    """Return each carrier's rate in parts per second: the card's, lowered where the order says so."""
    rates: dict[CarrierCode, int | None] = {}
    for code in order.audience.carriers:
        ceilings = [tps for tps in (cards[code].tps, order.max_tps.get(code)) if tps is not None]
        rates[code] = min(ceilings, default=None)
    return rates


def draft(
    order: Order,
    bodies: Sequence[_Body],
    rosters: Sequence[Roster],
    counts: Sequence[Count],
    cards: Mapping[CarrierCode, CarrierCard],
    now: dt.datetime,
    earlier: _Earlier | None = None,
    outlined: Outlined | None = None,
) -> Draft:
    """Put an order, its texts and its counted audience together. Pure reckoning: nothing is stored.

    `earlier` is the campaign whose remainder this is, as of when, `outlined` the cells inside its circles and polygons: approvers
    sign these too.
    """
    recipients = sum(item.messages for item in counts if not item.exclusion)
    content = rule.content_of(
        order_to_json(order),
        [body._asdict() for body in bodies],
        [
            {"carrier": item.carrier, "commitment": item.commitment, "rows": item.kept, "observed_ms": item.observed_ms}
            for item in rosters
        ],
        order.environment,
    )
    if earlier is not None:
        content = {**content, "earlier": earlier._asdict()}
    if outlined is not None:
        content = {**content, "outlined": outlined.signed()}
    if approximate := sum(item.approximate for item in counts if not item.exclusion):
        content = {**content, "approximate": approximate}
    parts = {
        body.carrier: body.parts * sum(item.messages for item in counts if item.carrier == body.carrier and not item.exclusion)
        for body in bodies
    }
    starts_at = order.start or now
    finish = plan.predict(parts, limits(order, cards), order.window, starts_at, cards)
    return Draft(
        order,
        bodies,
        rosters,
        counts,
        content,
        recipients,
        rule.required(order.audience.max_recipients, order.environment, overrides_refusals=order.override_refusals),
        starts_at,
        finish,
        plan.fits(finish, starts_at + dt.timedelta(hours=order.deadline_h)),
        outlined,
    )


def check_order(order: Order, *, environment: Environment, hours: DailyWindow) -> None:
    """Raise `RefusedError` when an order does not fit this installation.

    It must be for the same `environment`, and a live advisory warning must keep to the installation's sending `hours`.
    """
    if order.environment is not environment:
        raise RefusedError(
            Said(
                f"Lệnh gửi ghi môi trường {order.environment}, hệ thống này là {environment}.",
                f"The order is for {order.environment}, this installation is {environment}.",
            ),
            Said("Dùng đúng hệ thống, hoặc sửa campaign.environment.", "Use the other installation, or change campaign.environment."),
        )
    advisory = environment is Environment.LIVE and order.message_class is MessageClass.ADVISORY
    if advisory and not windows.lies_within(order.window, hours):
        raise RefusedError(
            Said(
                f"Khung giờ {window_text(order.window)} ra ngoài giờ được gửi {window_text(hours)}.",
                f"The window {window_text(order.window)} exceeds the sending hours {window_text(hours)}.",
            ),
            Said("Sửa time.window trong tệp chiến dịch.", "Change time.window in the campaign file."),
        )


def submit(store: Store, auditor: Auditor, made: Draft, *, submitter: Person, hours: DailyWindow, now: dt.datetime) -> Campaign:
    """Store the draft as a submitted campaign.

    Raises `RefusedError` when the submitter may not, the order does not fit the installation, a campaign of that name exists, nobody
    would be reached, or the audience is larger than the order allows.
    """
    order = made.order
    with store.read() as connection:
        check_order(order, environment=Environment(installed(connection)["environment"]), hours=hours)
    if not submitter.roles & {Role.OPERATOR, Role.AUTHOR}:
        raise RefusedError(
            Said(f"{submitter.name} không có vai trò operator hoặc author.", f"{submitter.name} is neither operator nor author.")
        )
    if made.recipients == 0:
        raise RefusedError(Said("Không có thuê bao nào sẽ nhận tin.", "No subscriber would get this warning."))
    if made.recipients > order.audience.max_recipients:
        raise RefusedError(
            Said(
                f"Có {made.recipients} thuê bao, lệnh chỉ cho phép tối đa {order.audience.max_recipients}.",
                f"There are {made.recipients} recipients; the order allows at most {order.audience.max_recipients}.",
            ),
            Said("Sửa audience.max_recipients trong tệp chiến dịch.", "Change audience.max_recipients in the campaign file."),
        )
    content = {**made.content, "submitted_by": submitter.name}
    digest = rule.digest(content)
    with store.write() as connection:
        if connection.execute(select(campaign_table.c.id).where(campaign_table.c.name == order.name)).first():
            raise RefusedError(
                Said(f"Đã có chiến dịch tên «{order.name}».", f"There is already a campaign named “{order.name}”."),
                Said("Đổi tên trong tệp chiến dịch.", "Change the name in the campaign file."),
            )
        if order.audience.remainder_of is not None:
            refuse_second_remainder(connection, order.audience.remainder_of)
        campaign_id = insert_campaign(
            connection,
            name=order.name,
            content_json=rule.canonical(content).decode(),
            digest=digest,
            recipients=made.recipients,
            submitted_by=submitter.name,
            submitted_ms=to_ms(now),
            roster_ids=[item.id for item in made.rosters],
        )
        if made.outlined is not None:
            put_outlined(connection, campaign_id, made.outlined.ids)
        detail = {"by": submitter.name, "digest": digest, "recipients": made.recipients}
        auditor.record(connection, Action.SUBMIT, order.name, detail)
        return find_campaign(connection, order.name)


def approve(
    store: Store,
    auditor: Auditor,
    reference: str,
    *,
    person: Person,
    key: Ed25519PrivateKey,
    people: Mapping[str, Person],
    now: dt.datetime,
) -> rule.Judgement:
    """Sign the campaign's digest in the person's name; with the last signature it takes, the campaign is approved.

    Raises `RefusedError` when the person may not sign, has signed, or the key is not theirs.
    """
    if key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) != person.public_key:
        raise RefusedError(Said(f"Khóa này không phải của {person.name}.", f"This key is not {person.name}'s."))
    with store.write() as connection:
        found = find_campaign(connection, reference)
        after = move(found.state, Action.APPROVE)
        if any(item.person == person.name for item in approvals(connection, found.id)):
            raise RefusedError(Said(f"{person.name} đã ký chiến dịch này rồi.", f"{person.name} has signed this campaign already."))
        digest = rule.digest(found.content)
        if digest != found.digest:
            raise RefusedError(
                Said(
                    "Nội dung đã bị sửa sau khi trình; không ký được.",
                    "The content was changed after it was submitted; it cannot be signed.",
                )
            )
        add_approval(connection, found.id, Approval(person.name, digest, rule.sign(key, digest), now))
        verdict = judgement(connection, found, people)
        if person.name not in verdict.valid:
            own = [why for why in verdict.discounted if why.en.startswith(f"{person.name}: ")]
            raise RefusedError([*own, *verdict.missing][0])
        auditor.record(connection, Action.APPROVE, found.name, {"by": person.name, "digest": digest, "enough": verdict.ok})
        if verdict.ok:
            change_campaign(connection, found.id, after)
    return verdict


def schedule(
    store: Store,
    auditor: Auditor,
    reference: str,
    *,
    people: Mapping[str, Person],
    starts_at: dt.datetime,
    expect_recipients: int,
    now: dt.datetime,
) -> Campaign:
    """Set the campaign's start. `expect_recipients` is the number the operator typed.

    Raises `RefusedError` when it is not approved, the number is wrong, or the start lies in the past, outside the window or other
    than the signed one.
    """
    with store.write() as connection:
        found = find_campaign(connection, reference)
        after = move(found.state, Action.SCHEDULE)
        verdict = judgement(connection, found, people)
        if not verdict.ok:
            needs = "; ".join(item.vi for item in verdict.missing), "; ".join(item.en for item in verdict.missing)
            raise RefusedError(Said(f"Chưa đủ phê duyệt: {needs[0]}", f"Not approved: {needs[1]}"))
        order = order_from_json(found.content["order"])
        _check_start(order, starts_at, now)
        if expect_recipients != found.recipients:
            raise RefusedError(
                Said(
                    f"Số vừa nhập là {expect_recipients}, số thuê bao sẽ nhận tin là {found.recipients}.",
                    f"The number typed is {expect_recipients}; {found.recipients} subscribers will get the warning.",
                )
            )
        change_campaign(
            connection,
            found.id,
            after,
            planned_ms=to_ms(starts_at),
            start_by_ms=to_ms(starts_at + dt.timedelta(hours=order.start_within_h)),
        )
        auditor.record(connection, Action.SCHEDULE, found.name, {"starts_ms": to_ms(starts_at)})
        return find_campaign(connection, reference)


def _check_start(order: Order, starts_at: dt.datetime, now: dt.datetime) -> None:
    if starts_at < now - dt.timedelta(seconds=5):
        raise RefusedError(Said("Thời điểm bắt đầu đã qua.", "The start lies in the past."))
    if not windows.is_open(order.window, starts_at):
        raise RefusedError(
            Said("Thời điểm bắt đầu nằm ngoài khung giờ đã ký.", "The start lies outside the signed window."),
            Said("Chọn giờ khác bằng --at.", "Choose another time with --at."),
        )
    if order.start and abs(starts_at - order.start) > dt.timedelta(hours=order.start_within_h):
        raise RefusedError(
            Said("Thời điểm bắt đầu khác thời điểm đã ký.", "The start is not the signed one."),
        )


def pause(store: Store, auditor: Auditor, reference: str, *, reason: str, now: dt.datetime) -> Campaign:
    """Stop taking new messages; what is being written is finished."""
    return _act(store, auditor, reference, Action.PAUSE, reason, now)


def resume(store: Store, auditor: Auditor, reference: str, *, reason: str, now: dt.datetime) -> Campaign:
    """Go on with a paused campaign, with the carriers halted for too many refusals too."""
    return _act(store, auditor, reference, Action.RESUME, reason, now)


def cancel(store: Store, auditor: Auditor, reference: str, *, reason: str, now: dt.datetime) -> Campaign:
    """End the campaign for good; messages not yet written never are."""
    return _act(store, auditor, reference, Action.CANCEL, reason, now)


def _act(store: Store, auditor: Auditor, reference: str, action: Action, reason: str, now: dt.datetime) -> Campaign:
    with store.write() as connection:
        found = find_campaign(connection, reference)
        after = move(found.state, action)
        if action is Action.RESUME:
            refuse_while_stopped(connection)
        ended = {"finished_ms": to_ms(now)} if after is CampaignState.CANCELLED else {}
        change_campaign(connection, found.id, after, reason=reason, **ended)
        if action is Action.RESUME:
            for item in lanes(connection, found.id):
                change_lane(connection, item.id, halted=None)
        auditor.record(connection, action, found.name, {"reason": reason})
        return find_campaign(connection, reference)
