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
    from click.decorators import FC

    from broadcaster.flow.refuse import Recorded
    from broadcaster.model import Msisdn

_SOURCES: Final = {
    "reply": Said("tin trả lời", "reply"),
    "journal": Said("tin trả lời, lấy lại từ sổ từ chối", "reply, taken back from the journal"),
    "cli": Said("nhập từ đơn, phiếu", "entered from a letter or form"),
    "file": Said("tệp của đầu số", "the reply number's file"),
}
_SCOPES: Final = {"all": Said("mọi tin", "everything"), "advisory": Said("trừ tin khẩn", "all but urgent ones")}


class InvalidNumbersError(InvalidFileError):
    """What was given as numbers holds something else, or nothing."""

    exit_code = 2


commands = Group("optout", help=say("Thuê bao từ chối nhận tin cảnh báo.", "Subscribers who refuse warnings."))


def _numbers_argument(command: FC) -> FC:
    argument = click.argument(
        "numbers",
        nargs=-1,
        metavar=say("[SỐ]...", "[NUMBER]..."),
        help=say(
            "Số di động. Nên dùng --file hoặc stdin (mỗi dòng một số) để số máy không nằm trong lịch sử lệnh.",
            "Mobile numbers. Better give them by --file or stdin, one a line, so that they stay out of the shell's history.",
        ),
    )
    file = click.option(
        "--file",
        "file",
        type=existing_file(),
        metavar=say("TỆP", "FILE"),
        help=say("Tệp văn bản, mỗi dòng một số.", "A text file with one number a line."),
    )
    evidence = click.option(
        "--evidence",
        required=True,
        metavar=say("LỜI", "TEXT"),
        help=say(
            'Bằng chứng, ví dụ "Đơn số 7 ngày 05-01-2026". Không ghi số máy vào đây.',
            'What proves it, such as "Letter 7 of 05-01-2026". Write no phone number here.',
        ),
    )
    return argument(file(evidence(command)))


@commands.command(
    "add",
    help=say(
        "Ghi nhận các số từ chối nhận tin; có hiệu lực ngay, kể cả với chiến dịch đang gửi.",
        "Record numbers that refuse; in force at once, in a running campaign too.",
    ),
)
@_numbers_argument
@click.option(
    "--scope",
    type=click.Choice(list(_SCOPES)),
    default="all",
    show_default=True,
    help=say(
        "Từ chối mọi tin (all), hay chỉ tin thường và vẫn nhận tin khẩn (advisory).",
        "What is refused: everything (all), or ordinary warnings but not urgent ones (advisory).",
    ),
)
def add(numbers: Sequence[str], file: Path | None, evidence: str, scope: str) -> None:
    count, before = _record(_given(numbers, file), refuses=True, evidence=evidence, scope=scope)

    def show() -> None:
        output.line(say(f"Đã ghi nhận {output.number(count)} số từ chối.", f"{output.number(count)} refusals recorded."))
        if before:
            output.line(say(f"Đã từ chối từ trước: {output.number(before)}.", f"Refused before: {output.number(before)}."))

    output.answer({"recorded": count, "refused_before": before, "scope": scope}, show)


@commands.command(
    "withdraw",
    help=say(
        "Ghi nhận các số muốn nhận tin trở lại; lời từ chối trước vẫn giữ trong sổ.",
        "Record numbers that want warnings again; what they refused before stays on record.",
    ),
)
@_numbers_argument
def withdraw(numbers: Sequence[str], file: Path | None, evidence: str) -> None:
    count, idle = _record(_given(numbers, file), refuses=False, evidence=evidence, scope="all")

    def show() -> None:
        output.line(say(f"Đã ghi nhận {output.number(count)} số nhận tin trở lại.", f"{output.number(count)} take warnings again."))
        if idle:
            output.line(say(f"Trước đó không từ chối: {output.number(idle)}.", f"Had not refused: {output.number(idle)}."))

    output.answer({"withdrawn": count, "not_refusing_before": idle}, show)


