"""Read a campaign order, ``campaigns/<name>.toml``, as a clerk writes it and approvers sign it; write one that follows another."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator, model_validator

from broadcaster.errors import ConfigurationError, InvalidFileError, NotFoundError, Problem
from broadcaster.files.geojson import read_polygons
from broadcaster.files.places import line_of
from broadcaster.files.tomlfile import Table, load
from broadcaster.files.units import find_place
from broadcaster.lang import Said
from broadcaster.model import (
    TIMEZONE,
    Area,
    AreaCode,
    Audience,
    CarrierCode,
    Circle,
    Environment,
    MessageClass,
    Order,
    Polygon,
    UnknownPolicy,
    Variant,
)
from broadcaster.rules.geo import in_province
from broadcaster.rules.order import TITLE_CHARS, parse_window, window_text

_WORD_FOR_WHOLE: Final = {"areas": "province", "carriers": "all"}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,59}", re.ASCII)
_BRANDNAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9._ -]{1,11}", re.ASCII)
"""Article 23 of decree 91/2020/NĐ-CP: at most 11 characters, not digits alone."""

_INSTRUCTION: Final = re.compile(
    r"(?P<number>.{1,60}?), (?P<day>\d\d)-(?P<month>\d\d)-(?P<year>\d{4}), (?P<issued_by>.+)", re.ASCII | re.DOTALL
)
"""An order's instruction in one line, as `read_order` puts it together."""

_Line = Annotated[str, Field(min_length=1, max_length=TITLE_CHARS)]


class _Campaign(Table):
    title: _Line
    environment: Environment
    message_class: Annotated[MessageClass, Field(alias="class")]


class _Instruction(Table):
    number: Annotated[str, Field(min_length=1, max_length=60)]
    date: dt.date
    issued_by: _Line


class _Text(Table):
    template: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    variant: Variant
    sender: str
    values: dict[str, str] = Field(default_factory=dict)

    @field_validator("sender")
    @classmethod
    def _brandname(cls, sender: str) -> str:
        if not _BRANDNAME.fullmatch(sender):
            raise ValueError(
                Said(
                    vi="tên định danh gồm 1 đến 11 ký tự: chữ không dấu, chữ số, . _ - và khoảng trắng; có ít nhất một chữ cái",
                    en="a brandname has 1 to 11 characters: plain letters, digits, . _ - and space, with at least one letter",
                )
            )
        return sender


class _Circle(Table):
    lat: float
    lon: float
    km: Annotated[float, Field(ge=0.1, le=100)]

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if not in_province(self.lat, self.lon):
            raise ValueError(
                Said(
                    vi="tâm vòng tròn nằm ngoài tỉnh Quảng Ngãi (lat là vĩ độ, khoảng 15; lon là kinh độ, khoảng 108)",
                    en="the circle's centre lies outside Quảng Ngãi province (lat is about 15, lon about 108)",
                )
            )
        return self


