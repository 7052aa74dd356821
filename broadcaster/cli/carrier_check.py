"""`broadcaster carrier check` and `approve-check`: the acceptance kit for a new carrier connection."""

from __future__ import annotations

import datetime as dt
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command, existing_file, invocation
from broadcaster.cli.output import Column
from broadcaster.errors import CarrierError, ConfigurationError, RefusedError
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.flow.check_gate import Errand
    from broadcaster.flow.check_report import Report
    from broadcaster.model import CarrierCard
    from broadcaster.rules.standing import StandingApproval
    from broadcaster.service.installation import Installation

RECEIPT_WAIT_S: Final = 120.0
MOST_DAILY: Final = 10_000


@click.command(
    "approve-check",
    cls=Command,
    help=say(
        "Ký phê duyệt thường trực cho tin thử kết nối: nội dung từng tin thử, người gửi, hạn dùng, số tin mỗi ngày. `carrier check` "
        "không gửi gì nếu thiếu chữ ký này.",
        "Sign the standing approval of the test texts: each text, the sender, the last day, the daily cap. Without it `carrier "
        "check` sends nothing.",
    ),
)
@click.option(
    "--as",
    "approver",
    required=True,
    metavar=say("NGƯỜI", "PERSON"),
    help=say("Tên người ký (vai trò approver).", "Who signs (role approver)."),
)
@click.option(
    "--key",
    required=True,
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say("Tệp khóa riêng Ed25519 của người ký, quyền 0600.", "The signer's Ed25519 private key, mode 0600."),
)
@click.option(
    "--sender",
    required=True,
    metavar=say("TÊN", "NAME"),
    help=say("Tên định danh hiện trên máy thử, ví dụ SKHCN-QNG.", "The sender shown on the test phones, such as SKHCN-QNG."),
)
@click.option(
    "--until",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    metavar=say("NGÀY", "DATE"),
    help=say("Ngày cuối còn hiệu lực, ví dụ 2026-12-31; tối đa một năm.", "Last day it holds, such as 2026-12-31; a year at most."),
)
@click.option(
    "--daily",
    required=True,
    type=click.IntRange(1, MOST_DAILY),
    metavar=say("SỐ", "N"),
    help=say(
        "Số tin thử tối đa mỗi ngày, tính mọi nhà mạng và mọi số máy; thử tốc độ (--tps) cần khoảng 2,5 lần tốc độ hợp đồng.",
        "Most test texts a day, over all carriers and numbers; trying the rate (--tps) takes about 2.5 times the contract rate.",
    ),
)
def approve_check(approver: str, key: Path, sender: str, until: dt.datetime, daily: int) -> None:
    from broadcaster.cli.campaign import find_person
    from broadcaster.files.people import read_private_key
    from broadcaster.files.standing import STANDING_FILE, read_check_texts, write_standing
    from broadcaster.flow.check_gate import judge_standing, sign_standing

    here = opening.installation(approver)
    settings, now = here.settings, opening.now()
    texts = read_check_texts(settings.templates_folder, settings.environment)
    made = sign_standing(
        texts,
        person=find_person(here, approver),
        key=read_private_key(key),
        environment=settings.environment,
        sender=sender,
        until=until.date(),
        daily=daily,
        now=now,
    )
    judge_standing(made, texts, settings.environment, here.people().values(), now)
    path = settings.people_file.with_name(STANDING_FILE)
    with here.store.write() as connection:
        here.auditor.record(
            connection,
            "standing-approve",
            "carrier-check",
            {"texts": dict(made.texts), "sender": sender, "until": made.until.isoformat(), "daily": daily},
        )
        write_standing(path, made)
    document = {
        "person": approver,
        "sender": sender,
        "until": made.until.isoformat(),
        "daily": daily,
        "texts": [{"name": name, "text": text, "sha256": made.texts[name]} for name, text in texts.items()],
        "file": str(path),
    }
    output.answer(document, lambda: _show_signed(made, texts))


