"""How the review says things: outcomes, causes, roles, numbers and times, in the language of the reader."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from broadcaster.lang import Said, say, spoken
from broadcaster.model import TIMEZONE, CampaignState, Exclusion, Role, State
from broadcaster.review.data import HANDSET, CarrierFigures, Review
from broadcaster.rules.lifecycle import ACTION_NAMES, STATE_NAMES
from broadcaster.rules.refusal import Kind
from broadcaster.smpp.status import NAMES, describe

_ZONE: Final = ZoneInfo(TIMEZONE)
NOTHING: Final = "–"

EXCLUSIONS: Final[Mapping[Exclusion, Said]] = {
    Exclusion.REFUSED: Said("đã từ chối nhận tin", "refused before"),
    Exclusion.DUPLICATE: Said("trùng ở danh sách khác", "also in another roster"),
    Exclusion.STALE: Said("lâu không hoạt động", "inactive for too long"),
    Exclusion.UNKNOWN_CELL: Said("không rõ trạm phát sóng", "unknown cell"),
}

STATES: Final[Mapping[State, Said]] = {
    State.READY: Said("chờ gửi", "waiting to be sent"),
    State.CANCELLED: Said("hủy trước khi gửi", "cancelled before sending"),
    State.LAPSED: Said("hết hạn gửi", "lapsed before sending"),
    State.SUPPRESSED: Said("từ chối trước lúc gửi", "refused before their turn"),
    State.RETRY: Said("chờ gửi lại", "waiting for another try"),
    State.REFUSED: Said("nhà mạng không nhận", "refused by the carrier"),
    State.UNCERTAIN: Said("không rõ", "uncertain"),
    State.ACCEPTED: Said("chờ biên nhận", "no receipt yet"),
    State.EXPIRED: Said("quá hạn trên mạng", "expired in the network"),
    State.DELETED: Said("bị xóa trên mạng", "deleted in the network"),
    State.UNDELIVERABLE: Said("không phát được", "undeliverable"),
    State.REJECTED: Said("bị bác trên mạng", "rejected in the network"),
    State.DELIVERED: Said("đã xác nhận", "confirmed"),
}

ON_HANDSET: Final = Said("máy đã nhận", "received by the phone")
AT_CARRIER: Final = Said("nhà mạng xác nhận", "confirmed by the carrier")

_RECEIPT_MEANS: Final[Mapping[str, Said]] = {
    HANDSET: Said("máy đã nhận tin", "the phone has the text"),
    "smsc": Said("tổng đài tin nhắn đã nhận tin", "the message centre has the text"),
    "none": Said("nhà mạng không gửi biên nhận", "the carrier sends no receipts"),
    "unknown": Said("chưa rõ, chờ nhà mạng trả lời", "not known; the carrier has yet to say"),
}

ROLES: Final[Mapping[Role, Said]] = {
    Role.OPERATOR: Said("người vận hành", "operator"),
    Role.AUTHOR: Said("người soạn", "author"),
    Role.CONTENT_AUTHORITY: Said("người duyệt nội dung", "content authority"),
    Role.APPROVER: Said("người phê duyệt", "approver"),
    Role.DUTY_OFFICER: Said("lãnh đạo trực", "duty officer"),
    Role.REVIEWER: Said("người xem báo cáo", "reviewer"),
    Role.AUDITOR: Said("kiểm tra viên", "auditor"),
}

REPLIES: Final[Mapping[str, Said]] = {
    Kind.REFUSE: Said("từ chối nhận tin", "refuses"),
    Kind.ACCEPT: Said("đồng ý nhận lại", "accepts again"),
    Kind.REPORT: Said("phản ánh lừa đảo", "reports a scam"),
    Kind.OTHER: Said("nội dung khác", "anything else"),
}

_ACTIONS: Final[Mapping[str, Said]] = {str(move): words for move, words in ACTION_NAMES.items()} | {
    "uncertain-release": Said("cho gửi lại tin chưa rõ", "send what was uncertain again"),
    "uncertain-settle": Said("để yên tin chưa rõ", "leave what was uncertain"),
    "carrier-pause": Said("tạm dừng một nhà mạng", "pause a carrier"),
    "carrier-resume": Said("gửi tiếp tới một nhà mạng", "let a carrier go on"),
    "carrier-rate": Said("đổi tốc độ của một nhà mạng", "change a carrier's rate"),
    "stop-all": Said("dừng toàn bộ", "stop everything"),
    "stop-lift": Said("gỡ lệnh dừng toàn bộ", "lift the stop of everything"),
    "carrier-halt": Said("dừng gửi tới một nhà mạng", "stop sending to a carrier"),
}

_REASONS: Final[Mapping[str, Said]] = {
    "crash": Said("dịch vụ dừng đột ngột khi đang gửi", "the service died while sending"),
    "no answer": Said("nhà mạng không trả lời", "the carrier did not answer"),
    "other part refused": Said("phần khác của tin bị từ chối", "another part of the message was refused"),
}

_SOURCES: Final[Mapping[str, Said]] = {
    "reply": Said("tin trả lời của thuê bao", "replies of subscribers"),
    "journal": Said("tin trả lời, lấy lại từ sổ từ chối", "replies, taken back from the journal"),
    "cli": Said("cán bộ nhập", "entered by an operator"),
    "file": Said("tệp của đầu số nhận tin từ chối", "the reply number's file"),
}

_STATUSES: Final[Mapping[int, str]] = {
    0x01: "độ dài tin sai",
    0x04: "kết nối chưa sẵn sàng",
    0x08: "lỗi hệ thống của nhà mạng",
    0x0A: "sai tên định danh người gửi",
    0x0B: "số nhận không hợp lệ",
    0x14: "hàng đợi của nhà mạng đầy",
    0x45: "nhà mạng không gửi được tin",
    0x58: "gửi vượt tốc độ cho phép",
    0x61: "sai giờ gửi",
    0x62: "sai thời hạn của tin",
    0x64: "lỗi tạm thời ở phía nhận",
    0x65: "lỗi vĩnh viễn ở phía nhận",
    0x66: "phía nhận bác tin",
    0xFF: "lỗi không xác định",
}


def said(words: Said) -> str:
    return say(words.vi, words.en)


def action(name: str) -> str:
    """Name an audit action; one that is no move of a campaign stays as it is."""
    return said(_ACTIONS[name]) if name in _ACTIONS else name


def campaign_state(state: CampaignState) -> str:
    return said(STATE_NAMES[state])


def reply_kind(kind: str) -> str:
    return said(REPLIES[kind]) if kind in REPLIES else kind


def source(name: str) -> str:
    """Say where an entry of the refusal log came from."""
    return said(_SOURCES[name]) if name in _SOURCES else name


def receipt_means(carrier: CarrierFigures) -> str:
    return said(_RECEIPT_MEANS.get(carrier.receipt_means, _RECEIPT_MEANS["unknown"]))


def confirmed(carrier: CarrierFigures) -> str:
    """Return what a confirmed message of this carrier may be called."""
    return said(ON_HANDSET if carrier.reaches_handset else AT_CARRIER)


def reason(name: str) -> str:
    return said(_REASONS[name]) if name in _REASONS else name or NOTHING


def status(code: int | None) -> str:
    """Say a carrier's answer in words, with its name or number."""
    if code is None:
        return say("không có mã trả lời", "no status")
    if spoken() == "en":
        return describe(code)
    name = f"{NAMES[code]}, 0x{code:02X}" if code in NAMES else f"0x{code:X}"
    return f"{_STATUSES.get(code, 'mã riêng của nhà mạng' if code not in NAMES else 'nhà mạng từ chối')} ({name})"


