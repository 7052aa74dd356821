"""What a check of a carrier's connection says in words: why a bind was refused, how ids look, where receipts name their message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from broadcaster.flow.check_seen import Failure
from broadcaster.lang import Said
from broadcaster.rules.dialect import Spelling, Where
from broadcaster.smpp.receipt import ReceiptState


class Finding(NamedTuple):
    """One thing a check looked at; `ok` is None where it could not be judged."""

    id: str
    ok: bool | None
    said: Said
    details: tuple[Said, ...] = ()


BIND_WORDS: Final[Mapping[int, Said]] = {
    0x03: Said("nhà mạng không hiểu loại đăng nhập này (bind_transceiver)", "the carrier does not know this kind of bind"),
    0x04: Said("sai trạng thái đăng nhập", "wrong bind state"),
    0x05: Said("tài khoản đang được một phiên khác giữ", "another session still holds the account"),
    0x08: Said("lỗi hệ thống phía nhà mạng", "a system error at the carrier"),
    0x0D: Said(
        "nhà mạng từ chối đăng nhập, không nói vì sao (thường do IP chưa được phép)",
        "the bind failed, no reason given (often an address that is not allowed yet)",
    ),
    0x0E: Said("sai mật khẩu", "wrong password"),
    0x0F: Said("sai tên tài khoản (system_id)", "wrong system_id"),
    0x53: Said("sai system_type", "wrong system_type"),
    0x58: Said("đăng nhập quá nhanh hoặc quá nhiều kết nối", "too many binds"),
}


SHAPES: Final[Mapping[Spelling, str]] = {
    Spelling.DECIMAL: "thập phân",
    Spelling.PADDED: "thập phân, có số 0 ở đầu",
    Spelling.HEX: "thập lục phân",
    Spelling.UUID: "UUID",
    Spelling.OTHER: "dạng khác",
    Spelling.NONE: "không có",
}

STATES: Final[Mapping[str, str]] = {
    ReceiptState.DELIVERED: "đã đến",
    ReceiptState.EXPIRED: "quá hạn",
    ReceiptState.DELETED: "bị xóa",
    ReceiptState.UNDELIVERABLE: "không đến được",
    ReceiptState.REJECTED: "bị từ chối",
    ReceiptState.SKIPPED: "bị bỏ qua",
}


WHERE: Final[Mapping[Where, Said]] = {
    Where.TLV: Said("chỉ trong tham số receipted_message_id", "in receipted_message_id only"),
    Where.TEXT: Said("chỉ trong văn bản", "in the text only"),
    Where.BOTH: Said("trong cả tham số lẫn văn bản", "in both parameter and text"),
    Where.MIXED: Said("khi thì trong tham số, khi thì trong văn bản", "now in the parameter, now in the text"),
    Where.NONE: Said("không có", "nowhere"),
}


def why(failure: Failure) -> Said:
    """Return the cause of a failure in words."""
    words = BIND_WORDS.get(failure.bind_status) if failure.bind_status is not None else None
    if words is None:
        return failure.reason
    return Said(vi=f"{failure.reason.vi} – {words.vi}", en=f"{failure.reason.en} – {words.en}")