def _record(numbers: Sequence[Msisdn], *, refuses: bool, evidence: str, scope: str) -> Recorded:
    from broadcaster.flow.refuse import refuse
    from broadcaster.rules.refusal import Scope

    here = opening.installation()
    return refuse(
        here.store,
        here.auditor,
        here.vault,
        numbers,
        refuses=refuses,
        source="cli",
        evidence=evidence,
        now=opening.now(),
        scope=Scope[scope.upper()],
        journal=here.journal,
    )


@commands.command(
    "import",
    help=say(
        "Nhập tệp tin đến đầu số: lời từ chối có hiệu lực ngay, tin báo lừa đảo vào hộp thư. Tệp CSV, TSV hoặc XLSX có dòng tiêu đề "
        "và ba cột số máy, thời gian, nội dung. Nhập lại cùng tệp không thay đổi gì.",
        "Take in a file of texts to the reply number: refusals are in force at once, scam reports go to the inbox. CSV, TSV or XLSX "
        "with a heading and the columns number, time, text. The same file again changes nothing.",
    ),
)
@click.argument(
    "file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say("Tệp của đơn vị cho thuê đầu số.", "The file of the number's provider."),
)
@click.option("--dry-run", is_flag=True, help=say("Chỉ đọc tệp và báo lỗi.", "Only read the file and tell what is wrong."))
def import_texts(file: Path, dry_run: bool) -> int:
    from broadcaster.files.replies import read_texts
    from broadcaster.flow.inbox import classify_texts, take_texts

    here = opening.installation()
    texts, problems = read_texts(file)
    if dry_run:
        taken = classify_texts(texts)
    else:
        taken = take_texts(here.store, here.auditor, here.vault, texts, journal=here.journal, file=file.name, now=opening.now())

    def show() -> None:
        output.line(
            say(
                f"Đọc được {output.number(taken.texts)} tin: {output.number(taken.refused)} từ chối, "
                f"{output.number(taken.withdrawn)} nhận lại, {output.number(taken.reports)} báo lừa đảo; "
                f"{output.number(taken.repeated)} tin đã nhập trước đó, "
                f"{output.number(taken.overtaken)} lời cũ hơn lời đã ghi, {output.number(taken.unclear)} tin không hiểu.",
                f"{output.number(taken.texts)} texts: {output.number(taken.refused)} refuse, {output.number(taken.withdrawn)} take "
                f"warnings again, {output.number(taken.reports)} report scams; {output.number(taken.repeated)} came before, "
                f"{output.number(taken.overtaken)} are older than what is on record, "
                f"{output.number(taken.unclear)} were not understood.",
            )
        )
        if taken.unclear:
            output.tell(
                say(
                    "Có người phải đọc những tin không hiểu: broadcaster inbox list --kind other",
                    "Somebody must read what was not understood: broadcaster inbox list --kind other",
                )
            )
        for problem in problems:
            output.tell(str(problem))
        if dry_run:
            output.tell(say("Chưa thay đổi gì (--dry-run).", "Nothing was changed (--dry-run)."))

    output.answer(taken._asdict() | {"dry_run": dry_run, "problems": [str(problem) for problem in problems]}, show)
    return 3 if problems else 0


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
                "scope": _scope(item.scope),
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
        Column(say("Phạm vi", "Scope")),
        Column(say("Lúc", "At")),
        Column(say("Nguồn", "Source")),
        Column(say("Bằng chứng", "Evidence")),
    ]
    rows = [
        [
            number,
            item.refuses,
            str(_SCOPES[_scope(item.scope)]) if item.refuses else "",
            output.moment_of_ms(item.at_ms),
            str(_SOURCES.get(item.source, item.source)),
            item.evidence,
        ]
        for number, item in zip(numbers, found, strict=True)
    ]

    def show() -> None:
        output.table(columns, rows, empty=Said("Chưa ai từ chối.", "Nobody has refused."))
        output.tell(say(f"Đang từ chối: {output.number(refusing)} số.", f"Refusing now: {output.number(refusing)} numbers."))

    output.answer(document, show)


def _scope(scope: int) -> str:
    from broadcaster.rules.refusal import Scope

    return Scope(scope).name.lower()