class Cause(NamedTuple):
    """Why some of a carrier's messages (or, for tries turned down, parts) did not get through."""

    step: str
    why: str
    messages: int | None
    parts: int | None


def causes(carrier: CarrierFigures) -> Iterator[Cause]:
    """Yield everything that kept a carrier's messages from arriving, in words with the carrier's own codes."""
    if carrier.halted:
        yield Cause(say("dừng gửi", "halted"), reason(carrier.halted), None, None)
    for refused in carrier.refused:
        why = reason(refused.reason) if refused.status is None and refused.reason else status(refused.status)
        yield Cause(say("từ chối hẳn", "refused for good"), why, refused.messages, None)
    for failed in carrier.failed:
        code = say(f"mã {failed.error}", f"code {failed.error}") if failed.error else say("không có mã", "no code")
        step = say("biên nhận báo không đến", "receipt says failed")
        yield Cause(step, f"{said(STATES[failed.state])} ({code})", failed.messages, None)
    for retried in carrier.retried:
        yield Cause(say("tạm từ chối, đã xếp gửi lại", "turned down, to be tried again"), status(retried.status), None, retried.parts)


class CarrierNames(dict[str, str]):
    """Names of a review's carriers by code; a code that has none names itself."""

    def __init__(self, review: Review) -> None:
        super().__init__({item.code: item.name for item in review.carriers})

    def __missing__(self, code: str) -> str:
        return code


