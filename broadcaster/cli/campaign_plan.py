"""What `campaign plan` works out and shows: the draft approvers will sign, before anything is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broadcaster.cli import opening, output
from broadcaster.cli.campaign_words import area_words, banner, requirement_json, signatures
from broadcaster.cli.output import Column
from broadcaster.errors import InvalidFileError, NotFoundError, Problem
from broadcaster.files.campaigns import read_order
from broadcaster.files.places import line_of
from broadcaster.flow import admit, compose, enlist
from broadcaster.lang import Said, say
from broadcaster.model import Area, CarrierCard, CarrierCode, Exclusion
from broadcaster.rules.order import window_text
from broadcaster.rules.wire import cut
from broadcaster.text.template import InvalidTemplateError

if TYPE_CHECKING:
    from broadcaster.flow.admit import Draft
    from broadcaster.service.installation import Installation

TOP_COMMUNES: Final = 10

EXCLUSIONS: Final[Mapping[Exclusion, Said]] = {
    Exclusion.REFUSED: Said("đã từ chối nhận tin", "refused"),
    Exclusion.DUPLICATE: Said("trùng giữa các nhà mạng", "in several rosters"),
    Exclusion.STALE: Said("lâu không hoạt động", "not active lately"),
    Exclusion.UNKNOWN_CELL: Said("ở cell không rõ xã", "under a cell of no known commune"),
}


def draft(installation: Installation, path: Path) -> Draft:
    """Read the order in `path`, render its texts and count its audience.

    Raises `InvalidFileError` for the order, its texts or its template, `RefusedError` when the environments differ or a roster lacks.
    """
    settings, cards = installation.settings, installation.cards()
    order = read_order(path, installation.areas(), cards.keys())
    admit.check_order(order, environment=settings.environment, hours=settings.window)
    try:
        template = opening.find_template(installation.templates(), order.template)
    except NotFoundError as error:
        raise InvalidFileError([Problem(str(path), error.message, line_of(path, order.template), "text.template")]) from None
    number, alternative = opening.footer_of(settings)
    try:
        made = compose.bodies(order, template, cards, reply_number=number, alternative=alternative)
    except InvalidTemplateError as error:
        line = line_of(path, "values")
        raise InvalidFileError([Problem(str(path), item.message, line, "text.values") for item in error.findings]) from None
    now = opening.now()
    with output.progress(say("Đếm thuê bao", "Counting the audience")) as bar:
        audience = enlist.count(installation.store, order, now, bar)
    return admit.draft(order, made, audience.rosters, audience.counts, cards, now, audience.earlier, audience.outlined)


class _Split:
    """The counted audience, cut the ways a plan shows it."""

    def __init__(self, made: Draft) -> None:
        self.recipients: Counter[str] = Counter()
        self.excluded: Counter[int] = Counter()
        self.excluded_per_carrier: Counter[str] = Counter()
        self.communes: Counter[str] = Counter()
        self.excluded_per_commune: Counter[str] = Counter()
        self.approximate = sum(item.approximate for item in made.counts if not item.exclusion)
        for item in made.counts:
            if item.exclusion:
                self.excluded[item.exclusion] += item.messages
                self.excluded_per_carrier[item.carrier] += item.messages
                self.excluded_per_commune[item.area_code] += item.messages
            else:
                self.recipients[item.carrier] += item.messages
                self.communes[item.area_code] += item.messages


def document(made: Draft, cards: Mapping[CarrierCode, CarrierCard], areas: Sequence[Area]) -> dict[str, object]:
    """Return the plan as JSON values, every commune included."""
    split, order, limits = _Split(made), made.order, admit.limits(made.order, cards)
    names: dict[str, str] = {area.code: area.name for area in areas}
    codes = sorted({*split.communes, *split.excluded_per_commune} - {""})
    return {
        "name": order.name,
        "title": order.title,
        "environment": order.environment,
        "class": order.message_class,
        "instruction": order.instruction,
        "template": order.template,
        "variant": order.variant,
        "sender": order.sender,
        "window": window_text(order.window),
        "start": made.starts_at,
        "deadline_h": order.deadline_h,
        "fits": made.fits,
        "recipients": made.recipients,
        "approximate": split.approximate,
        "outlined": made.content.get("outlined"),
        "max_recipients": order.audience.max_recipients,
        "parts": sum(body.parts * split.recipients[body.carrier] for body in made.bodies),
        "requirement": requirement_json(made.requirement),
        "carriers": [
            {
                "carrier": body.carrier,
                "recipients": split.recipients[body.carrier],
                "excluded": split.excluded_per_carrier[body.carrier],
                "parts_each": body.parts,
                "parts": body.parts * split.recipients[body.carrier],
                "limit_tps": limits[body.carrier],
                "finish": made.finish[body.carrier],
            }
            for body in made.bodies
        ],
        "excluded": {reason.name.lower(): split.excluded[reason] for reason in Exclusion},
        "communes": [
            {
                "code": code,
                "name": names.get(code, code),
                "recipients": split.communes[code],
                "excluded": split.excluded_per_commune[code],
            }
            for code in codes
        ],
        "texts": [
            {"text": text, "carriers": carriers, "coding": str(pieces.coding), "units": pieces.units, "parts": list(pieces.parts)}
            for text, carriers, pieces in _texts(made, cards)
        ],
        "rosters": [
            {
                "id": item.id,
                "carrier": item.carrier,
                "observed_at": output.moment_of_ms(item.observed_ms),
                "rows": item.kept,
                "commitment": item.commitment,
            }
            for item in made.rosters
        ],
    }


def _texts(made: Draft, cards: Mapping[CarrierCode, CarrierCard]) -> list[tuple[str, list[str], Any]]:
    """Return each distinct text with the carriers that get it cut the same way."""
    found: dict[tuple[str, tuple[str, ...]], tuple[str, list[str], Any]] = {}
    written = {item["carrier"]: str(item["text"]) for item in made.content["bodies"]}
    for body in made.bodies:
        text = written[body.carrier]
        pieces = cut(text, cards[body.carrier])
        found.setdefault((text, pieces.parts), (text, [], pieces))[1].append(body.carrier)
    return list(found.values())


def show(made: Draft, cards: Mapping[CarrierCode, CarrierCard], areas: Sequence[Area]) -> None:
    """Print the plan for a person."""
    order, split = made.order, _Split(made)
    output.line(banner(order.environment))
    output.facts(
        {
            say("Chiến dịch", "Campaign"): f"{order.name} · {order.title}",
            say("Căn cứ", "Instruction"): order.instruction,
            say("Người gửi", "Sender"): order.sender,
            say("Nơi nhận", "Area"): area_words(made.content["order"]["audience"], areas),
            say("Khung giờ", "Window"): say("cả ngày", "all day") if order.window.all_day else window_text(order.window),
            say("Bắt đầu", "Start"): made.starts_at
            if order.start
            else say("khi lên lịch (tính thử từ bây giờ)", "given when scheduled (reckoned from now)"),
            say("Thuê bao sẽ nhận", "Recipients"): made.recipients,
            say("Trong đó xếp xã gần đúng", "Of these placed approximately"): split.approximate,
            say("Lệnh cho phép tối đa", "Allowed at most"): order.audience.max_recipients,
            say("Cần chữ ký", "Signatures needed"): signatures(made.requirement),
        }
    )
    output.line()
    _show_carriers(made, cards, split)
    output.line()
    _show_left_out(split)
    output.line()
    _show_communes(split, areas)
    _show_texts(made, cards)
    if not made.fits:
        output.tell(
            say(
                f"Lưu ý: với tốc độ này không gửi xong trong hạn {order.deadline_h} giờ.",
                f"Note: at these rates it will not be done within {order.deadline_h} h.",
            )
        )
    if made.recipients > order.audience.max_recipients:
        output.tell(
            say(
                "Lưu ý: vượt số thuê bao tối đa của lệnh, sẽ không trình được.",
                "Note: over the order's maximum, it cannot be submitted.",
            )
        )


def _show_carriers(made: Draft, cards: Mapping[CarrierCode, CarrierCard], split: _Split) -> None:
    limits = admit.limits(made.order, cards)
    columns = [
        Column(say("Nhà mạng", "Carrier")),
        Column(say("Sẽ nhận", "Recipients"), right=True),
        Column(say("Bị loại", "Left out"), right=True),
        Column(say("Phần/tin", "Parts each"), right=True),
        Column(say("Tổng phần", "Parts"), right=True),
        Column(say("Phần/s", "Parts/s"), right=True),
        Column(say("Dự kiến xong", "Predicted finish")),
    ]
    rows: list[list[object]] = [
        [
            cards[body.carrier].name,
            split.recipients[body.carrier],
            split.excluded_per_carrier[body.carrier],
            body.parts,
            body.parts * split.recipients[body.carrier],
            say("không giới hạn", "unlimited") if limits[body.carrier] is None else limits[body.carrier],
            made.finish[body.carrier],
        ]
        for body in made.bodies
    ]
    output.table(columns, rows)


def _show_left_out(split: _Split) -> None:
    rows = [[str(EXCLUSIONS[reason]), split.excluded[reason]] for reason in Exclusion if split.excluded[reason]]
    columns = [Column(say("Bị loại vì", "Left out because")), Column(say("Thuê bao", "Subscribers"), right=True)]
    output.table(columns, rows, empty=Said("(không ai bị loại)", "(nobody is left out)"))


def _show_communes(split: _Split, areas: Sequence[Area]) -> None:
    names: dict[str, str] = {area.code: area.name for area in areas}
    rows = [[names.get(code, code), count] for code, count in split.communes.most_common(TOP_COMMUNES)]
    output.table([Column(say("Xã đông thuê bao nhất", "Largest communes")), Column(say("Sẽ nhận", "Recipients"), right=True)], rows)
    rest = len(split.communes) - len(rows)
    if rest > 0:
        output.line(say(f"… và {rest} nơi khác (đủ trong --json)", f"… and {rest} more (all in --json)"))


def _show_texts(made: Draft, cards: Mapping[CarrierCode, CarrierCard]) -> None:
    from broadcaster.cli.template import show_text

    for _, carriers, pieces in _texts(made, cards):
        output.line()
        show_text(", ".join(carriers), pieces)
