"""`broadcaster optout`: the subscribers who refuse warnings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, existing_file
from broadcaster.cli.output import Column
from broadcaster.errors import InvalidFileError, Problem
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.model import Msisdn

_SOURCES: Final = {"reply": Said("tin trả lời", "reply"), "cli": Said("nhập từ đơn, phiếu", "entered from a letter or form")}


class InvalidNumbersError(InvalidFileError):
    """What was given as numbers holds something else, or nothing."""

    exit_code = 2


commands = Group("optout", help=say("Thuê bao từ chối nhận tin cảnh báo.", "Subscribers who refuse warnings."))


@commands.command(
    "add",
    help=say(
        "Ghi nhận các số từ chối nhận tin; có hiệu lực ngay, kể cả với chiến dịch đang gửi.",
        "Record numbers that refuse; in force at once, in a running campaign too.",
    ),
)
@click.argument(
    "numbers",
    nargs=-1,
    metavar=say("[SỐ]...", "[NUMBER]..."),
    help=say(
        "Số di động. Nên dùng --file hoặc stdin (mỗi dòng một số) để số máy không nằm trong lịch sử lệnh.",
        "Mobile numbers. Better give them by --file or stdin, one a line, so that they stay out of the shell's history.",
    ),
)
@click.option(
    "--file",
    "file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say("Tệp văn bản, mỗi dòng một số.", "A text file with one number a line."),
)
@click.option(
    "--evidence",
    required=True,
    metavar=say("LỜI", "TEXT"),
    help=say(
        'Bằng chứng của việc từ chối, ví dụ "Đơn số 7 ngày 05-01-2026". Không ghi số máy vào đây.',
        'What proves the refusal, such as "Letter 7 of 05-01-2026". Write no phone number here.',
    ),
)
def add(numbers: Sequence[str], file: Path | None, evidence: str) -> None:
    from broadcaster.flow import intake

    found = _given(numbers, file)
    installation = opening.installation()
    count = intake.refuse(
        installation.store,
        installation.auditor,
        installation.vault,
        found,
        refuses=True,
        source="cli",
        evidence=evidence,
        now=opening.now(),
    )
    output.answer(
        {"recorded": count},
        lambda: output.line(say(f"Đã ghi nhận {output.number(count)} số từ chối.", f"{output.number(count)} refusals recorded.")),
    )


def _given(numbers: Sequence[str], file: Path | None) -> list[Msisdn]:
    if numbers and file:
        raise click.UsageError(say("chỉ ghi số trên dòng lệnh hoặc --file, không cả hai", "give numbers or --file, not both"))
    if numbers:
        return _checked(say("dòng lệnh", "command line"), numbers)
    if file:
        try:
            return _checked(str(file), file.read_text("utf-8-sig").splitlines())
        except UnicodeDecodeError:
            raise InvalidFileError([Problem(str(file), Said("tệp không phải UTF-8", "the file is not UTF-8"))]) from None
    if sys.stdin.isatty():
        output.tell(say("Nhập mỗi dòng một số, xong thì nhấn Ctrl-D.", "Type one number a line, then Ctrl-D."))
    return _checked("stdin", sys.stdin.read().splitlines())


def _checked(source: str, lines: Sequence[str]) -> list[Msisdn]:
    """Return the numbers; the lines that are none are all reported by place, never by content."""
    from broadcaster.files.prefixes import read_plan
    from broadcaster.flow.load import DROP_WORDS
    from broadcaster.model import DropReason

    results = [(place, read_plan().normalise(text)) for place, text in enumerate(lines, 1) if text.strip()]
    problems = [
        Problem(
            source,
            Said(
                f"không phải số di động Việt Nam ({DROP_WORDS[result].vi})",
                f"not a Vietnamese mobile number ({DROP_WORDS[result].en})",
            ),
            place,
        )
        for place, result in results
        if isinstance(result, DropReason)
    ]
    if problems:
        raise InvalidNumbersError(problems)
    if not results:
        raise InvalidNumbersError([Problem(source, Said("không có số nào", "there is no number"))])
    return [result for _, result in results if not isinstance(result, DropReason)]


@commands.command(
    "list", help=say("Liệt kê các lần từ chối gần nhất; số máy luôn bị che.", "List the newest refusals; numbers are always masked.")
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    metavar=say("SỐ_DÒNG", "ROWS"),
    help=say("Số dòng nhiều nhất.", "How many at most."),
)
def list_refusals(limit: int) -> None:
    from broadcaster.rules.numbers import mask
    from broadcaster.store.refusals import count_refusing, refusals

    installation = opening.installation()
    with installation.store.read() as connection:
        found, refusing = refusals(connection, limit), count_refusing(connection)
    numbers = [mask(number) for number in installation.vault.reveal([item.token for item in found])]
    document = {
        "refusing": refusing,
        "newest": [
            {
                "number": number,
                "refuses": item.refuses,
                "source": item.source,
                "evidence": item.evidence,
                "at": output.moment_of_ms(item.at_ms),
            }
            for number, item in zip(numbers, found, strict=True)
        ],
    }
    columns = [
        Column(say("Số máy", "Number")),
        Column(say("Từ chối", "Refuses")),
        Column(say("Lúc", "At")),
        Column(say("Nguồn", "Source")),
        Column(say("Bằng chứng", "Evidence")),
    ]
    rows = [
        [number, item.refuses, output.moment_of_ms(item.at_ms), str(_SOURCES.get(item.source, item.source)), item.evidence]
        for number, item in zip(numbers, found, strict=True)
    ]

    def show() -> None:
        output.table(columns, rows, empty=Said("Chưa ai từ chối.", "Nobody has refused."))
        output.tell(say(f"Đang từ chối: {output.number(refusing)} số.", f"Refusing now: {output.number(refusing)} numbers."))

    output.answer(document, show)
