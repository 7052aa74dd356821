"""`broadcaster campaign uncertain`: the messages of which nobody can know whether the carrier has them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broadcaster.cli import campaign_words as words
from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, reason_option, reference_argument
from broadcaster.cli.failures import unwritable
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.flow.uncertain import Decided, Doubt

SHOWN_ROWS: Final = 50

commands = Group(
    "uncertain",
    help=say(
        "Tin chưa rõ nhà mạng đã nhận hay chưa: liệt kê, gửi lại, hoặc để yên.",
        "Messages of unknown fate: list them, send them again, or leave them.",
    ),
)

_carrier = click.option(
    "--carrier",
    metavar=say("NHÀ_MẠNG", "CARRIER"),
    help=say("Chỉ của nhà mạng này.", "Only this carrier's."),
)


@commands.command(
    "list",
    help=say(
        "Liệt kê từng phần tin chưa rõ: số máy bị che, lúc gửi, phiếu nhận và lần chạy dịch vụ nào, vì sao.",
        "List every part of unknown fate: masked number, when it was written, under which lease and start of the service, and why.",
    ),
)
@reference_argument()
@_carrier
@click.option(
    "--csv",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=say("TỆP", "FILE"),
    help=say("Ghi thêm cả danh sách ra tệp CSV này; số máy vẫn bị che.", "Write the whole list to this CSV file, too."),
)
def list_uncertain(reference: str, carrier: str | None, target: Path | None) -> None:
    from broadcaster.flow import uncertain

    installation = opening.installation()
    found, doubts = uncertain.listed(installation.store, installation.vault, reference, carrier)
    if target is not None:
        _write_csv(target, found.name, doubts)
    document = {"campaign": found.name, "uncertain": [_plain(item) for item in doubts]}
    output.answer(document, lambda: _show(doubts))


def _plain(item: Doubt) -> dict[str, Any]:
    plain = item._asdict()
    plain["sent_at"], plain["since"] = output.moment_of_ms(plain.pop("sent_ms")), output.moment_of_ms(plain.pop("since_ms"))
    return plain


def _columns() -> list[Column]:
    return [
        Column(say("Tin", "Message")),
        Column(say("Số máy", "Number")),
        Column(say("Nhà mạng", "Carrier")),
        Column(say("Phần", "Part"), right=True),
        Column(say("Lần", "Attempt"), right=True),
        Column(say("Gửi lúc", "Written at")),
        Column(say("Từ lúc", "Unknown since")),
        Column(say("Phiếu/lần chạy", "Lease/start")),
        Column(say("Lý do", "Reason")),
        Column(say("Để yên", "Settled")),
    ]


def _row(item: Doubt) -> list[object]:
    from broadcaster.review.words import reason

    return [
        item.message,
        item.number,
        item.carrier,
        item.part,
        item.attempt,
        output.moment_of_ms(item.sent_ms),
        output.moment_of_ms(item.since_ms),
        f"{item.lease_id}/{item.epoch}",
        reason(item.reason),
        item.settled,
    ]


def _show(doubts: Sequence[Doubt]) -> None:
    output.table(
        _columns(),
        [_row(item) for item in doubts[:SHOWN_ROWS]],
        empty=Said("Không có tin nào chưa rõ.", "Nothing is uncertain."),
    )
    if (rest := len(doubts) - SHOWN_ROWS) > 0:
        output.tell(
            say(f"… và {output.number(rest)} dòng nữa (đủ trong --json, --csv)", f"… and {output.number(rest)} more (--json, --csv)")
        )


def _write_csv(path: Path, campaign: str, doubts: Sequence[Doubt]) -> None:
    from broadcaster.review.csv import BYTE_ORDER_MARK, formula_safe

    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(BYTE_ORDER_MARK)
            table = csv.writer(file)
            table.writerow([say("Chiến dịch", "Campaign"), *(column.title for column in _columns())])
            for item in doubts:
                moments = [output.moment(output.moment_of_ms(at)) for at in (item.sent_ms, item.since_ms)]
                cells = [str(cell) for cell in _row(item)]
                cells[5:7] = moments
                table.writerow(map(formula_safe, [campaign, *cells]))
    except OSError as error:
        raise unwritable(path, error) from error


def _decision(name: str, about: str, done: Said) -> None:
    """Add one of the verbs that decide about all that is uncertain."""

    @commands.command(name, help=about)
    @reference_argument()
    @_carrier
    @click.option(
        "--expect",
        type=click.IntRange(0),
        metavar=say("SỐ", "N"),
        help=say(
            "Số tin mà kịch bản chờ đợi; khác thì từ chối. Không ghi thì phải gõ lại số.",
            "The number of messages a script expects; any other is refused. Without it the number must be typed.",
        ),
    )
    @click.option("--dry-run", is_flag=True, help=say("Chỉ đếm, không thay đổi gì.", "Only count, change nothing."))
    @reason_option(in_report=True)
    def decide(reference: str, carrier: str | None, expect: int | None, dry_run: bool, reason: str) -> None:
        from broadcaster.flow import uncertain

        installation = opening.installation()
        store, auditor = installation.store, installation.auditor
        found = uncertain.waiting(store, reference, carrier)
        if not dry_run:
            typed = _typed(found, done) if expect is None else expect
            act: dict[str, Callable[[], Decided]] = {
                "release": lambda: uncertain.release(
                    store, auditor, reference, carrier=carrier, expect=typed, reason=reason, now=opening.now()
                ),
                "settle": lambda: uncertain.settle(store, auditor, reference, carrier=carrier, expect=typed, reason=reason),
            }
            found = act[name]()
        document = words.campaign_json(found.campaign) | {"messages": found.messages, "dry_run": dry_run}
        count = output.number(found.messages)
        what = say("chưa rõ, chờ quyết định", "uncertain, waiting for a decision") if dry_run else str(done)
        output.answer(document, lambda: output.line(f"{found.campaign.name}: {count} {say('tin', 'messages')} {what}"))


def _typed(found: Decided, done: Said) -> int:
    for text in (
        words.banner(found.campaign.content["order"]["environment"]),
        f"{found.campaign.name}: {output.number(found.messages)} {say('tin chưa rõ', 'uncertain messages')} → {done}",
    ):
        output.tell(text)
    return words.typed_number(
        say("Gõ lại số tin để xác nhận", "Type the number of messages to confirm"),
        Said("kịch bản thì dùng --expect SỐ", "scripts use --expect N"),
    )


_decision(
    "release",
    say(
        'Gửi lại mọi tin chưa rõ, chấp nhận có người nhận hai lần. Chỉ khi lệnh đã ký ghi unknown_policy = "operator", trong hạn '
        "đã ký. Chiến dịch đã kết thúc trở về tạm dừng, gửi tiếp bằng campaign resume.",
        "Send every uncertain message again, at the risk of second copies. Only where the signed order says unknown_policy = "
        '"operator", before its deadline. A finished campaign becomes paused: campaign resume sends.',
    ),
    Said("sẽ được gửi lại, có thể trùng", "to be sent again, perhaps twice"),
)
_decision(
    "settle",
    say(
        "Để yên mọi tin chưa rõ: không bao giờ gửi lại, báo cáo ghi là không rõ. Biên nhận đến sau không được tính nữa, "
        "chỉ câu trả lời muộn trong cùng kết nối mới được tính.",
        "Leave every uncertain message as it is: never sent again, reported as unknown. A receipt that comes later counts no more, "
        "only a late answer on the same connection does.",
    ),
    Said("để yên, không gửi lại", "left unknown, never sent again"),
)