class _Audience(Table):
    areas: tuple[str, ...] | None = None
    """Empty for the whole province, which must be written out as ``province``; None when there are only circles or polygons."""
    circles: tuple[_Circle, ...] = ()
    polygons: tuple[str, ...] = ()
    """GeoJSON files beside the order."""
    carriers: tuple[str, ...] = ()
    """Empty for all."""
    active_within_h: Annotated[int, Field(ge=1, le=24 * 365)]
    roster_max_age_h: Annotated[int, Field(ge=1, le=24 * 365)]
    max_recipients: Annotated[int, Field(ge=1, le=10_000_000)]
    remainder_of: Annotated[str, Field(pattern=rf"^{_NAME.pattern}$")] | None = None

    @field_validator("areas", "carriers", mode="before")
    @classmethod
    def _whole_by_word_only(cls, value: object, info: ValidationInfo) -> object:
        word = _WORD_FOR_WHOLE[info.field_name or ""]
        if value == word:
            return ()
        if value == [] or isinstance(value, str):
            raise ValueError(
                Said(vi=f'phải là "{word}" hoặc mảng tên không rỗng', en=f'must be "{word}" or an array of at least one name')
            )
        return tuple(value) if isinstance(value, list) else value

    @field_validator("polygons")
    @classmethod
    def _beside_the_order(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if any(name != Path(name).name or name in ("", ".", "..") or "\\" in name for name in names):
            raise ValueError(
                Said(
                    vi="phải là tên tệp GeoJSON nằm cạnh tệp chiến dịch, không kèm thư mục",
                    en="must be names of GeoJSON files beside the campaign file, without a folder",
                )
            )
        return names

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        shapes = bool(self.circles or self.polygons)
        if self.areas is None and not shapes:
            raise ValueError(
                Said(
                    vi='[audience] phải có areas ("province" hoặc mảng tên), circles hoặc polygons',
                    en='[audience] must have areas ("province" or an array of names), circles or polygons',
                )
            )
        if self.areas == () and shapes:
            raise ValueError(
                Said(
                    vi="[audience] đã gửi toàn tỉnh thì không ghi circles hay polygons",
                    en="[audience] circles and polygons add nothing to the whole province",
                )
            )
        if self.remainder_of is not None and shapes:
            raise ValueError(
                Said(
                    vi="[audience] lệnh gửi tiếp (remainder_of) không có circles hay polygons: đã theo chiến dịch trước",
                    en="[audience] a remainder has no circles or polygons of its own: it follows the earlier campaign",
                )
            )
        return self


class _Time(Table):
    start: dt.datetime | None = None
    window: str = "07:00-22:00"
    start_within_h: Annotated[int, Field(ge=1, le=24 * 14)]
    deadline_h: Annotated[int, Field(ge=1, le=24 * 14)]
    validity_h: Annotated[int, Field(ge=1, le=72)]

    @field_validator("window")
    @classmethod
    def _readable(cls, window: str) -> str:
        parse_window(window)
        return window


class _Delivery(Table):
    override_refusals: bool = False
    unknown_policy: UnknownPolicy = UnknownPolicy.AT_MOST_ONCE
    max_tps: dict[str, Annotated[int, Field(ge=1, le=10_000)]] = Field(default_factory=dict)


class _OrderFile(Table):
    campaign: _Campaign
    instruction: _Instruction
    text: _Text
    audience: _Audience
    time: _Time
    delivery: _Delivery = _Delivery()

    @model_validator(mode="after")
    def _allowed_for_class(self) -> Self:
        urgent = self.campaign.message_class is MessageClass.URGENT
        rehearsal = self.campaign.environment is Environment.REHEARSAL
        if parse_window(self.time.window).all_day and not (urgent or rehearsal):
            raise ValueError(
                Said(
                    vi="[time] window: chỉ được gửi cả ngày khi diễn tập hoặc khi tin thuộc loại urgent",
                    en="[time] window: the whole day is allowed only in a rehearsal or for the class urgent",
                )
            )
        if self.delivery.override_refusals and not urgent:
            raise ValueError(
                Said(
                    vi="[delivery] override_refusals: chỉ tin thuộc loại urgent mới được gửi đến người đã từ chối",
                    en="[delivery] override_refusals: only the class urgent may reach people who refused",
                )
            )
        return self


def read_order(path: Path, areas: Sequence[Area], carriers: Collection[CarrierCode]) -> Order:
    """Return the order in `path`; its name is the stem of the file name.

    Times without an offset are in Asia/Ho_Chi_Minh. `areas` and `carriers` are those the installation knows. Raises
    `ConfigurationError` or `InvalidFileError` with every problem found.
    """
    if not _NAME.fullmatch(path.stem):
        message = Said(
            vi="tên tệp chiến dịch phải gồm chữ thường không dấu, chữ số và gạch ngang",
            en="a campaign's file name must be of lower-case letters, digits and dashes",
        )
        raise InvalidFileError([Problem(str(path), message)])
    form = load(path, _OrderFile)
    communes, problems = _communes(path, form.audience.areas or (), areas)
    polygons, unreadable = _polygons(path, form.audience.polygons)
    problems += unreadable
    problems += _unknown_carriers(path, form.audience.carriers, carriers, "audience.carriers")
    problems += _unknown_carriers(path, form.delivery.max_tps, carriers, "delivery.max_tps")
    if problems:
        raise InvalidFileError(problems)
    return _order(path.stem, form, communes, polygons, form.audience.carriers or carriers)


def _polygons(path: Path, names: Iterable[str]) -> tuple[tuple[Polygon, ...], list[Problem]]:
    polygons: list[Polygon] = []
    problems: list[Problem] = []
    for name in names:
        try:
            polygons += read_polygons(path.with_name(name))
        except InvalidFileError as error:
            problems += error.problems
        except ConfigurationError as error:
            problems.append(Problem(str(path), error.message, line_of(path, name), "audience.polygons"))
    return tuple(polygons), problems


def _communes(path: Path, names: Iterable[str], areas: Sequence[Area]) -> tuple[set[AreaCode], list[Problem]]:
    """Return the communes of today behind the names of an order, former districts and provinces among them."""
    codes: set[AreaCode] = set()
    problems: list[Problem] = []
    for name in names:
        try:
            codes |= set(find_place(areas, name).areas or (area.code for area in areas))
        except NotFoundError as error:
            hint = error.hint or Said("", "")
            message = Said(vi=f"{error.message.vi}; {hint.vi}".rstrip("; "), en=f"{error.message.en}; {hint.en}".rstrip("; "))
            problems.append(Problem(str(path), message, line_of(path, name), "audience.areas"))
    return codes, problems


def _unknown_carriers(path: Path, names: Iterable[str], carriers: Collection[CarrierCode], key: str) -> list[Problem]:
    known = ", ".join(sorted(carriers))
    return [
        Problem(
            str(path),
            Said(vi=f"không có thẻ nhà mạng “{name}”; hiện có: {known}", en=f"there is no carrier card “{name}”; known: {known}"),
            line_of(path, name),
            key,
        )
        for name in names
        if name not in carriers
    ]


def _order(
    name: str, form: _OrderFile, communes: Iterable[AreaCode], polygons: tuple[Polygon, ...], carriers: Iterable[str]
) -> Order:
    instruction = form.instruction
    return Order(
        name=name,
        title=form.campaign.title,
        environment=form.campaign.environment,
        message_class=form.campaign.message_class,
        instruction=f"{instruction.number}, {instruction.date:%d-%m-%Y}, {instruction.issued_by}",
        template=form.text.template,
        variant=form.text.variant,
        values=dict(sorted(form.text.values.items())),
        sender=form.text.sender,
        audience=Audience(
            communes=tuple(sorted(communes)),
            carriers=tuple(sorted(CarrierCode(code) for code in carriers)),
            active_within_h=form.audience.active_within_h,
            roster_max_age_h=form.audience.roster_max_age_h,
            max_recipients=form.audience.max_recipients,
            remainder_of=form.audience.remainder_of,
            circles=tuple(Circle(*item) for item in sorted((item.lat, item.lon, item.km) for item in form.audience.circles)),
            polygons=polygons,
        ),
        window=parse_window(form.time.window),
        start=_utc(form.time.start),
        start_within_h=form.time.start_within_h,
        deadline_h=form.time.deadline_h,
        validity_h=form.time.validity_h,
        override_refusals=form.delivery.override_refusals,
        unknown_policy=form.delivery.unknown_policy,
        max_tps={CarrierCode(code): tps for code, tps in sorted(form.delivery.max_tps.items())},
    )


def order_text(order: Order, remarks: Sequence[str]) -> str:
    """Return the order as the file that `read_order` reads, `remarks` as comments at its head, its time of start left open.

    Raises `ValueError` when the written instruction is not in the form that `read_order` gives it, or the order has polygons, which
    are files of their own.
    """
    number, day, issued_by = _instruction(order.instruction)
    asked = order.audience
    if asked.polygons:
        raise ValueError("polygons are files beside the order")
    lines = [
        *(f"# {remark}" for remark in remarks),
        "",
        "[campaign]",
        f"title = {_quoted(order.title)}",
        f"environment = {_quoted(order.environment)}",
        f"class = {_quoted(order.message_class)}",
        "",
        "[instruction]",
        f"number = {_quoted(number)}",
        f"date = {day.isoformat()}",
        f"issued_by = {_quoted(issued_by)}",
        "",
        "[text]",
        f"template = {_quoted(order.template)}",
        f"variant = {_quoted(order.variant)}",
        f"sender = {_quoted(order.sender)}",
        f"values = {_inline({key: _quoted(value) for key, value in order.values.items()})}",
        "",
        "[audience]",
        *([f"remainder_of = {_quoted(asked.remainder_of)}"] if asked.remainder_of else []),
        *([] if asked.circles and not asked.communes else [f"areas = {_communes_text(asked.communes)}"]),
        *([f"circles = {_circles_text(asked.circles)}"] if asked.circles else []),
        f"carriers = {_array(asked.carriers)}",
        f"active_within_h = {asked.active_within_h}",
        f"roster_max_age_h = {asked.roster_max_age_h}",
        f"max_recipients = {asked.max_recipients}",
        "",
        "[time]",
        f"window = {_quoted(window_text(order.window))}",
        f"start_within_h = {order.start_within_h}",
        f"deadline_h = {order.deadline_h}",
        f"validity_h = {order.validity_h}",
        "",
        "[delivery]",
        f"override_refusals = {str(order.override_refusals).lower()}",
        f"unknown_policy = {_quoted(order.unknown_policy)}",
        f"max_tps = {_inline({code: str(tps) for code, tps in order.max_tps.items()})}",
    ]
    return "\n".join(lines) + "\n"


def _instruction(text: str) -> tuple[str, dt.date, str]:
    found = _INSTRUCTION.fullmatch(text)
    if found is None:
        raise ValueError("not an instruction as an order's file gives it")
    return found["number"], dt.date(int(found["year"]), int(found["month"]), int(found["day"])), found["issued_by"]


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's; only DEL, which JSON leaves, may not stand in TOML as it is.
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(items: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, items))}]"


def _communes_text(codes: Sequence[str]) -> str:
    return _array(codes) if codes else _quoted("province")


def _circles_text(circles: Iterable[Circle]) -> str:
    return f"[{', '.join(f'{{ lat = {item.lat}, lon = {item.lon}, km = {item.radius_km} }}' for item in circles)}]"


def _inline(items: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{_quoted(key)} = {value}" for key, value in items.items())
    return f"{{ {pairs} }}" if pairs else "{}"


def _utc(start: dt.datetime | None) -> dt.datetime | None:
    if start is None:
        return None
    local = start if start.tzinfo else start.replace(tzinfo=ZoneInfo(TIMEZONE))
    return local.astimezone(dt.UTC)