def _show_signed(made: StandingApproval, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        output.line(f"{name}: {text}")
    output.line(
        say(
            f"Đã ký: tin thử của {made.sender}, đến hết ngày {made.until:%d-%m-%Y}, tối đa {output.number(made.daily)} tin mỗi ngày.",
            f"Signed: test texts of {made.sender}, until {made.until.isoformat()}, at most {output.number(made.daily)} a day.",
        )
    )


@click.command(
    "check",
    cls=Command,
    help=say(
        "Nghiệm thu một kết nối nhà mạng: kết nối, đăng nhập, đo enquire_link, gửi tin thử đã ký chỉ đến các số test_numbers của "
        "thẻ, chờ biên nhận, so với thẻ, rồi in báo cáo và thẻ đã điền. Phải dừng dịch vụ trước (mã thoát 11). Kết nối hỏng: 12; có "
        "điều không như thẻ: 3.",
        "Accept a carrier's connection: connect, bind, time enquire_link, send the signed test texts to the card's test_numbers "
        "only, await receipts, compare with the card, print a report and the card filled in. The service must be stopped (exit code "
        "11). A failed connection: 12; something not as the card says: 3.",
    ),
)
@click.argument(
    "card",
    metavar=say("THẺ", "CARD"),
    help=say(
        "Mã của thẻ trong thư mục thẻ của hệ thống, ví dụ viettel.", "The code of a card of this installation, such as viettel."
    ),
)
@click.option(
    "--tps",
    "with_tps",
    is_flag=True,
    help=say(
        "Thử cả tốc độ: bốn bậc 25, 50, 75, 100 % tốc độ trong thẻ, mỗi bậc một giây, nên gửi thêm rất nhiều tin đến các máy thử. "
        "Khi chạy thật phải xác nhận cả số tin.",
        "Try the rate too: steps of 25, 50, 75 and 100 % of the card's, a second each, so very many more texts go to the test "
        "phones. In a live installation the number of texts must be confirmed as well.",
    ),
)
@click.option(
    "--wait-s",
    type=click.FloatRange(0, 86_400),
    default=RECEIPT_WAIT_S,
    show_default=True,
    metavar=say("GIÂY", "SECONDS"),
    help=say("Chờ biên nhận tối đa chừng này giây.", "Await receipts for so many seconds at most."),
)
@click.option(
    "--card-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=say("TỆP", "FILE"),
    help=say(
        "Ghi thẻ đã điền vào tệp này (không ghi đè) thay vì in ra.",
        "Write the filled-in card to this file (never overwritten), not out.",
    ),
)
@click.option(
    "--yes",
    is_flag=True,
    help=say(
        "Không hỏi; dùng cho kịch bản, phải đi cùng --expect-numbers.", "Do not ask; for scripts, together with --expect-numbers."
    ),
)
@click.option(
    "--expect-numbers",
    type=click.IntRange(0),
    metavar=say("SỐ", "N"),
    help=say("Số máy thử mà kịch bản chờ đợi; khác thì từ chối.", "How many test numbers the script expects; any other is refused."),
)
@click.option(
    "--expect-texts",
    type=click.IntRange(0),
    metavar=say("SỐ", "N"),
    help=say(
        "Số tin thử mà kịch bản chờ đợi; bắt buộc khi thử tốc độ thật.",
        "How many test texts the script expects; needed to try the rate in a live installation.",
    ),
)
def check(
    card: str,
    with_tps: bool,
    wait_s: float,
    card_file: Path | None,
    yes: bool,
    expect_numbers: int | None,
    expect_texts: int | None,
) -> int:
    if yes != (expect_numbers is not None):
        raise click.UsageError(say("--yes và --expect-numbers phải đi cùng nhau", "--yes and --expect-numbers belong together"))
    here = opening.installation()
    with _alone(here):
        errand, approval = _prepare(here, opening.find_card(here.cards(), card), with_tps=with_tps)
        _confirm(errand, expect_numbers, expect_texts)
        report = _run(here, errand, approval, with_tps=with_tps, wait_s=wait_s)
    return _deliver(here, report, card_file)


def _alone(here: Installation) -> AbstractContextManager[None]:
    """Hold the service's lock: the service and a check must never own one account together."""
    from broadcaster.store.engine import service_lock

    if here.store.path is None:
        raise RefusedError(
            Said("kiểm tra nhà mạng chỉ chạy được với SQLite", "a carrier can be checked from an installation on SQLite only")
        )
    return service_lock(here.store.path)


def _prepare(here: Installation, card: CarrierCard, *, with_tps: bool) -> tuple[Errand, StandingApproval]:
    from broadcaster.files.standing import STANDING_FILE, read_check_texts, read_standing
    from broadcaster.flow.check_gate import judge_standing, plan, require_room

    settings, now = here.settings, opening.now()
    texts = read_check_texts(settings.templates_folder, settings.environment)
    signed = read_standing(settings.people_file.with_name(STANDING_FILE))
    approval = judge_standing(signed, texts, settings.environment, here.people().values(), now)
    errand = plan(card, approval.sender, texts, with_tps=with_tps, now=now)
    with here.store.read() as connection:
        require_room(connection, here.audit_key, approval, errand, now)
    return errand, approval


def _confirm(errand: Errand, numbers: int | None, texts: int | None) -> None:
    """Have the operator type how many phones get texts, and how many texts when a live carrier's rate is tried."""
    from broadcaster.model import Environment
    from broadcaster.rules.numbers import mask

    card = errand.card
    live_rate = bool(errand.steps_tps) and card.environment is Environment.LIVE
    phones = len(card.test_numbers)
    if numbers is None:
        for text in (
            say("Nhà mạng: ", "Carrier: ") + f"{card.name} ({card.endpoint})",
            say("Người gửi: ", "Sender: ") + errand.sender,
            say("Máy thử: ", "Test phones: ") + ", ".join(map(mask, card.test_numbers)),
            say("Tổng số tin thử: ", "Test texts in all: ") + output.number(errand.count),
        ):
            output.tell(text)
        numbers = _typed(say("Gõ lại số máy thử để xác nhận", "Type the number of test phones to confirm"))
        if live_rate and texts is None:
            texts = _typed(say("Gõ lại tổng số tin thử để xác nhận", "Type the number of test texts to confirm"))
    if numbers != phones or (live_rate and texts is None) or texts not in (None, errand.count):
        raise RefusedError(
            Said(
                f"chưa xác nhận đúng: thẻ có {phones} máy thử, sẽ gửi {errand.count} tin thử; chưa gửi gì",
                f"not confirmed: the card has {phones} test phones and {errand.count} test texts would go out; nothing was sent",
            ),
            Said(
                "kịch bản thì dùng --yes --expect-numbers SỐ, thêm --expect-texts SỐ khi thử tốc độ thật",
                "scripts use --yes --expect-numbers N, and --expect-texts N to try the rate in a live installation",
            ),
        )


def _typed(question: str) -> int | None:
    try:
        text = str(click.prompt(question, type=str, err=True)).strip().replace(".", "").replace(",", "")
    except click.Abort:
        output.tell("")
        return None
    return int(text) if text.isascii() and text.isdigit() else None


def _run(here: Installation, errand: Errand, approval: StandingApproval, *, with_tps: bool, wait_s: float) -> Report:
    import asyncio

    from broadcaster.flow.check import Trial
    from broadcaster.flow.check_gate import reserve
    from broadcaster.flow.check_report import judge
    from broadcaster.store.usage import add

    began = opening.now()
    trial = Trial(
        errand,
        reserve=lambda: reserve(here.store, here.auditor, here.audit_key, approval, errand, began),
        wait_s=wait_s,
        tell=lambda said: None if invocation().as_json else output.tell(str(said)),
    )
    report = judge(errand, asyncio.run(trial.run()), began, with_tps=with_tps)
    accepted = sum(part.accepted for part in report.seen.parts)
    with here.store.write() as connection:
        add(connection, errand.card.code, accepted * [time.time_ns()])
        here.auditor.record(
            connection,
            "carrier-check-result",
            errand.card.code,
            {
                "sent_parts": len(report.seen.parts),
                "accepted_parts": accepted,
                "failure": report.seen.failure.stage if report.seen.failure else None,
                "checks": {item.id: item.ok for item in report.findings},
            },
        )
    return report


def _deliver(here: Installation, report: Report, card_file: Path | None) -> int:
    """Print report and card; a failed connection is raised after that, so that it has its own words and exit code."""
    from broadcaster.flow.check_card import filled_in, without_numbers
    from broadcaster.flow.check_report import document
    from broadcaster.flow.check_words import why

    card = report.errand.card
    text = filled_in((here.settings.carriers_folder / f"{card.code}.toml").read_text("utf-8-sig"), report)
    if card_file is not None:
        try:
            with open(card_file, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(text)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError(Said(f"không ghi được {card_file}: {reason}", f"cannot write {card_file}: {reason}")) from error
    text = without_numbers(text)
    output.answer(document(report) | {"card": text}, lambda: _show(report, text, card_file))
    if report.seen.failure is not None:
        cause = why(report.seen.failure)
        raise CarrierError(
            Said(f"{card.code}: {cause.vi}", f"{card.code}: {cause.en}"),
            Said("gửi báo cáo này cho kỹ thuật của nhà mạng", "hand this report to the carrier's engineers"),
        )
    return report.exit_code


def _show(report: Report, text: str, card_file: Path | None) -> None:
    card = report.errand.card
    output.line(
        say(
            f"BIÊN BẢN KIỂM TRA KẾT NỐI – {card.name}, {output.moment(report.at)}",
            f"CONNECTION CHECK – {card.name}, {output.moment(report.at)}",
        )
    )
    output.line(
        say(
            f"Địa chỉ {card.endpoint}, tài khoản {card.system_id}, TLS: ", f"Address {card.endpoint}, account {card.system_id}, TLS: "
        )
        + (say("có", "yes") if card.tls else say("không", "no"))
    )
    output.line()
    for item in report.findings:
        output.line(f"{'?' if item.ok is None else '✓' if item.ok else '✗'} {item.said}")
        for detail in item.details:
            output.line(f"    {detail}")
    for name, reason in report.errand.skipped.items():
        output.line(f"? {name}: {say('không gửi', 'not sent')}, {reason}")
    _show_times(report)
    if any(part.accepted for part in report.seen.parts):
        output.line()
        output.line(
            say(
                "Nhìn trên máy thử và ghi lại: tên người gửi; chữ có dấu đủ dấu; tin ba phần nối liền thành một tin. Muốn biết biên "
                "nhận chứng minh điều gì (receipt_means): tắt một máy thử rồi kiểm tra lại, biên nhận “đã đến” khi máy tắt là của "
                "tổng đài.",
                "Look at the test phones and note: the sender's name; accents whole; the three parts joined in one text. To learn "
                "what a receipt proves (receipt_means), switch one phone off and check again: a “delivered” while it is off is the "
                "SMSC's.",
            )
        )
    output.line()
    if card_file is not None:
        output.line(say(f"Thẻ đã điền: {card_file}", f"The card filled in: {card_file}"))
    else:
        output.line(say(f"Thẻ đã điền ({card.code}.toml):", f"The card filled in ({card.code}.toml):"))
        output.line()
        output.line(text.rstrip())


def _show_times(report: Report) -> None:
    rows = [
        [name, times.parts, output.decimal(times.p50_ms), output.decimal(times.p95_ms)]
        for name, times in ((say("trả lời", "response"), report.answers), (say("biên nhận", "receipt"), report.receipts))
        if times is not None
    ]
    if rows:
        output.line()
        output.table(
            [
                Column(say("Thời gian", "Time of")),
                Column(say("Số phần", "Parts"), right=True),
                Column("p50 (ms)", right=True),
                Column("p95 (ms)", right=True),
            ],
            rows,
        )