def role_list(roles: tuple[Role, ...]) -> str:
    return ", ".join(said(ROLES[role]) for role in roles)


def key(value: State | Exclusion) -> str:
    """Return the stable English key of a value, as JSON and CSV have it."""
    return value.name.lower().replace("_", "-")


def outcome_key(state: State, exclusion: Exclusion | None) -> str:
    """Return the key of where a subscriber ended up: ``delivered``, ``excluded-stale``."""
    return f"excluded-{key(exclusion)}" if exclusion else key(state)


def outcome_name(state: State, exclusion: Exclusion | None) -> str:
    if exclusion:
        return say("loại trừ: ", "excluded: ") + said(EXCLUSIONS[exclusion])
    return said(STATES[state])


def number(value: float, decimals: int = 0) -> str:
    """Write a number as its readers group it: 1.234.567,8 in Vietnamese, 1,234,567.8 in English."""
    text = f"{value:,.{decimals}f}"
    return text if spoken() == "en" else text.translate(str.maketrans(",.", ".,"))


def share(part: int, of: int) -> str:
    """Write a share in percent with one decimal. Never 100 % when something is missing, nor 0 % when something is there."""
    if not of:
        return NOTHING
    thousandths = round(1000 * part / of)
    if 0 < part < of and thousandths in {0, 1000}:
        return ("< " if thousandths == 0 else "> ") + number(0.1 if thousandths == 0 else 99.9, 1) + "\u00a0%"
    return number(thousandths / 10, 1) + "\u00a0%"


def moment(at: dt.datetime | None, *, seconds: bool = True) -> str:
    """Write a time as it is in Vietnam, the day behind it."""
    return f"{at.astimezone(_ZONE):{'%H:%M:%S' if seconds else '%H:%M'} %d/%m/%Y}" if at else NOTHING


def clock(at: dt.datetime, *, seconds: bool) -> str:
    return f"{at.astimezone(_ZONE):{'%H:%M:%S' if seconds else '%H:%M'}}"


def wait(milliseconds: int | None) -> str:
    """Write a waiting time in the unit that shows it best."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1000:
        return f"{milliseconds}\u00a0ms"
    if milliseconds < 120_000:
        return number(milliseconds / 1000, 1 if milliseconds < 100_000 else 0) + "\u00a0s"
    minutes = milliseconds / 60_000
    return (
        number(minutes, 1) + say("\u00a0phút", "\u00a0min")
        if minutes < 120
        else number(minutes / 60, 1) + say("\u00a0giờ", "\u00a0h")
    )


def confirmations(review: Review) -> Iterator[tuple[Said, int]]:
    """Yield what confirmed messages are called, with their number: only a receipt from the phone itself counts as received."""
    if any(item.reaches_handset for item in review.carriers):
        yield ON_HANDSET, review.on_handset
    if review.at_carrier or not any(item.reaches_handset for item in review.carriers):
        yield AT_CARRIER, review.at_carrier


def headline(review: Review) -> str:
    """Say in one sentence what happened."""
    totals = review.totals
    if not totals.audience:
        return say("Chưa có thuê bao nào được đưa vào danh sách gửi.", "No subscriber has been enlisted yet.")
    found = list(confirmations(review))
    vi = ", ".join(f"{number(count)} {words.vi if words is ON_HANDSET else 'được ' + words.vi}" for words, count in found)
    en = ", ".join(f"{number(count)} {words.en}" for words, count in found)
    return say(
        f"Đã gửi tới {number(totals.sent)} trong {number(totals.audience)} thuê bao; {vi}.",
        f"Sent to {number(totals.sent)} of {number(totals.audience)} subscribers; {en}.",
    )
